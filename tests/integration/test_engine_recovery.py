"""After a crash or a lost answer: sent again within Discord's memory of nonces, looked for after
it, and never sent where nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from speakerbot.clock import real_now
from speakerbot.domain.delivery import DeliveryChange
from speakerbot.domain.message import Route
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackClock, LoopbackDiscord
from speakerbot.testing.run_harness import NOW, RunHarness

THREAD = Route("thread", "70", mention="7")
SECONDS = timedelta(seconds=30)
AFTER_WINDOW = timedelta(minutes=6)
LOST = Fault(kind="lost_response", on="create_message")


def looked(harness: RunHarness) -> int:
    return sum(request.operation == "list_messages" for request in harness.discord.requests)


@pytest.fixture(autouse=True)
def _acquainted(harness: RunHarness) -> None:
    harness.known("7", "77")
    harness.discord.world.add_thread("70", "1")


def test_seconds_later_it_is_looked_for_too(harness: RunHarness) -> None:
    """How long Discord remembers nonces is not for us to rely on."""
    harness.settings = replace(harness.settings, lease=SECONDS)
    message = harness.message("7")
    harness.die("after discord.send", message)
    harness.later(SECONDS)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1
    assert looked(harness) == 1


@pytest.mark.parametrize("history_nonces", [True, False])
def test_after_the_window_it_is_found_in_the_history(
    harness: RunHarness, history_nonces: bool
) -> None:
    harness.discord.settings = replace(NO_LIMITS, history_nonces=history_nonces)
    message = harness.message("7")
    harness.die("after discord.send", message)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    [sent] = harness.discord.messages
    record = harness.record(message)
    assert (record.state, record.message_id, record.channel_id) == ("sent", sent.id, "77")


@pytest.mark.parametrize("history_nonces", [True, False])
def test_after_the_window_what_did_not_arrive_is_sent(
    harness: RunHarness, history_nonces: bool
) -> None:
    harness.discord.settings = replace(NO_LIMITS, history_nonces=history_nonces)
    message = harness.message("7")
    harness.die("before discord.send", message)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1
    assert looked(harness) == 1


def test_a_lost_answer_is_settled_by_a_later_run(harness: RunHarness) -> None:
    message = harness.message("7")
    harness.discord.inject(LOST)
    assert harness.run(message).states == ["failed"]
    assert harness.run(message).states == ["failed"], "it waits before it tries again"
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1


def test_others_messages_and_our_own_with_another_text_are_not_taken_for_it(
    harness: RunHarness,
) -> None:
    harness.run(harness.message("7", THREAD, topic="Boats", occasion="before"))
    message = harness.message("7", THREAD)
    harness.die("before discord.send", message)
    harness.discord.world.post("70", "8", f"<@7> {harness.text(message)}")
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert len([m for m in harness.discord.messages if m.author_id != "8"]) == 2


def test_an_equal_text_that_the_ledger_knows_as_another_message_is_not_taken_for_it(
    harness: RunHarness,
) -> None:
    """Every hour the same sentence: the last one arrived, this one did not."""
    first, second = (harness.message("7", occasion=occasion) for occasion in ("9:00", "9:01"))
    assert harness.run(first).states == ["sent"]
    harness.later(timedelta(minutes=1))
    harness.die("before discord.send", second)
    harness.later(AFTER_WINDOW)
    assert harness.run(second).states == ["sent"]
    assert len(harness.sent()) == 2


def test_two_equal_unconfirmed_texts_of_which_one_arrived_are_both_there_in_the_end(
    harness: RunHarness,
) -> None:
    both = [harness.message("7", occasion=occasion) for occasion in ("9:00", "9:01")]
    harness.die("after discord.send", *both)
    arrived = len(harness.sent())
    assert arrived
    harness.later(AFTER_WINDOW)
    assert harness.run(*both).states == ["sent", "sent"]
    assert len(harness.sent()) == 2


def test_an_unreadable_thread_history_leaves_the_outcome_unknown(harness: RunHarness) -> None:
    """Discord says nothing of a missing permission: the history just looks empty."""
    harness.discord.world.forbid("70", history=True)
    message = harness.message("7", THREAD)
    harness.die("after discord.send", message)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["unknown"]
    assert harness.run(message).states == ["unknown"], "and it is not tried again"
    assert len(harness.sent()) == 1
    record = harness.record(message)
    assert "no way to look" in record.error


def test_an_empty_thread_is_not_a_missing_permission(harness: RunHarness) -> None:
    harness.discord.world.forbid("70", history=True)
    message = harness.message("7", THREAD)
    harness.die("before discord.send", message)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1


def test_a_thread_we_cannot_see_any_more_leaves_it_unknown(harness: RunHarness) -> None:
    message = harness.message("7", THREAD)
    harness.die("after discord.send", message)
    harness.discord.world.forbid("70", read=True)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["unknown"]


def test_a_dm_that_was_never_opened_cannot_hold_it(harness: RunHarness) -> None:
    """Else whoever refuses new direct messages would stay unknown after any crash."""
    harness.discord.world.close_dms("8", refuse_opening=True)
    message = harness.message("8", Route("dm", "8"), replace(THREAD, mention="8"))
    harness.die("before discord.open_dm", message)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert [channel for channel, _ in harness.sent()] == ["70"]


def test_a_new_dm_is_remembered_before_anything_is_sent_there(harness: RunHarness) -> None:
    message = harness.message("8", Route("dm", "8"), replace(THREAD, mention="8"))
    harness.die("after discord.send", message)
    harness.discord.world.close_dms("8", refuse_opening=True)
    harness.later(AFTER_WINDOW)
    assert harness.run(message).states == ["sent"], "found where it had been sent"
    assert len(harness.sent()) == 1


@pytest.mark.parametrize("wrong", [timedelta(hours=2), timedelta(hours=-2)])
def test_it_is_found_although_our_clock_is_wrong(harness: RunHarness, wrong: timedelta) -> None:
    """Message ids tell Discord's time, claims tell ours."""
    clock = LoopbackClock(datetime.now(UTC) - wrong)
    with LoopbackDiscord(NO_LIMITS, clock=clock).running_in_thread() as discord:
        elsewhere = RunHarness(discord, harness.store)
        message = elsewhere.message("7")
        elsewhere.die("after discord.send", message)
        elsewhere.later(AFTER_WINDOW)
        assert elsewhere.run(message).states == ["sent"]
        assert len(elsewhere.sent()) == 1


def test_a_clock_that_went_backwards_after_a_crash_makes_no_second_message(
    harness: RunHarness,
) -> None:
    message = harness.message("7")
    right = harness.clock
    hour = timedelta(hours=1)
    harness.clock = replace(right, skew=hour, offset=right.offset - hour)
    harness.die("after discord.send", message)
    harness.clock = right
    assert harness.run(message).states == ["held_back"], "its claim seems to hold for an hour yet"
    harness.later(hour + AFTER_WINDOW)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1


def test_where_the_route_has_changed_it_is_looked_for_on_the_old_one(harness: RunHarness) -> None:
    """Within the nonce window too: another route has another nonce."""
    harness.settings = replace(harness.settings, lease=SECONDS)
    harness.die("after discord.send", harness.message("7"))
    harness.later(SECONDS)
    assert harness.run(harness.message("7", THREAD)).states == ["sent"]
    assert [channel for channel, _ in harness.sent()] == ["77"]


def test_past_its_expiry_it_is_still_looked_for_but_not_sent(harness: RunHarness) -> None:
    """The job still names it when its time is over between decision and request."""
    expires_at = harness.clock.decision() + timedelta(minutes=3)
    arrived = harness.message("7", occasion="a", expires_at=expires_at)
    lost = harness.message("7", occasion="b", topic="Boats", expires_at=expires_at)
    harness.discord.inject(LOST)
    assert harness.run(arrived).states == ["failed"]
    harness.die("before discord.send", lost)
    harness.later(AFTER_WINDOW)
    assert sorted(harness.run(arrived, lost).states) == ["expired", "sent"]
    assert len(harness.sent()) == 1


def test_what_may_have_arrived_is_not_called_undeliverable(harness: RunHarness) -> None:
    harness.settings = replace(harness.settings, lease=SECONDS)
    message = harness.message("7")
    harness.die("after discord.send", message)
    harness.later(SECONDS)
    harness.discord.world.close_dms("7")
    assert harness.run(message).states == ["sent"]
    harness.discord.world.reopen_dms("7")


def test_a_message_that_moderators_deleted_counts_as_sent(harness: RunHarness) -> None:
    harness.settings = replace(harness.settings, lease=SECONDS)
    message = harness.message("7")
    harness.die("after discord.send", message)
    harness.discord.world.delete_message(harness.discord.messages[0].id)
    harness.later(SECONDS)
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="rate_limit", retry_after=40, on="create_message", times=None),
        Fault(kind="error", status=503, on="create_message", times=None),
        Fault(kind="error", status=403, html=True, on="create_message", times=None),
    ],
)
def test_no_outage_loses_a_message_that_has_time_left(harness: RunHarness, fault: Fault) -> None:
    message = harness.message("7", expires_at=harness.clock.decision() + timedelta(days=1))
    harness.discord.inject(fault)
    waits = []
    for _ in range(20):
        [outcome] = harness.run(message).outcomes
        record = harness.record(message)
        assert (outcome.state, record.attempts) == ("failed", 0)
        assert record.retry_at is not None
        waits.append(record.retry_at - harness.clock.real())
        harness.later(timedelta(minutes=31))
    assert waits[0] < timedelta(minutes=1) < waits[4] <= max(waits) <= timedelta(minutes=30)
    harness.discord.clear_faults()
    assert harness.run(message).states == ["sent"]
    assert len(harness.sent()) == 1


def test_one_that_may_have_arrived_and_cannot_be_looked_for_ends_as_unknown_a_day_after_its_expiry(
    harness: RunHarness,
) -> None:
    message = harness.message("7", expires_at=harness.clock.decision() + timedelta(hours=1))
    harness.discord.inject(
        replace(LOST, times=None), Fault(kind="html", on="list_messages", times=None)
    )
    for _ in range(52):
        harness.known("8", "88")
        other = harness.message("8", expires_at=harness.clock.decision() + timedelta(hours=1))
        harness.run(message, other)
        harness.later(timedelta(minutes=31))
    record = harness.record(message)
    assert record.state == "unknown"
    assert record.updated_at - record.expires_at > timedelta(hours=24) - (NOW - real_now())


def test_what_a_dead_run_left_is_looked_for_although_no_job_names_it_any_more(
    harness: RunHarness,
) -> None:
    """Its time is over, or the talk was cancelled: the ledger must tell what people got."""
    arrived, lost = harness.message("7"), harness.message("7", occasion="b", topic="Boats")
    harness.die("after discord.send", arrived)
    harness.die("before discord.send", lost)
    harness.later(timedelta(hours=8))
    harness.known("8", "88")
    later = harness.message("8", expires_at=harness.clock.decision() + timedelta(hours=1))
    ended = harness.run(later)
    assert sorted(ended.states) == ["expired", "sent", "sent"]
    assert (harness.record(arrived).state, harness.record(lost).state) == ("sent", "expired")
    assert len(harness.sent()) == 2
    assert harness.run(later).states == ["already_sent"]


def test_what_another_run_is_sending_is_not_left_over(harness: RunHarness) -> None:
    soon = harness.clock.decision() + timedelta(minutes=1)
    harness.die("before discord.send", harness.message("7", expires_at=soon))
    harness.later(timedelta(minutes=2))
    harness.known("8", "88")
    assert harness.run(harness.message("8")).states == ["sent"]
    assert looked(harness) == 0


def test_a_claim_of_a_machine_whose_clock_is_a_year_ahead_blocks_its_message_for_an_hour_only(
    harness: RunHarness,
) -> None:
    message = harness.message("7", expires_at=harness.clock.decision() + timedelta(days=1))
    harness.die("before discord.send", message)
    record = harness.record(message)
    wrong = record._replace(
        revision="wrong", lease_until=harness.clock.real() + timedelta(days=365)
    )
    harness.store.ledger.swap([DeliveryChange(record, wrong)])
    assert harness.run(message).states == ["held_back"]
    harness.later(timedelta(minutes=66))
    assert harness.run(message).states == ["sent"]


def test_a_run_with_nothing_to_send_closes_what_a_dead_run_left(harness: RunHarness) -> None:
    arrived, lost = harness.message("7"), harness.message("7", occasion="b", topic="Boats")
    harness.die("after discord.send", arrived)
    harness.die("before discord.send", lost)
    harness.later(timedelta(hours=8))
    harness.run()
    assert (harness.record(arrived).state, harness.record(lost).state) == ("sent", "expired")
    requests = len(harness.discord.requests)
    harness.run()
    assert len(harness.discord.requests) == requests
