"""Several channels in one session: the web inbox as a route, a channel that stops alone, people
without a Discord id, and texts that come from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from speakerbot.bootstrap import templates
from speakerbot.delivery.content import Contents
from speakerbot.delivery.planning import MessagePlan
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.message import Message, NodeFlag, Route
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.runs.job import Job
from speakerbot.testing.discord import Fault
from speakerbot.testing.run_harness import NOW, RunHarness

DM = Route("dm", "7")
INBOX = Route("inbox", "user:7")


@pytest.fixture
def reachable(harness: RunHarness) -> RunHarness:
    """User 7 has a DM channel and an inbox."""
    harness.settings = replace(harness.settings, reminder_routes=("dm", "inbox"))
    harness.known("7", "77")
    return harness


def in_inbox(harness: RunHarness, recipient: str = "user:7") -> list[str]:
    return [each.text for each in harness.store.inbox.of([recipient])]


class TestTheInboxAsARoute:
    def test_who_can_be_written_to_finds_nothing_there(self, reachable: RunHarness) -> None:
        reachable.run(reachable.message("7", DM, INBOX))
        assert len(reachable.sent()) == 1
        assert in_inbox(reachable) == []

    def test_closed_dms_leave_it_to_the_inbox(self, reachable: RunHarness) -> None:
        reachable.discord.world.close_dms("7")
        message = reachable.message("7", DM, INBOX, topic="*Kites*")
        ended = reachable.run(message)
        record = reachable.record(message)
        assert ended.states == ["sent"]
        assert (record.state, record.route, record.bot) == ("sent", "inbox", "inbox")
        [text] = in_inbox(reachable)
        assert '"*Kites*"' in text, "it is plain text, not Discord's markdown"
        assert text == record.text

    def test_it_may_stand_first(self, reachable: RunHarness) -> None:
        reachable.run(reachable.message("7", INBOX, DM))
        assert (len(in_inbox(reachable)), reachable.sent()) == (1, [])
        assert reachable.discord.requests == [], "Discord was not even opened"

    def test_a_second_run_adds_nothing(self, reachable: RunHarness) -> None:
        message = reachable.message("7", INBOX)
        reachable.run(message)
        reachable.run(message)
        assert len(in_inbox(reachable)) == 1

    @pytest.mark.parametrize("at", ["before inbox.put", "after inbox.put"])
    def test_a_run_that_dies_over_it_leaves_one_in_the_end(
        self, reachable: RunHarness, at: str
    ) -> None:
        message = reachable.message("7", INBOX)
        reachable.die(at, message)
        reachable.later(timedelta(minutes=10))
        reachable.run(message)
        assert len(in_inbox(reachable)) == 1
        assert reachable.record(message).state == "sent"

    def test_the_node_bot_gets_its_flag_back(self, reachable: RunHarness) -> None:
        reachable.store.talks.put([Talk("1", "7", "user 7", "Kites", NOW.date())])
        reachable.discord.world.close_dms("7")
        flag = NodeFlag("1", "sentDayOfAt", None, counts=False)
        reachable.run(reachable.message("7", DM, INBOX, flag=flag))
        talk = reachable.store.talks.get("1")
        assert talk is not None
        assert talk.sent_day_of_at is None


class TestAChannelThatStops:
    def test_messages_go_by_another_one(self, reachable: RunHarness) -> None:
        reachable.discord.inject(Fault(kind="error", status=401, code=0, times=None))
        messages = [reachable.message("7", DM, INBOX, occasion=f"{n}") for n in range(3)]
        ended = reachable.run(*messages)
        assert ended.states == ["sent"] * 3
        assert len(in_inbox(reachable)) == 3
        assert ended.error is not None
        assert ended.error.exit_code == 77, "the token is still to be put right"

    def test_what_has_no_other_one_is_kept(self, reachable: RunHarness) -> None:
        reachable.discord.inject(Fault(kind="error", status=401, code=0, times=None))
        only_dm, both = reachable.message("7", DM, occasion="1"), reachable.message("7", DM, INBOX)
        ended = reachable.run(only_dm, both)
        assert sorted(ended.states) == ["held_back", "sent"]
        assert reachable.store.ledger.get([only_dm.key]) == {}
        reachable.discord.clear_faults()
        reachable.run(only_dm)
        assert len(reachable.sent()) == 1

    def test_an_outage_does_not_leave_it_to_the_inbox(self, reachable: RunHarness) -> None:
        reachable.discord.inject(Fault(kind="error", status=503, times=None))
        ended = reachable.run(reachable.message("7", DM, INBOX))
        assert ended.states == ["failed"]
        assert in_inbox(reachable) == []
        assert ended.error is not None
        assert ended.error.exit_code == 69


class TestPeopleWithoutADiscordId:
    def message(self, harness: RunHarness) -> Message:
        route = Route("inbox", "person:p1")
        return replace(harness.message("7", route), recipient="person:p1")

    def test_are_reached(self, reachable: RunHarness) -> None:
        message = self.message(reachable)
        reachable.run(message)
        assert len(in_inbox(reachable, "person:p1")) == 1
        assert message.key.split("/")[2] == "person:p1"

    def test_have_preferences(self, reachable: RunHarness) -> None:
        reachable.store.people.put([Person("p1", opted_out=frozenset({"reminders"}))])
        ended = reachable.run(self.message(reachable))
        assert ended.states == ["held_back"]
        assert in_inbox(reachable, "person:p1") == []


class TestContent:
    """A source of texts, as a language model will be."""

    def job(self, *messages: Message, source: Any) -> Job:
        return Job("harness", lambda _: iter(messages), content=source)

    def test_adds_values_before_the_claim(self, reachable: RunHarness) -> None:
        async def source(message: Message) -> Mapping[str, Any]:
            return {"topic": f"about {message.occasion}"}

        message = reachable.message("7", DM, occasion="o")
        reachable.run(job=self.job(message, source=source))
        assert "about o" in reachable.record(message).text

    def test_is_asked_for_many_at_once(self, reachable: RunHarness) -> None:
        async def source(_: Message) -> Mapping[str, Any]:
            await asyncio.sleep(0.2)
            return {}

        messages = [reachable.message("7", DM, occasion=f"{n}") for n in range(30)]
        began = time.monotonic()
        reachable.run(job=self.job(*messages, source=source))
        assert time.monotonic() - began < 3
        assert len(reachable.sent()) == 30

    def test_that_fails_fails_its_own_message_until_a_later_run(
        self, reachable: RunHarness
    ) -> None:
        broken = ["2"]

        async def source(message: Message) -> Mapping[str, Any]:
            if message.occasion in broken:
                raise RuntimeError("no answer from the model")
            return {}

        messages = [reachable.message("7", DM, occasion=f"{n}") for n in range(4)]
        ended = reachable.run(job=self.job(*messages, source=source))
        assert sorted(ended.states) == ["failed", "sent", "sent", "sent"]
        assert ended.summary is not None
        assert (ended.summary.counts.failed, ended.summary.counts.planned) == ({"content": 1}, 3)
        assert ended.error is None, "it is not the run's fault"
        broken.clear()
        reachable.run(job=self.job(*messages, source=source))
        assert len(reachable.sent()) == 4

    def test_is_never_asked_again_once_a_claim_has_stored_its_answer(
        self, reachable: RunHarness
    ) -> None:
        asked: list[str] = []

        async def source(message: Message) -> Mapping[str, Any]:
            asked.append(message.occasion)
            return {"topic": f"answer {len(asked)}"}

        message = reachable.message("7", DM)
        reachable.discord.inject(Fault(kind="error", status=503, on="create_message"))
        reachable.run(job=self.job(message, source=source))
        assert reachable.record(message).state == "failed"
        reachable.later(timedelta(minutes=10))
        reachable.run(job=self.job(message, source=source))
        assert (asked, reachable.record(message).state) == ([message.occasion], "sent")
        assert "answer 1" in reachable.sent()[0][1]

    def test_that_takes_too_long_fails_its_message(self, reachable: RunHarness) -> None:
        async def slow(_: Message) -> Mapping[str, Any]:
            await asyncio.sleep(60)
            return {}

        plan = MessagePlan(reachable.message("7", DM), DeliveryState.PLANNED, "due")
        with ThreadPoolExecutor(1) as executor:
            contents = Contents(templates(), slow, executor, longest=timedelta(milliseconds=20))
            [failed] = asyncio.run(contents.made([plan]))
        assert (failed.state, failed.error_class) == ("failed", "content")
        assert failed.reason == "no content within 0.02 s"
