"""SIGTERM in the middle of a run: what is under way is finished and recorded, the rest is given
back without counting a try, and the process ends in order within ten seconds."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from speakerbot.delivery.engine import WORKERS
from speakerbot.testing.discord import NO_LIMITS, Fault

if TYPE_CHECKING:
    from speakerbot.testing.discord.routing import Operation
    from tests.integration.conftest import Command, Report

pytestmark = pytest.mark.slow


def stopped(command: Command, when: Callable[[], bool], **env: str) -> tuple[Report, float]:
    """What a run printed that got SIGTERM at this moment, and how long it took to end."""
    process = command.start(**env)
    deadline = monotonic() + 60
    while not when():
        assert process.poll() is None, process.communicate()
        assert monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    begin = monotonic()
    return command.ended(process, exit_code=143), monotonic() - begin


def test_requests_under_way_are_finished_and_recorded(command: Command) -> None:
    command.book(40)
    command.discord.settings = replace(NO_LIMITS, latency=1.0)
    report, took = stopped(command, lambda: len(command.discord.requests) >= 5)
    assert took < 10
    sent = len(command.discord.messages)
    assert 5 <= sent <= 2 * WORKERS
    assert report.counts["sent"] == sent
    assert report.counts["skipped"] == {"given_back": 40 - sent}
    assert [record.state for record in command.records().values()] == ["sent"] * sent
    command.discord.settings = NO_LIMITS
    assert command.run().counts["sent"] == 40 - sent
    assert command.sent_to() == [str(200 + n) for n in range(40)]


def test_a_run_that_waits_for_the_slow_lane_of_new_dms_ends_at_once(command: Command) -> None:
    command.book(5, known=False)
    report, took = stopped(command, lambda: len(command.discord.messages) == 1)
    assert took < 4
    assert report.counts["sent"] == 1
    assert report.counts["skipped"] == {"new_dm_pace": 4}
    assert [record.state for record in command.records().values()] == ["sent"]
    assert command.run(SPEAKERBOT_NEW_DM_EVERY="0s").counts["sent"] == 4


def test_requests_that_hang_are_cut_off_and_only_they_stay_unconfirmed(command: Command) -> None:
    command.book(40)
    command.discord.inject(Fault(kind="hang", on="create_message", times=None))
    report, took = stopped(command, lambda: len(command.discord.requests) >= WORKERS)
    assert took < 10
    assert report.counts["skipped"] == {"given_back": 40 - WORKERS}
    assert [record.state for record in command.records().values()] == ["claimed"] * WORKERS


def test_in_an_outage_too_it_ends_in_order(command: Command) -> None:
    """Some requests have failed, the others hang: no probe of Discord comes first."""
    command.book(40)
    command.discord.inject(
        Fault(kind="error", on="create_message", status=503, times=4),
        Fault(kind="hang", times=None),
    )
    report, took = stopped(command, lambda: len(command.discord.requests) >= WORKERS + 4)
    assert took < 10
    assert report.document["stopped"] == "sigterm"
    states = sorted(record.state for record in command.records().values())
    assert states == ["claimed"] * WORKERS + ["failed"] * 4


@pytest.mark.slow_suite  # waits half a minute for the retry; an outage is cut off in the fast one
def test_a_retry_that_hangs_is_cut_off_too(command: Command) -> None:
    """It is the last thing the run does, with nothing else under way."""
    command.book(1)
    command.discord.inject(
        Fault(kind="error", on="create_message", status=503, times=1),
        Fault(kind="hang", on="create_message", times=None),
    )

    def hangs() -> bool:
        tries = [each for each in command.discord.requests if each.operation == "create_message"]
        return len(tries) > 1

    report, took = stopped(command, hangs)
    assert took < 10
    assert report.document["stopped"] == "sigterm"
    assert [record.state for record in command.records().values()] == ["claimed"]


@pytest.mark.parametrize("on", ["create_dm", "create_message"])
def test_what_waits_for_a_rate_limit_to_end_is_not_waited_for(
    command: Command, on: Operation
) -> None:
    """discord.py sleeps before it sends again: nothing of that request is under way."""
    command.book(3, known=False)
    command.discord.inject(Fault(kind="rate_limit", on=on, retry_after=6.0, times=1))

    def limited() -> bool:
        return any(each.status == 429 for each in command.discord.requests)

    report, took = stopped(command, limited)
    assert took < 3
    assert report.counts["sent"] == 0
    assert command.discord.messages == []
    assert [record.state for record in command.records().values()] == []
    assert command.run(SPEAKERBOT_NEW_DM_EVERY="0s").counts["sent"] == 3


def test_what_waits_to_be_repeated_and_may_have_arrived_stays_unconfirmed(
    command: Command,
) -> None:
    command.book(1)
    lost = Fault(kind="error", on="create_message", status=500, accepted=True, times=4)
    command.discord.inject(lost)

    def failed() -> bool:
        return sum(each.status == 500 for each in command.discord.requests) >= 3

    report, took = stopped(command, failed)
    assert took < 3
    [record] = command.records().values()
    assert (record.state, record.unconfirmed_since is not None) == ("failed", True)
    assert report.document["stopped"] == "sigterm"
