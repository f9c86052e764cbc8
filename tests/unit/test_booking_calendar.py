"""What calendar programs are told: a SEQUENCE that only grows, and who cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot import booking
from speakerbot.domain.calendar_entry import CalendarEntry, reconcile
from speakerbot.domain.talk import Talk
from speakerbot.formats.import_rows import Row
from speakerbot.formats.talk_import import TalkImport
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.stores import open_store
from speakerbot.testing.crash.boundaries import Reached, stepping_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DAY = date(2026, 11, 27)
TALK = Talk("a", "1", "ada", "Engines", DAY, starts_at=time(19, 30))
OTHER = Talk("b", "2", "bob", "Bots", date(2026, 11, 28))
FIRST = CalendarEntry("a", 0, DAY, time(19, 30), "Engines", "ada", False, NOW)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def shown(store: Store, now: datetime = LATER) -> list[tuple[str, int, date, bool]]:
    """The calendar as it stands."""
    return [
        (each.talk_id, each.sequence, each.date, each.cancelled)
        for each in booking.current(store.calendar.all(), store.talks.all(), now)
    ]


def test_a_new_talk_begins_at_nought() -> None:
    assert reconcile(TALK, None, NOW) == FIRST


@pytest.mark.parametrize(
    "changed",
    [
        replace(TALK, date=date(2026, 12, 4)),
        replace(TALK, starts_at=None),
        replace(TALK, starts_at=time(20)),
        replace(TALK, topic="Looms"),
        replace(TALK, username="eve", user_id="3"),
    ],
)
def test_each_change_that_a_calendar_shows_counts_one_up(changed: Talk) -> None:
    after = reconcile(changed, FIRST, LATER)
    assert after is not None
    assert (after.sequence, after.changed_at, after.cancelled) == (1, LATER, False)
    assert after.shows(changed)
    assert reconcile(changed, after, LATER) is None


@pytest.mark.parametrize(
    "same", [TALK, replace(TALK, completed=True, sent_day_of_at=NOW, thread_id="7", user_id="9")]
)
def test_what_a_calendar_does_not_show_changes_nothing(same: Talk) -> None:
    assert reconcile(same, FIRST, LATER) is None


def test_a_talk_that_is_gone_is_cancelled_once() -> None:
    gone = reconcile(None, FIRST, LATER)
    assert gone == replace(FIRST, sequence=1, cancelled=True, changed_at=LATER)
    assert reconcile(None, gone, LATER) is None
    assert reconcile(None, None, LATER) is None


def test_a_talk_booked_again_under_its_id_is_no_longer_cancelled() -> None:
    gone = replace(FIRST, sequence=4, cancelled=True)
    assert reconcile(TALK, gone, LATER) == replace(FIRST, sequence=5, changed_at=LATER)


TALKS = st.none() | st.builds(
    replace,
    st.just(TALK),
    date=st.sampled_from([DAY, OTHER.date]),
    topic=st.sampled_from(["Engines", "Looms"]),
)


@given(st.lists(TALKS, max_size=12))
def test_whatever_happens_every_version_has_a_sequence_of_its_own(
    history: list[Talk | None],
) -> None:
    entry, versions = None, []
    for talk in history:
        if after := reconcile(talk, entry, NOW):
            entry = after
            versions.append(after)
        assert (entry is None or entry.cancelled) if talk is None else (entry and entry.shows(talk))
    assert [each.sequence for each in versions] == list(range(len(versions)))


def test_our_own_commands_are_in_the_calendar_at_once(store: Store) -> None:
    moved = date(2026, 12, 4)
    booking.add(store, TALK, NOW)
    assert shown(store) == [("a", 0, DAY, False)]
    assert booking.move(store, TALK, moved, NOW)
    assert shown(store) == [("a", 1, moved, False)]
    assert booking.cancel(store, replace(TALK, date=moved), NOW)
    assert shown(store) == [("a", 2, moved, True)]
    booking.add(store, TALK, NOW)
    assert shown(store) == [("a", 3, DAY, False)]
    assert store.calendar.get("a") == replace(FIRST, sequence=3)


def test_a_talk_that_was_never_noted_is_moved_and_cancelled_all_the_same(store: Store) -> None:
    """A calendar has shown it with SEQUENCE 0."""
    store.talks.put([TALK, OTHER])
    assert shown(store) == [("a", 0, DAY, False), ("b", 0, OTHER.date, False)]
    booking.move(store, TALK, date(2026, 12, 4), NOW)
    booking.cancel(store, OTHER, NOW)
    assert shown(store) == [("a", 1, date(2026, 12, 4), False), ("b", 1, OTHER.date, True)]


def test_a_talk_that_vanished_under_a_command_is_cancelled(store: Store) -> None:
    booking.add(store, TALK, NOW)
    store.talks.delete("a")
    assert not booking.move(store, TALK, OTHER.date, LATER)
    assert shown(store) == [("a", 1, DAY, True)]


def test_an_import_notes_new_and_changed_talks(store: Store) -> None:
    store.talks.put([TALK])
    changed = replace(TALK, topic="Looms")
    booking.take_in(store, TalkImport([Row("1", None, OTHER), Row("2", TALK, changed)]), NOW)
    assert shown(store) == [("a", 1, DAY, False), ("b", 0, OTHER.date, False)]
    booking.take_in(store, TalkImport([Row("2", changed, changed)]), LATER)
    assert {each.changed_at for each in store.calendar.all()} == {NOW}


def test_an_import_moves_a_flag_unless_a_run_has_moved_it_since(store: Store) -> None:
    store.talks.put([TALK, OTHER])
    moved = [replace(each, sent_day_of_at=NOW) for each in (TALK, OTHER)]
    rows = [Row(each.id, each, to) for each, to in zip((TALK, OTHER), moved, strict=True)]
    store.talks.write_flags([FlagWrite("a", "sentDayOfAt", None, LATER)])
    booking.take_in(store, TalkImport(rows), NOW)
    assert [talk.sent_day_of_at for talk in store.talks.all()] == [LATER, NOW]


def test_what_the_node_bot_did_is_shown_as_it_will_be_noted(store: Store) -> None:
    booking.add(store, TALK, NOW)
    booking.add(store, OTHER, NOW)
    store.talks.reschedule("a", date(2026, 12, 4))
    store.talks.delete("b")
    expected = [("a", 1, date(2026, 12, 4), False), ("b", 1, OTHER.date, True)]
    assert shown(store) == expected
    booking.follow(store.calendar, LATER)
    booking.follow(store.calendar, LATER + timedelta(hours=1))
    assert shown(store) == expected
    assert {each.changed_at for each in store.calendar.all()} == {LATER}


def test_a_cancelled_talk_is_shown_for_ninety_days_and_never_forgotten(store: Store) -> None:
    booking.add(store, TALK, NOW)
    booking.cancel(store, TALK, NOW)
    assert shown(store, NOW + timedelta(days=90, seconds=-1)) == [("a", 1, DAY, True)]
    assert shown(store, NOW + timedelta(days=90)) == []
    booking.add(store, TALK, NOW + timedelta(days=100))
    assert shown(store) == [("a", 2, DAY, False)]


class Died(Exception):
    """The process, right there."""


@pytest.mark.parametrize("command", ["move", "cancel"])
def test_wherever_a_command_dies_the_next_look_mends_it(command: str) -> None:
    """As on a store without transactions: whatever was written stands."""
    for last in range(1, 9):  # 6 boundaries, and past the end
        store = open_store("sqlite:///:memory:")
        store.prepare()
        store.talks.put([TALK])
        reached = iter(range(1, 100))

        def die(_: str, last: int = last, reached: Iterator[int] = reached) -> None:
            if next(reached) == last:
                raise Died

        dying = untransacted(store, die)
        try:
            if command == "move":
                booking.move(dying, TALK, OTHER.date, NOW)
            else:
                booking.cancel(dying, TALK, NOW)
        except Died:
            pass
        booking.follow(store.calendar, LATER)
        [(_, sequence, day, cancelled)] = shown(store)
        talk = store.talks.get("a")
        assert (sequence == 0) == (talk == TALK)
        assert (day, cancelled) == (talk.date if talk else DAY, talk is None)
        store.close()


def untransacted(store: Store, reached: Reached) -> Store:
    """Writes one by one, as MongoDB does; dies where ``reached`` does."""
    stepped = stepping_store(store, reached)
    stepped.at_once = nullcontext  # type: ignore[method-assign]
    return stepped
