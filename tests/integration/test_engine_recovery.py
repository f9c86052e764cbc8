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
from speakerbot.testing.trial import NOW, Trial

THREAD = Route("thread", "70", mention="7")
SECONDS = timedelta(seconds=30)
AFTER_WINDOW = timedelta(minutes=6)
LOST = Fault(kind="lost_response", on="create_message")


def looked(trial: Trial) -> int:
    return sum(request.operation == "list_messages" for request in trial.discord.requests)


@pytest.fixture(autouse=True)
def _acquainted(trial: Trial) -> None:
    trial.known("7", "77")
    trial.discord.world.add_thread("70", "1")


def test_seconds_later_it_is_looked_for_too(trial: Trial) -> None:
    """How long Discord remembers nonces is not for us to rely on."""
    trial.settings = replace(trial.settings, lease=SECONDS)
    message = trial.message("7")
    trial.die("after discord.send", message)
    trial.later(SECONDS)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1
    assert looked(trial) == 1


@pytest.mark.parametrize("history_nonces", [True, False])
def test_after_the_window_it_is_found_in_the_history(trial: Trial, history_nonces: bool) -> None:
    trial.discord.settings = replace(NO_LIMITS, history_nonces=history_nonces)
    message = trial.message("7")
    trial.die("after discord.send", message)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    [sent] = trial.discord.messages
    record = trial.record(message)
    assert (record.state, record.message_id, record.channel_id) == ("sent", sent.id, "77")


@pytest.mark.parametrize("history_nonces", [True, False])
def test_after_the_window_what_did_not_arrive_is_sent(trial: Trial, history_nonces: bool) -> None:
    trial.discord.settings = replace(NO_LIMITS, history_nonces=history_nonces)
    message = trial.message("7")
    trial.die("before discord.send", message)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1
    assert looked(trial) == 1


def test_a_lost_answer_is_settled_by_a_later_run(trial: Trial) -> None:
    message = trial.message("7")
    trial.discord.inject(LOST)
    assert trial.run(message).states == ["failed"]
    assert trial.run(message).states == ["failed"], "it waits before it tries again"
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1


def test_others_messages_and_our_own_with_another_text_are_not_taken_for_it(trial: Trial) -> None:
    trial.run(trial.message("7", THREAD, topic="Boats", occasion="before"))
    message = trial.message("7", THREAD)
    trial.die("before discord.send", message)
    trial.discord.world.post("70", "8", f"<@7> {trial.text(message)}")
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert len([m for m in trial.discord.messages if m.author_id != "8"]) == 2


def test_an_equal_text_that_the_ledger_knows_as_another_message_is_not_taken_for_it(
    trial: Trial,
) -> None:
    """Every hour the same sentence: the last one arrived, this one did not."""
    first, second = (trial.message("7", occasion=occasion) for occasion in ("9:00", "9:01"))
    assert trial.run(first).states == ["sent"]
    trial.later(timedelta(minutes=1))
    trial.die("before discord.send", second)
    trial.later(AFTER_WINDOW)
    assert trial.run(second).states == ["sent"]
    assert len(trial.sent()) == 2


def test_two_equal_texts_in_doubt_of_which_one_arrived_are_both_there_in_the_end(
    trial: Trial,
) -> None:
    both = [trial.message("7", occasion=occasion) for occasion in ("9:00", "9:01")]
    trial.die("after discord.send", *both)
    arrived = len(trial.sent())
    assert arrived
    trial.later(AFTER_WINDOW)
    assert trial.run(*both).states == ["sent", "sent"]
    assert len(trial.sent()) == 2


def test_in_a_thread_whose_history_we_may_not_read_nobody_can_tell(trial: Trial) -> None:
    """Discord says nothing of a missing permission: the history just looks empty."""
    trial.discord.world.forbid("70", history=True)
    message = trial.message("7", THREAD)
    trial.die("after discord.send", message)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["unknown"]
    assert trial.run(message).states == ["unknown"], "and it is not tried again"
    assert len(trial.sent()) == 1
    record = trial.record(message)
    assert "no way to look" in record.error


def test_an_empty_thread_is_no_missing_permission(trial: Trial) -> None:
    trial.discord.world.forbid("70", history=True)
    message = trial.message("7", THREAD)
    trial.die("before discord.send", message)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1


def test_a_thread_we_cannot_see_any_more_leaves_it_unknown(trial: Trial) -> None:
    message = trial.message("7", THREAD)
    trial.die("after discord.send", message)
    trial.discord.world.forbid("70", read=True)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["unknown"]


def test_a_dm_that_was_never_opened_cannot_hold_it(trial: Trial) -> None:
    """Else whoever refuses new direct messages would stay unknown after any crash."""
    trial.discord.world.close_dms("8", refuse_opening=True)
    message = trial.message("8", Route("dm", "8"), replace(THREAD, mention="8"))
    trial.die("before discord.open_dm", message)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert [channel for channel, _ in trial.sent()] == ["70"]


def test_a_new_dm_is_remembered_before_anything_is_sent_there(trial: Trial) -> None:
    message = trial.message("8", Route("dm", "8"), replace(THREAD, mention="8"))
    trial.die("after discord.send", message)
    trial.discord.world.close_dms("8", refuse_opening=True)
    trial.later(AFTER_WINDOW)
    assert trial.run(message).states == ["sent"], "found where it had been sent"
    assert len(trial.sent()) == 1


@pytest.mark.parametrize("wrong", [timedelta(hours=2), timedelta(hours=-2)])
def test_it_is_found_although_our_clock_is_wrong(trial: Trial, wrong: timedelta) -> None:
    """Message ids tell Discord's time, claims tell ours."""
    clock = LoopbackClock(datetime.now(UTC) - wrong)
    with LoopbackDiscord(NO_LIMITS, clock=clock).running_in_thread() as discord:
        elsewhere = Trial(discord, trial.store)
        message = elsewhere.message("7")
        elsewhere.die("after discord.send", message)
        elsewhere.later(AFTER_WINDOW)
        assert elsewhere.run(message).states == ["sent"]
        assert len(elsewhere.sent()) == 1


def test_a_clock_that_went_backwards_after_a_crash_makes_no_second_message(trial: Trial) -> None:
    message = trial.message("7")
    right = trial.clock
    hour = timedelta(hours=1)
    trial.clock = replace(right, skew=hour, offset=right.offset - hour)
    trial.die("after discord.send", message)
    trial.clock = right
    assert trial.run(message).states == ["held_back"], "its claim seems to hold for an hour yet"
    trial.later(hour + AFTER_WINDOW)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1


def test_where_the_route_has_changed_it_is_looked_for_on_the_old_one(trial: Trial) -> None:
    """Within the nonce window too: another route has another nonce."""
    trial.settings = replace(trial.settings, lease=SECONDS)
    trial.die("after discord.send", trial.message("7"))
    trial.later(SECONDS)
    assert trial.run(trial.message("7", THREAD)).states == ["sent"]
    assert [channel for channel, _ in trial.sent()] == ["77"]


def test_past_its_expiry_it_is_still_looked_for_but_not_sent(trial: Trial) -> None:
    """The job still names it when its time is over between decision and request."""
    expires_at = trial.clock.decision() + timedelta(minutes=3)
    arrived = trial.message("7", occasion="a", expires_at=expires_at)
    lost = trial.message("7", occasion="b", topic="Boats", expires_at=expires_at)
    trial.discord.inject(LOST)
    assert trial.run(arrived).states == ["failed"]
    trial.die("before discord.send", lost)
    trial.later(AFTER_WINDOW)
    assert sorted(trial.run(arrived, lost).states) == ["expired", "sent"]
    assert len(trial.sent()) == 1


def test_what_may_have_arrived_is_not_called_undeliverable(trial: Trial) -> None:
    trial.settings = replace(trial.settings, lease=SECONDS)
    message = trial.message("7")
    trial.die("after discord.send", message)
    trial.later(SECONDS)
    trial.discord.world.close_dms("7")
    assert trial.run(message).states == ["sent"]
    trial.discord.world.reopen_dms("7")


def test_a_message_that_moderators_deleted_counts_as_sent(trial: Trial) -> None:
    trial.settings = replace(trial.settings, lease=SECONDS)
    message = trial.message("7")
    trial.die("after discord.send", message)
    trial.discord.world.delete_message(trial.discord.messages[0].id)
    trial.later(SECONDS)
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="rate_limit", retry_after=40, on="create_message", times=None),
        Fault(kind="error", status=503, on="create_message", times=None),
        Fault(kind="error", status=403, html=True, on="create_message", times=None),
    ],
)
def test_no_outage_loses_a_message_that_has_time_left(trial: Trial, fault: Fault) -> None:
    message = trial.message("7", expires_at=trial.clock.decision() + timedelta(days=1))
    trial.discord.inject(fault)
    waits = []
    for _ in range(20):
        [outcome] = trial.run(message).outcomes
        record = trial.record(message)
        assert (outcome.state, record.attempts) == ("failed", 0)
        assert record.retry_at is not None
        waits.append(record.retry_at - trial.clock.real())
        trial.later(timedelta(minutes=31))
    assert waits[0] < timedelta(minutes=1) < waits[4] <= max(waits) <= timedelta(minutes=30)
    trial.discord.clear_faults()
    assert trial.run(message).states == ["sent"]
    assert len(trial.sent()) == 1


def test_one_that_may_have_arrived_and_cannot_be_looked_for_ends_as_unknown_a_day_after_its_expiry(
    trial: Trial,
) -> None:
    message = trial.message("7", expires_at=trial.clock.decision() + timedelta(hours=1))
    trial.discord.inject(
        replace(LOST, times=None), Fault(kind="html", on="list_messages", times=None)
    )
    for _ in range(52):
        trial.known("8", "88")
        other = trial.message("8", expires_at=trial.clock.decision() + timedelta(hours=1))
        trial.run(message, other)
        trial.later(timedelta(minutes=31))
    record = trial.record(message)
    assert record.state == "unknown"
    assert record.updated_at - record.expires_at > timedelta(hours=24) - (NOW - real_now())


def test_what_a_dead_run_left_is_looked_for_although_no_job_names_it_any_more(trial: Trial) -> None:
    """Its time is over, or the talk was cancelled: the ledger must tell what people got."""
    arrived, lost = trial.message("7"), trial.message("7", occasion="b", topic="Boats")
    trial.die("after discord.send", arrived)
    trial.die("before discord.send", lost)
    trial.later(timedelta(hours=8))
    trial.known("8", "88")
    later = trial.message("8", expires_at=trial.clock.decision() + timedelta(hours=1))
    ended = trial.run(later)
    assert sorted(ended.states) == ["expired", "sent", "sent"]
    assert (trial.record(arrived).state, trial.record(lost).state) == ("sent", "expired")
    assert len(trial.sent()) == 2
    assert trial.run(later).states == ["already_sent"]


def test_what_another_run_is_sending_is_not_left_over(trial: Trial) -> None:
    soon = trial.clock.decision() + timedelta(minutes=1)
    trial.die("before discord.send", trial.message("7", expires_at=soon))
    trial.later(timedelta(minutes=2))
    trial.known("8", "88")
    assert trial.run(trial.message("8")).states == ["sent"]
    assert looked(trial) == 0


def test_a_claim_of_a_machine_whose_clock_is_a_year_ahead_blocks_its_message_for_an_hour_only(
    trial: Trial,
) -> None:
    message = trial.message("7", expires_at=trial.clock.decision() + timedelta(days=1))
    trial.die("before discord.send", message)
    record = trial.record(message)
    wrong = record._replace(revision="wrong", lease_until=trial.clock.real() + timedelta(days=365))
    trial.store.ledger.swap([DeliveryChange(record, wrong)])
    assert trial.run(message).states == ["held_back"]
    trial.later(timedelta(minutes=66))
    assert trial.run(message).states == ["sent"]
