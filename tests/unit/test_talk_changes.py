"""From what a speaker knows, what the talk is, and what the ledger says, to what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.talk import Talk
from speakerbot.domain.talk_changes import (
    ChangeRules,
    ChangeStep,
    TalkPair,
    TalkSnapshot,
    TalkVersion,
    fate_of,
    step,
)

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
RULES = ChangeRules(NOW, ZoneInfo("UTC"), topics=False)
OLD, NEW, NEWER = (TalkVersion(date(2026, 11, day), "Engines") for day in (27, 29, 30))
REST = TalkSnapshot("t", "1", OLD, OLD, False, 4, NOW - timedelta(days=1), "ada", "77")
PENDING = replace(REST, seen=NEW, pending=True, sequence=5)


def talk_of(version: TalkVersion, *, completed: bool = False) -> Talk:
    return Talk("t", "1", "ada", version.topic, version.date, thread_id="77", completed=completed)


def record(state: DeliveryState, *, doubt: bool = False) -> Delivery:
    return Delivery(
        "key", "change.moved", "user:1", state, "r", "run", NOW, NOW, NOW, NOW,
        unconfirmed_since=NOW if doubt else None,
    )  # fmt: skip


RECORDS: dict[DeliveryState, Delivery | None] = {
    DeliveryState.PLANNED: None,
    DeliveryState.CLAIMED: record(DeliveryState.CLAIMED, doubt=True),
    DeliveryState.SENT: record(DeliveryState.SENT),
    DeliveryState.UNKNOWN: record(DeliveryState.UNKNOWN),
    DeliveryState.UNDELIVERABLE: record(DeliveryState.UNDELIVERABLE),
    DeliveryState.EXPIRED: record(DeliveryState.EXPIRED),
}


def follow(
    entry: TalkSnapshot | None,
    talk: TalkVersion | Talk | None,
    known: Delivery | None = None,
    *,
    opted_out: bool = False,
    rules: ChangeRules = RULES,
) -> ChangeStep:
    now = talk_of(talk) if isinstance(talk, TalkVersion) else talk
    return step(TalkPair(entry, now), known, opted_out=opted_out, rules=rules)


def test_a_talk_as_it_was_needs_nothing() -> None:
    assert follow(REST, OLD) == ChangeStep(REST, "rest")


def test_a_new_talk_is_booked() -> None:
    after = follow(None, OLD)
    assert (after.verdict, after.entry.kind, after.entry.occasion) == (
        "send",
        "booked",
        "2026-11-27#1",
    )
    assert (after.entry.username, after.entry.thread_id) == ("ada", "77")


def test_a_moved_talk_is_announced_with_both_dates_and_a_number_of_its_own() -> None:
    after = follow(REST, NEW).entry
    assert (after.kind, after.occasion) == ("moved", "2026-11-27..2026-11-29#5")
    assert follow(after, NEW, RECORDS[DeliveryState("sent")]).entry.sequence == 6


def test_a_talk_that_is_gone_is_cancelled() -> None:
    after = follow(REST, None).entry
    assert (after.kind, after.occasion, after.told) == ("cancelled", "2026-11-27#5", OLD)


def test_there_and_back_and_there_again_are_three_notices() -> None:
    entry, occasions = REST, []
    for version in (NEW, OLD, NEW):
        entry = follow(entry, version).entry
        occasions.append(entry.occasion)
        entry = follow(entry, version, RECORDS[DeliveryState("sent")]).entry
    assert len(set(occasions)) == 3


@pytest.mark.parametrize("fate", ["planned", "claimed"])
def test_a_notice_that_stands_is_sent_and_its_entry_waits(fate: DeliveryState) -> None:
    assert follow(PENDING, NEW, RECORDS[fate]) == ChangeStep(PENDING, "send")


@pytest.mark.parametrize("fate", ["unknown", "undeliverable"])
def test_what_was_given_up_rests_so_that_a_person_may_retry_it(fate: DeliveryState) -> None:
    assert follow(PENDING, NEW, RECORDS[fate]) == ChangeStep(PENDING, "rest")


@pytest.mark.parametrize("now", [OLD, NEWER, None])
def test_what_may_have_arrived_is_looked_for_once_the_talk_changed_again(
    now: TalkVersion | None,
) -> None:
    assert follow(PENDING, now, RECORDS[DeliveryState("claimed")]) == ChangeStep(PENDING, "look")


@pytest.mark.parametrize("fate", ["planned", "undeliverable", "expired"])
def test_an_undone_change_that_nobody_heard_of_vanishes(fate: DeliveryState) -> None:
    after = follow(PENDING, OLD, RECORDS[fate])
    assert after.verdict == "rest"
    assert (after.entry.told, after.entry.seen, after.entry.pending) == (OLD, OLD, False)
    assert bool(after.void) == (fate != "expired")


@pytest.mark.parametrize("fate", ["sent", "unknown"])
def test_an_undone_change_that_may_have_been_heard_of_is_announced(fate: DeliveryState) -> None:
    after = follow(PENDING, OLD, RECORDS[fate])
    assert (after.verdict, after.entry.kind) == ("send", "moved")
    assert after.entry.change == (NEW, OLD)
    assert bool(after.void) == (fate == "unknown")


@pytest.mark.parametrize(("fate", "known"), [("planned", OLD), ("sent", NEW)])
def test_a_second_change_is_told_from_what_the_speaker_knows(
    fate: DeliveryState, known: TalkVersion
) -> None:
    assert follow(PENDING, NEWER, RECORDS[fate]).entry.change == (known, NEWER)


def test_a_talk_cancelled_before_its_booking_was_told_leaves_a_number_behind() -> None:
    booked = follow(None, OLD).entry
    gone = follow(booked, None).entry
    assert (gone.told, gone.seen, gone.pending, gone.sequence) == (None, None, False, 2)
    again = follow(gone, OLD)
    assert (again.verdict, again.entry.kind, again.entry.sequence) == ("send", "booked", 3)


def test_cancelled_and_booked_again_before_the_cancellation_went_is_nothing() -> None:
    cancelled = follow(REST, None).entry
    after = follow(cancelled, OLD)
    assert (after.verdict, after.entry.pending, bool(after.void)) == ("rest", False, True)


def test_who_opted_out_hears_nothing_and_nothing_is_made_up_for_later() -> None:
    first = follow(REST, NEW, opted_out=True)
    assert first.verdict == "send"  # noted, and held back where everybody sees it
    after = follow(first.entry, NEW, opted_out=True)
    assert (after.entry.told, after.entry.seen, after.entry.pending) == (OLD, NEW, False)
    assert after.void == "opted_out"
    assert follow(after.entry, NEW).verdict == "rest"
    assert follow(after.entry, OLD).verdict == "rest"


def test_of_who_opted_out_while_it_was_under_way_it_is_found_out() -> None:
    assert follow(PENDING, NEW, RECORDS[DeliveryState("claimed")], opted_out=True) == ChangeStep(
        PENDING, "look"
    )


LATER = replace(RULES, now=datetime(2026, 11, 30, tzinfo=UTC))


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "UTC", "America/Los_Angeles"])
def test_a_notice_is_over_when_the_later_day_ends_where_the_community_is(zone: str) -> None:
    end = datetime(2026, 11, 30, tzinfo=ZoneInfo(zone))
    assert PENDING.expires_at(ZoneInfo(zone)) == end
    assert replace(PENDING, told=NEW, seen=OLD).expires_at(ZoneInfo(zone)) == end
    assert replace(PENDING, seen=None).expires_at(ZoneInfo(zone)) == end - timedelta(days=2)


def test_the_last_day_of_the_calendar_does_no_harm() -> None:
    last = replace(PENDING, seen=TalkVersion(date.max, "Engines"))
    assert last.expires_at(ZoneInfo("America/Los_Angeles")) > NOW


@pytest.mark.parametrize("now", [NEW, None])
def test_of_talks_that_are_over_nobody_hears(now: TalkVersion | None) -> None:
    after = follow(replace(REST, seen=OLD), now, rules=LATER)
    assert (after.verdict, after.entry.seen, after.entry.told) == ("rest", now, OLD)


@pytest.mark.parametrize(
    ("fate", "known", "void"),
    [
        ("planned", OLD, True),
        ("undeliverable", OLD, False),
        ("unknown", NEW, False),
        ("sent", NEW, False),
    ],
)
def test_past_its_time_a_notice_is_closed(
    fate: DeliveryState, known: TalkVersion, void: bool
) -> None:
    after = follow(PENDING, NEW, RECORDS[fate], rules=LATER)
    assert (after.entry.pending, after.entry.told, bool(after.void)) == (False, known, void)


def test_past_its_time_what_may_have_arrived_is_still_looked_for() -> None:
    assert follow(PENDING, NEW, RECORDS[DeliveryState("claimed")], rules=LATER) == ChangeStep(
        PENDING, "look"
    )


def test_of_a_talk_that_was_held_nobody_hears() -> None:
    held = talk_of(NEW, completed=True)
    assert follow(REST, held).verdict == "rest"
    assert not follow(PENDING, held).entry.pending


RENAMED = replace(OLD, topic="Looms")
WITH_TOPICS = replace(RULES, topics=True)


def test_a_new_topic_is_taken_as_known_unless_it_is_to_be_announced() -> None:
    after = follow(REST, RENAMED)
    assert (after.verdict, after.entry.told, after.entry.seen) == ("rest", RENAMED, RENAMED)
    announced = follow(REST, RENAMED, rules=WITH_TOPICS)
    assert (announced.verdict, announced.entry.kind) == ("send", "topic")
    assert announced.entry.change == (OLD, RENAMED)


def test_announcing_topics_from_now_on_announces_no_earlier_ones() -> None:
    after = follow(REST, RENAMED).entry
    assert follow(after, RENAMED, rules=WITH_TOPICS) == ChangeStep(after, "rest")


def test_a_new_date_and_a_new_topic_are_one_notice() -> None:
    after = follow(REST, replace(NEW, topic="Looms"), rules=WITH_TOPICS).entry
    assert (after.kind, after.change[1].topic) == ("moved", "Looms")


def test_a_new_topic_does_not_disturb_a_notice_under_way_where_topics_do_not_count() -> None:
    renamed = replace(NEW, topic="Looms")
    assert follow(PENDING, renamed, RECORDS[DeliveryState("undeliverable")]) == ChangeStep(
        PENDING, "rest"
    )
    assert (
        follow(PENDING, renamed, RECORDS[DeliveryState("undeliverable")], rules=WITH_TOPICS).verdict
        == "send"
    )


def test_a_new_name_or_thread_is_noted_without_a_word() -> None:
    after = follow(REST, replace(talk_of(OLD), username="lovelace", thread_id="78"))
    assert (after.verdict, after.entry.username, after.entry.thread_id) == (
        "rest",
        "lovelace",
        "78",
    )


@pytest.mark.parametrize(
    ("state", "doubt", "fate"),
    [
        ("claimed", True, "claimed"),
        ("failed", False, "planned"),
        ("failed", True, "claimed"),
        ("sent", False, "sent"),
        ("unknown", True, "unknown"),
        ("undeliverable", False, "undeliverable"),
        ("expired", False, "expired"),
    ],
)
def test_the_fate_of_a_notice_is_what_the_ledger_says(
    state: DeliveryState, doubt: bool, fate: DeliveryState
) -> None:
    assert fate_of(record(state, doubt=doubt)) == fate


@pytest.mark.parametrize("fate", RECORDS)
@pytest.mark.parametrize("now", [OLD, NEW, NEWER, None])
@pytest.mark.parametrize("opted_out", [False, True])
@pytest.mark.parametrize("rules", [RULES, LATER])
def test_deciding_again_what_was_just_written_changes_nothing(
    fate: DeliveryState, now: TalkVersion | None, opted_out: bool, rules: ChangeRules
) -> None:
    """Settling is idempotent: a second step from the first one's entry writes nothing."""
    first = follow(PENDING, now, RECORDS[fate], opted_out=opted_out, rules=rules)
    known = RECORDS[fate] if first.entry is PENDING else None
    assert follow(first.entry, now, known, rules=rules).entry is first.entry
