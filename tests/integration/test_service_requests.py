"""What a job reads from a service before it decides, and changes there afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from structlog.testing import CapturingLogger

from speakerbot import bootstrap
from speakerbot.clock import Clock
from speakerbot.delivery.channels import OpenChannels, RunStop
from speakerbot.delivery.circuit_breakers import RunStopped
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, Message
from speakerbot.domain.run import StopReason
from speakerbot.domain.service_request import (
    NOT_ASKED,
    NoResponse,
    Reactions,
    ReadReactions,
    Responses,
    ServiceRequest,
)
from speakerbot.errors import TokenRefused, Unreachable
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.steps import Step
from speakerbot.testing.discord import BOT_ID, Fault, LoopbackDiscord
from speakerbot.testing.run_harness import RunHarness

NOTHING = Reactions(frozenset(), frozenset())


@dataclass
class Probe:
    """A job that reads what stands under some messages and sends others, and notes in which order
    it was asked for what."""

    wants: list[ReadReactions]
    sends: list[Message] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    told: list[Reactions | NoResponse] = field(default_factory=list)
    rounds: list[bool] = field(default_factory=list)

    @property
    def job(self) -> Job:
        return Job("probe", self._decide, wanted=self._wanted, steps=self._steps)

    def _wanted(self, context: JobContext) -> Iterator[ServiceRequest[Reactions]]:
        self.rounds.append(context.first_round)
        yield from self.wants

    def _steps(self, context: JobContext) -> Iterator[Step]:
        self.calls.append(f"steps with {len(context.responses)}")
        return iter(())

    def _decide(self, context: JobContext) -> Iterator[Decision]:
        self.calls.append("decide")
        self.told = [context.response(each) for each in self.wants]
        yield from self.sends


def read_of(channel_id: str, message_id: str) -> ReadReactions:
    return ReadReactions(channel_id, message_id, "7", ("✅", "❌"), direct=True)


@pytest.fixture
def probe(harness: RunHarness) -> Probe:
    """One of our messages to each of six people, whose reactions are wanted, and one to be sent."""
    world, wants = harness.discord.world, []
    for number in range(6):
        harness.known(f"1{number}", f"20{number}")
        wants.append(read_of(f"20{number}", world.post(f"20{number}", BOT_ID, "Hi").id))
    harness.known("7", "77")
    return Probe(wants, [harness.message("7")])


def asked(harness: RunHarness) -> int:
    """How many messages were looked at."""
    return sum(n for (what, _), n in harness.discord.counts.items() if what == "get_message")


def test_what_is_wanted_is_read_before_the_decision_and_written_down(
    harness: RunHarness, probe: Probe
) -> None:
    ended = harness.run(job=probe.job)
    assert probe.told == [NOTHING] * 6
    assert asked(harness) == 6, "one request each"
    assert ended.states == ["sent"]
    assert probe.calls[:2] == ["steps with 6", "decide"]
    assert probe.calls[-1] == "steps with 6"
    assert probe.rounds == [True]


def test_equal_requests_are_made_once(harness: RunHarness, probe: Probe) -> None:
    probe.wants *= 2
    harness.run(job=probe.job)
    assert asked(harness) == 6


def test_with_nothing_wanted_and_nothing_to_send_no_session_is_opened(harness: RunHarness) -> None:
    probe = Probe([])
    harness.run(job=probe.job)
    assert harness.discord.requests == []
    assert probe.calls == ["steps with 0", "decide"]


def test_what_is_wanted_is_read_where_nothing_is_to_be_sent(
    harness: RunHarness, probe: Probe
) -> None:
    probe.sends = []
    harness.run(job=probe.job)
    assert probe.told == [NOTHING] * 6


def test_a_dry_run_reads_nothing_and_decides_without_it(harness: RunHarness, probe: Probe) -> None:
    ended = harness.run(job=probe.job, options=RunOptions(dry_run=True))
    assert probe.told == [NOT_ASKED] * 6
    assert ended.states == ["planned"]
    assert harness.discord.requests == []


FAULTS = [
    (Fault(kind="error", status=404, code=10008, on="get_message", channel_id="202"), False),
    (Fault(kind="error", status=403, code=50001, on="get_message", channel_id="202"), False),
    (Fault(kind="error", status=403, code=50299, on="get_message", channel_id="202"), False),
    (Fault(kind="error", status=400, code=0, on="get_message", channel_id="202"), False),
    (Fault(kind="error", status=503, on="get_message", channel_id="202"), True),
    (Fault(kind="error", status=404, body="html", on="get_message", channel_id="202"), True),
    (Fault(kind="html", on="get_message", channel_id="202"), True),
    (Fault(kind="reset", on="get_message", channel_id="202", times=None), True),
    (Fault(kind="rate_limit", retry_after=900.0, on="get_message", channel_id="202"), True),
]


@pytest.mark.parametrize(("fault", "passing"), FAULTS)
def test_one_that_fails_stops_no_other_and_no_message(
    harness: RunHarness, probe: Probe, fault: Fault, passing: bool
) -> None:
    harness.discord.inject(fault)
    ended = harness.run(job=probe.job)
    [failed] = [told for told in probe.told if isinstance(told, NoResponse)]
    assert probe.told[2] == failed
    assert failed.passing == passing
    assert probe.told.count(NOTHING) == 5
    assert (ended.states, ended.error) == (["sent"], None)


def test_an_outage_is_noticed_by_what_is_read_as_by_what_is_sent(
    harness: RunHarness, probe: Probe
) -> None:
    harness.discord.inject(Fault(kind="error", status=503, times=None))
    ended = harness.run(job=probe.job)
    assert isinstance(ended.error, Unreachable)
    assert probe.told == [], "nothing is decided: nothing could be sent"
    harness.discord.clear_faults()
    assert harness.run(job=probe.job).states == ["sent"]


def test_few_faults_are_no_outage_where_the_service_answers(
    harness: RunHarness, probe: Probe
) -> None:
    harness.discord.inject(Fault(kind="error", status=503, on="get_message", times=4))
    assert harness.run(job=probe.job).error is None


def test_a_refused_token_ends_the_run_at_the_first_request(
    harness: RunHarness, probe: Probe
) -> None:
    harness.discord.inject(Fault(kind="error", status=401, times=None))
    probe.wants = probe.wants[:1]
    assert isinstance(harness.run(job=probe.job).error, TokenRefused)
    assert len(harness.discord.requests) == 1


def test_an_inbox_cannot_be_asked(harness: RunHarness, probe: Probe) -> None:
    class OfAnInbox(ReadReactions):
        channel = "inbox"

    probe.wants = [OfAnInbox("inbox", "1", "7", ("✅",), direct=True)]
    harness.run(job=probe.job)
    [told] = probe.told
    assert told == NoResponse("the settings have no channel 'inbox'")
    harness.settings = replace(harness.settings, reminder_routes=("dm", "inbox"))
    harness.run(job=probe.job)
    [told] = probe.told
    assert told == NoResponse("there is nothing to ask an inbox", rejected=True)


@pytest.fixture
def ask_all(harness: RunHarness) -> Callable[..., Responses]:
    """Asks in a session of its own; ``stop_after``: seconds until the run is stopped."""

    async def asking(
        requests: list[ReadReactions], within: timedelta, stop_after: float | None
    ) -> Responses:
        thread, log = StoreThread(), CapturingLogger()
        channels = OpenChannels(
            bootstrap.channels(harness.settings),
            harness.store,
            thread,
            clock=Clock(),
            longest_request=timedelta(seconds=30),
            stop=RunStop(log),
            log=log,
        )
        loop = asyncio.get_running_loop()
        if stop_after is not None:
            loop.call_later(stop_after, channels.stop.halt, RunStopped(StopReason.SIGTERM))
        async with channels:
            found = await channels.ask_all(requests, within)
        thread.close()
        return found

    def run(
        requests: list[ReadReactions],
        within: timedelta = timedelta(seconds=30),
        stop_after: float | None = None,
    ) -> Responses:
        return asyncio.run(asking(requests, within, stop_after))

    return run


def test_what_hangs_is_given_up_when_the_time_for_reading_is_over(
    discord: LoopbackDiscord, probe: Probe, ask_all: Callable[..., Responses]
) -> None:
    discord.inject(Fault(kind="hang", on="get_message", channel_id="203"))
    found = ask_all(probe.wants, timedelta(seconds=0.5))
    assert found[probe.wants[3]] == NoResponse("no answer in time", passing=True)
    assert list(found.values()).count(NOTHING) == 5


def test_a_stop_cuts_it_short(
    discord: LoopbackDiscord, probe: Probe, ask_all: Callable[..., Responses]
) -> None:
    discord.inject(Fault(kind="hang", times=None))
    found = ask_all(probe.wants, stop_after=0.2)
    assert {each.passing for each in found.values()} == {True}
