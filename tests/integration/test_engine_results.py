"""Results on their way into the ledger, and messages whose time runs out on the way to Discord."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from speakerbot.domain.delivery import DeliveryChange
from speakerbot.testing.discord import NO_LIMITS, Bucket
from speakerbot.testing.run_harness import RunHarness


def test_a_run_that_ends_while_results_are_being_written_loses_none(harness: RunHarness) -> None:
    """The last message is accepted while the results before it are on their way."""

    def slow(boundary: str) -> None:
        if boundary == "before ledger.swap":
            time.sleep(0.3)

    messages = [harness.message(str(number)) for number in range(20)]
    for number in range(20):
        harness.known(str(number), str(1000 + number))
    harness.settings = replace(harness.settings, rate=30.0)
    harness.discord.settings = replace(NO_LIMITS, latency=0.05)
    ended = harness.run_with(slow, *messages)
    assert ended.states == ["sent"] * 20
    assert ended.summary is not None
    assert ended.summary.counts.sent == 20
    assert {record.state for record in harness.store.ledger.list()} == {"sent"}


def test_two_messages_to_a_known_person_cost_two_requests(harness: RunHarness) -> None:
    harness.known("7", "77")
    messages = [harness.message("7", occasion=str(number)) for number in range(30)]
    assert harness.run(*messages).states == ["sent"] * 30
    assert len(harness.discord.requests) == 30


def test_two_messages_to_a_new_person_open_one_channel(harness: RunHarness) -> None:
    harness.settings = replace(harness.settings, new_dm_every=timedelta(milliseconds=10))
    messages = [harness.message("7", occasion=str(number)) for number in range(5)]
    assert harness.run(*messages).states == ["sent"] * 5
    assert len(harness.discord.requests) == 6


def test_what_expires_while_it_waits_for_its_turn_is_not_sent(harness: RunHarness) -> None:
    soon = harness.clock.decision() + timedelta(seconds=1.5)
    harness.settings = replace(harness.settings, new_dm_every=timedelta(seconds=1))
    messages = [harness.message(str(number), expires_at=soon) for number in range(4)]
    ended = harness.run(*messages)
    assert sorted(ended.states) == ["expired", "expired", "sent", "sent"]
    assert len(harness.sent()) == 2
    assert {record.state for record in harness.store.ledger.list()} == {"sent"}


def test_acceptance_is_recorded_before_an_empty_bucket_lets_discord_py_go_on(
    harness: RunHarness,
) -> None:
    harness.known("7", "77")
    harness.discord.settings = replace(NO_LIMITS, message_bucket=Bucket(1, 30.0))
    begin = time.monotonic()
    assert harness.run(harness.message("7")).states == ["sent"]
    assert time.monotonic() - begin < 10
    assert harness.record(harness.message("7")).state == "sent"


def test_what_is_accepted_last_is_recorded_even_if_a_write_is_under_way(
    harness: RunHarness,
) -> None:
    harness.known("7", "77")
    harness.discord.settings = replace(NO_LIMITS, latency=0.35)
    swaps: list[str] = []

    def write_slowly(boundary: str) -> None:
        if boundary == "before ledger.swap":
            swaps.append(boundary)
            if len(swaps) == 2:  # the first holds the claims
                time.sleep(1)

    messages = [harness.message("7"), harness.message("8")]  # the second opens a channel first
    assert harness.run_with(write_slowly, *messages).states == ["sent", "sent"]
    assert {record.state for record in harness.store.ledger.list()} == {"sent"}


def test_a_second_run_does_nothing(harness: RunHarness) -> None:
    harness.known("7", "77")
    message = harness.message("7")
    assert harness.run(message).states == ["sent"]
    requests = len(harness.discord.requests)
    assert harness.run(message).states == ["already_sent"]
    assert len(harness.discord.requests) == requests


def test_a_message_that_another_run_took_over_is_told_of(harness: RunHarness) -> None:
    """It waited longer for its turn than its lease lasted, as on a machine that was asleep."""
    harness.settings = replace(harness.settings, lease=timedelta(seconds=1))
    for number in range(2):
        harness.known(str(number), f"10{number}")
    messages = [harness.message(str(number)) for number in range(2)]
    overtaking: list[str] = []

    def overtake(boundary: str) -> None:
        if boundary == "before discord.send" and not overtaking:
            overtaking.append("now")
            time.sleep(1.2)
            record = harness.record(messages[1])
            theirs = record._replace(revision="theirs", run_id="another")
            harness.store.ledger.swap([DeliveryChange(record, theirs)])

    ended = harness.run_with(overtake, *messages)
    assert sorted(ended.states) == ["held_back", "sent"], "the other one's claim was renewed"
    assert ended.summary is not None
    assert ended.summary.counts.skipped == {"in_progress": 1}
    assert len(harness.sent()) == 1
