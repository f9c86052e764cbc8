"""The Node bot's flags: set before a message goes, given back if it does not, and never mistaken
for the Node bot's own after a crash."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, NodeFlag
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import FlagWrite
from speakerbot.runs.job import Job, JobContext
from speakerbot.testing.discord import Fault
from speakerbot.testing.run_harness import NOW, RunHarness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from speakerbot.domain.delivery import Delivery


TALK = Talk("t1", "7", "Ada", "Kites", date(2026, 11, 20), thread_id="70")
AFTER_LEASE = timedelta(minutes=6)


@pytest.fixture
def job() -> Job:
    from jobs.reminders import JOB

    return JOB


@pytest.fixture(autouse=True)
def _one_talk(harness: RunHarness) -> None:
    offsets = parse_offsets("1d@16:00,0d@16:00")
    harness.settings = replace(harness.settings, reminder_offsets=offsets)
    harness.store.talks.put([TALK])
    harness.known("7", "77")


def flag(harness: RunHarness) -> datetime | None:
    talk = harness.store.talks.get("t1")
    assert talk is not None
    return talk.sent_day_of_at


def node_bot_sends(harness: RunHarness, at: datetime, *, over: datetime | None = None) -> None:
    """It has read what the flag was, and saves the document without looking again."""
    assert harness.store.talks.write_flags([FlagWrite("t1", "sentDayOfAt", over, at)])


def test_it_is_set_before_the_message_goes_and_stays(harness: RunHarness, job: Job) -> None:
    harness.die("before discord.send", job=job)
    assert flag(harness) is not None
    assert harness.sent() == []
    harness.later(AFTER_LEASE)
    assert harness.run(job=job).states == ["sent"]
    assert flag(harness) is not None


def test_two_crashes_in_a_row_do_not_make_our_flag_look_like_the_node_bots(
    harness: RunHarness, job: Job
) -> None:
    harness.die("after talks.write_flags", job=job)
    harness.later(AFTER_LEASE)
    harness.die("before talks.write_flags", job=job)
    harness.later(AFTER_LEASE)
    assert harness.run(job=job).states == ["sent"]
    assert len(harness.sent()) == 1


@pytest.mark.parametrize("crash", ["before talks.write_flags", "after talks.write_flags"])
def test_giving_a_claim_back_after_a_crash_does_not_lose_the_message(
    harness: RunHarness, job: Job, crash: str
) -> None:
    harness.die(crash, job=job)
    harness.later(AFTER_LEASE)
    harness.discord.settings = replace(harness.discord.settings, token="another")
    assert harness.run(job=job).states == ["held_back"]
    harness.discord.settings = replace(harness.discord.settings, token=None)
    assert harness.run(job=job).states == ["sent"]
    assert len(harness.sent()) == 1


def test_turning_coexistence_off_after_a_crash_does_not_lose_the_message(
    harness: RunHarness, job: Job
) -> None:
    harness.die("after talks.write_flags", job=job)
    harness.later(AFTER_LEASE)
    harness.settings = replace(harness.settings, node_bot_coexist=False)
    assert harness.run(job=job).states == ["sent"]


def test_a_refused_message_gives_the_flag_back(harness: RunHarness, job: Job) -> None:
    harness.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert harness.run(job=job).states == ["failed"]
    assert flag(harness) is None


def test_one_that_may_have_arrived_keeps_the_flag(harness: RunHarness, job: Job) -> None:
    harness.discord.inject(Fault(kind="lost_response", on="create_message"))
    assert harness.run(job=job).states == ["failed"]
    assert flag(harness) is not None


def test_the_node_bots_own_flag_counts_while_we_wait_to_try_again(
    harness: RunHarness, job: Job
) -> None:
    harness.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert harness.run(job=job).states == ["failed"]
    harness.later(timedelta(minutes=31))
    node_bot_sends(harness, harness.clock.decision(), over=flag(harness))
    assert harness.run(job=job).states == ["already_sent"]
    assert harness.sent() == []
    assert (the_record(harness).state, the_record(harness).found) == ("sent", True)


def the_record(harness: RunHarness) -> Delivery:
    [record] = harness.store.ledger.list()
    return record


def test_a_claim_that_died_before_its_flag_is_settled_once_the_node_bot_has_sent(
    harness: RunHarness, job: Job
) -> None:
    """Else it would stay claimed until its time is over."""
    harness.die("before talks.write_flags", job=job)
    node_bot = harness.clock.decision()
    node_bot_sends(harness, node_bot)
    assert harness.run(job=job).states == ["held_back"], "its lease is not over"
    assert the_record(harness).state == "claimed"
    harness.later(AFTER_LEASE)
    assert harness.run(job=job, options=RunOptions(dry_run=True)).states == ["already_sent"]
    assert the_record(harness).state == "claimed", "a dry run changes nothing"
    ended = harness.run(job=job)
    assert [each.reason for each in ended.outcomes] == [
        f"the Node bot sent it at {node_bot:%F %H:%M} UTC"
    ]
    assert (the_record(harness).state, the_record(harness).found) == ("sent", True)
    assert flag(harness) == node_bot
    assert harness.run(job=job).states == ["already_sent"]
    assert harness.sent() == []


def test_a_flag_set_by_the_node_bot_between_reading_and_claiming_holds_us_back(
    harness: RunHarness, job: Job
) -> None:
    node_bot = harness.clock.decision() - timedelta(seconds=1)

    def decide_and_be_overtaken(context: JobContext) -> Iterator[Decision]:
        decided = list(job.decide(context))
        node_bot_sends(harness, node_bot)
        return iter(decided)

    assert harness.run(job=Job("reminders", decide_and_be_overtaken)).states == ["held_back"]
    assert flag(harness) == node_bot
    assert harness.run(job=job).states == ["already_sent"]
    assert harness.sent() == []


def hand_over(harness: RunHarness) -> None:
    """To somebody else, as the Node bot does: the flags stay."""
    talk = harness.store.talks.get("t1")
    assert talk is not None
    harness.store.talks.put([replace(talk, user_id="8", username="Bea")])
    harness.known("8", "88")


def test_a_talk_handed_over_after_its_reminder_reminds_the_new_speaker_once(
    harness: RunHarness, job: Job
) -> None:
    assert harness.run(job=job).states == ["sent"]
    hand_over(harness)
    harness.later(timedelta(hours=1))
    assert harness.run(job=job).states == ["sent"]
    assert harness.run(job=job).states == ["already_sent"]
    assert [channel for channel, _ in harness.sent()] == ["77", "88"]


@pytest.mark.parametrize(
    ("crash", "channels"),
    [
        ("before talks.write_flags", ["88"]),
        ("after talks.write_flags", ["88"]),
        ("before discord.send", ["88"]),
        ("after discord.send", ["77", "88"]),
    ],
)
def test_a_run_that_dies_over_the_first_speaker_does_not_silence_the_second(
    harness: RunHarness, job: Job, crash: str, channels: list[str]
) -> None:
    harness.die(crash, job=job)
    hand_over(harness)
    harness.later(AFTER_LEASE)
    assert harness.run(job=job).states == ["sent"]
    assert [channel for channel, _ in harness.sent()] == channels
    assert harness.run(job=job).states == ["already_sent"]


@pytest.mark.parametrize("crash", ["after talks.write_flags", "before ledger.swap"])
def test_a_claim_given_back_leaves_no_flag_that_silences_the_second_speaker(
    harness: RunHarness, job: Job, crash: str
) -> None:
    """The token is refused, and the run dies while it gives the flag and the claim back."""
    harness.discord.settings = replace(harness.discord.settings, token="another")
    harness.die(crash, job=job, nth=2)
    harness.discord.settings = replace(harness.discord.settings, token=None)
    hand_over(harness)
    assert harness.run(job=job).states == ["sent"]
    assert [channel for channel, _ in harness.sent()] == ["88"]


def test_a_refusal_of_the_second_speaker_keeps_them_from_nothing(
    harness: RunHarness, job: Job
) -> None:
    """The flag goes back to what it was, the first speaker's; the next try still knows whose."""
    assert harness.run(job=job).states == ["sent"]
    first = flag(harness)
    hand_over(harness)
    harness.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert harness.run(job=job).states == ["failed"]
    assert flag(harness) == first
    harness.later(timedelta(minutes=31))
    assert harness.run(job=job).states == ["sent"]
    assert [channel for channel, _ in harness.sent()] == ["77", "88"]


def test_a_talk_handed_back_is_not_announced_twice(harness: RunHarness, job: Job) -> None:
    assert harness.run(job=job).states == ["sent"]
    hand_over(harness)
    harness.later(timedelta(hours=1))
    assert harness.run(job=job).states == ["sent"]
    talk = harness.store.talks.get("t1")
    assert talk is not None
    harness.store.talks.put([replace(talk, user_id="7", username="Ada")])
    assert harness.run(job=job).states == ["already_sent"]


def test_what_a_dead_run_left_gives_the_node_bot_its_flag_back(harness: RunHarness) -> None:
    """Its time is over, and no job names it any more."""
    talk = Talk("1", "7", "ada", "Kites", NOW.date() + timedelta(days=1))
    harness.store.talks.put([talk])
    flag = NodeFlag("1", "sentDayOfAt", None, counts=False)
    message = replace(harness.message("7", flag=flag), kind="reminder.day_of")
    harness.die("before discord.send", message)
    [set_by_us] = harness.store.talks.by_ids(["1"]).values()
    assert set_by_us.sent_day_of_at is not None
    harness.later(timedelta(hours=8))
    harness.run()
    assert harness.record(message).state == "expired"
    [given_back] = harness.store.talks.by_ids(["1"]).values()
    assert given_back.sent_day_of_at is None
