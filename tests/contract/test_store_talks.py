"""Talks: read by date, one or several on each, flags written only over the value seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from structlog.testing import capture_logs

from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import DateTaken
from speakerbot.ports.store import FlagWrite, Store

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)


def _talk(number: int, day: date) -> Talk:
    return Talk(f"{number:024x}", "1", "ada", f"topic {number}", day, booked_at=NOON)


def _on(store: Store, talk: Talk) -> date | None:
    found = store.talks.get(talk.id)
    return found.date if found else None


def test_talks_come_by_date_with_both_ends(store: Store) -> None:
    days = [DAY + timedelta(days=n) for n in range(5)]
    store.talks.put([_talk(n, day) for n, day in enumerate(reversed(days))])
    assert [talk.date for talk in store.talks.between(days[1], days[3])] == days[1:4]
    assert [talk.date for talk in store.talks.all()] == days


def test_more_talks_than_a_page_come_each_once_while_others_are_written(store: Store) -> None:
    store.talks.put([_talk(n, DAY + timedelta(days=n)) for n in range(601)])
    seen = []
    for talk in store.talks.all():
        seen.append(talk.date)
        if len(seen) == 10:
            store.talks.delete(_talk(550, DAY).id)
    assert len(seen) == len(set(seen)) == 600


def test_the_whole_calendar_may_be_asked_for(store: Store) -> None:
    first, last = _talk(1, date(1970, 1, 1)), _talk(2, date(2999, 12, 31))
    store.talks.put([last, first])
    assert list(store.talks.between(date.min, date.max)) == [first, last]


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1969, 12, 31), date(3000, 1, 1), date.max])
def test_a_talk_outside_1970_to_2999_is_hidden_with_one_warning(store: Store, day: date) -> None:
    """Arithmetic with such dates leaves the calendar: it would stop everybody's reminders."""
    odd, sound = _talk(1, day), _talk(2, DAY)
    store.talks.put([odd, sound])
    with capture_logs() as warnings:
        for _ in range(2):
            assert list(store.talks.all()) == [sound]
            assert list(store.talks.between(date.min, date.max)) == [sound]
            assert list(store.talks.between(DAY, DAY)) == [sound]
            assert store.talks.get(odd.id) is None
        assert list(store.calendar.differing()) == [(sound, None)]
        store.snapshots.take(NOON)
        assert [entry.talk_id for entry in store.snapshots.all()] == [sound.id]
    assert [(each["event"], each["id"]) for each in warnings] == [
        ("stored_field_unreadable", odd.id)
    ]


def test_a_hidden_talk_is_there_again_once_its_date_is_right(store: Store) -> None:
    odd = _talk(1, date.max)
    store.talks.put([odd])
    assert store.talks.reschedule(odd.id, DAY)
    assert list(store.talks.all()) == [replace(odd, date=DAY)]


def test_a_talk_is_found_by_its_id_only(store: Store) -> None:
    talk = _talk(1, DAY)
    store.talks.put([talk])
    assert store.talks.get(talk.id) == talk
    for unknown in ("2026-11-20", "f" * 24, "", "not an id"):
        assert store.talks.get(unknown) is None


def test_putting_again_replaces_by_id(store: Store) -> None:
    talk = replace(_talk(1, DAY), thread_id="9", scheduler_user_id="8", completed=True)
    store.talks.put([talk])
    changed = replace(_talk(1, DAY + timedelta(days=1)), topic="another")
    store.talks.put([changed])
    assert list(store.talks.all()) == [changed]


def test_no_talks_are_put_without_a_word(store: Store) -> None:
    store.talks.put([])
    assert list(store.talks.all()) == []


def test_a_taken_date_names_the_date_and_both_talks_and_nothing_is_put(
    beside_node_bot: Store,
) -> None:
    holder, free, late = _talk(1, DAY), _talk(2, DAY + timedelta(days=1)), _talk(3, DAY)
    beside_node_bot.talks.put([holder])
    with pytest.raises(DateTaken) as caught:
        beside_node_bot.talks.put([free, late])
    assert all(part in str(caught.value) for part in ("2026-11-20", holder.id, late.id))
    assert list(beside_node_bot.talks.all()) == [holder]


def test_two_talks_of_one_call_cannot_share_a_date(beside_node_bot: Store) -> None:
    with pytest.raises(DateTaken):
        beside_node_bot.talks.put([_talk(1, DAY), _talk(2, DAY)])
    assert list(beside_node_bot.talks.all()) == []


def test_a_date_that_another_talk_of_the_call_gives_up_is_free(store: Store) -> None:
    store.talks.put([_talk(n, DAY + timedelta(days=n)) for n in range(3)])
    moved = [_talk(n, DAY + timedelta(days=n + 1)) for n in range(3)]
    store.talks.put([_talk(9, DAY), *moved])
    assert [talk.id for talk in store.talks.all()] == [_talk(n, DAY).id for n in (9, 0, 1, 2)]


def test_rescheduling_moves_the_date_and_leaves_the_flags(store: Store) -> None:
    talk = replace(_talk(1, DAY), sent_day_of_at=NOON, thread_id="7")
    store.talks.put([talk])
    assert store.talks.reschedule(talk.id, DAY + timedelta(days=7))
    assert store.talks.get(talk.id) == replace(talk, date=DAY + timedelta(days=7))


def test_rescheduling_to_its_own_date_is_not_a_clash(store: Store) -> None:
    store.talks.put([_talk(1, DAY)])
    assert store.talks.reschedule(_talk(1, DAY).id, DAY)


def test_rescheduling_to_a_taken_date_changes_nothing(beside_node_bot: Store) -> None:
    first, second = _talk(1, DAY), _talk(2, DAY + timedelta(days=1))
    beside_node_bot.talks.put([first, second])
    with pytest.raises(DateTaken, match=f"2026-11-20.*{first.id}.*{second.id}"):
        beside_node_bot.talks.reschedule(second.id, DAY)
    assert _on(beside_node_bot, second) == second.date


def test_a_talk_that_is_gone_is_neither_moved_nor_deleted(store: Store) -> None:
    talk = _talk(1, DAY)
    store.talks.put([talk])
    assert store.talks.delete(talk.id)
    assert not store.talks.delete(talk.id)
    assert not store.talks.reschedule(talk.id, DAY)


def test_a_deleted_talks_date_is_free(store: Store) -> None:
    store.talks.put([_talk(1, DAY)])
    store.talks.delete(_talk(1, DAY).id)
    store.talks.put([_talk(2, DAY)])
    assert _on(store, _talk(2, DAY)) == DAY


def test_flags_are_written_over_the_value_seen_only(store: Store) -> None:
    unsent, stale, sent = (_talk(n, DAY + timedelta(days=n)) for n in range(3))
    old, new = NOON - timedelta(days=30), NOON
    store.talks.put(
        [unsent, replace(stale, sent_day_of_at=old), replace(sent, sent_day_of_at=NOON)]
    )
    writes = [
        FlagWrite(unsent.id, "sentDayOfAt", seen=None, to=new),
        FlagWrite(stale.id, "sentDayOfAt", seen=old, to=new),
        FlagWrite(sent.id, "sentDayOfAt", seen=None, to=new + timedelta(seconds=1)),
        FlagWrite("f" * 24, "sentDayOfAt", seen=None, to=new),
    ]
    assert store.talks.write_flags(writes) == {unsent.id, stale.id}
    assert [talk.sent_day_of_at for talk in store.talks.all()] == [new, new, NOON]
    assert [talk.sent_tminus1_at for talk in store.talks.all()] == [None, None, None]


@pytest.mark.parametrize("read", [None, NOON - timedelta(days=30)], ids=["unsent", "stale"])
def test_putting_a_talk_undoes_no_flag_written_since_it_was_read(
    store: Store, read: datetime | None
) -> None:
    """An import reads all talks, a run claims one and sends, then the import writes."""
    store.talks.put([replace(_talk(1, DAY), sent_day_of_at=read)])
    [earlier] = store.talks.all()
    assert store.talks.write_flags([FlagWrite(earlier.id, "sentDayOfAt", read, NOON)])
    store.talks.put([replace(earlier, topic="another", date=DAY + timedelta(days=1))])
    [after] = store.talks.all()
    assert (after.topic, after.sent_day_of_at) == ("another", NOON)


def test_putting_a_talk_brings_no_flag_back_that_was_put_back_since(store: Store) -> None:
    """A run claims, an import reads, the run's send fails: nobody may think it was sent."""
    store.talks.put([_talk(1, DAY)])
    claim = FlagWrite(_talk(1, DAY).id, "sentTminus1At", None, NOON)
    assert store.talks.write_flags([claim])
    [earlier] = store.talks.all()
    assert store.talks.write_flags([claim._replace(seen=NOON, to=None)])
    store.talks.put([replace(earlier, topic="another")])
    [after] = store.talks.all()
    assert (after.topic, after.sent_tminus1_at) == ("another", None)


def test_both_flags_of_a_talk_may_be_written_at_once(store: Store) -> None:
    store.talks.put([_talk(1, DAY)])
    names = ("sentTminus1At", "sentDayOfAt")
    writes = [FlagWrite(_talk(1, DAY).id, name, None, NOON) for name in names]
    assert store.talks.write_flags(writes) == {_talk(1, DAY).id}
    [after] = store.talks.all()
    assert (after.sent_tminus1_at, after.sent_day_of_at) == (NOON, NOON)


def test_a_flag_can_be_put_back(store: Store) -> None:
    talk = _talk(1, DAY)
    store.talks.put([talk])
    for seen, to in ((None, NOON), (NOON, None)):
        assert store.talks.write_flags([FlagWrite(talk.id, "sentTminus1At", seen, to)])
    assert store.talks.get(talk.id) == talk


def test_a_flag_write_that_is_repeated_after_a_lost_answer_has_been_made(store: Store) -> None:
    talk = _talk(1, DAY)
    store.talks.put([talk])
    write = FlagWrite(talk.id, "sentTminus1At", seen=None, to=NOON)
    assert store.talks.write_flags([write]) == store.talks.write_flags([write]) == {talk.id}


FULL = Talk(
    "5f0000000000000000000009", "1", "ada", "Engines", DAY, booked_at=NOON,
    starts_at=time(19, 30), length=45, room="Hall 2", link="https://talks.example/1",
    co_speakers=(Speaker("2", "grace"), Speaker("3", "edsger")),
    source_id="pretalx:talks.example/2026:ABC", extra={"speakerbot": {"mood": "good"}},
)  # fmt: skip


def test_what_a_talk_has_beside_the_node_bots_fields_comes_back(store: Store) -> None:
    store.talks.put([FULL])
    assert store.talks.get(FULL.id) == FULL
    bare = replace(
        FULL, starts_at=None, length=None, room=None, link=None, co_speakers=(), source_id=None
    )
    store.talks.put([bare])
    assert store.talks.get(FULL.id) == bare


def test_a_date_holds_several_talks_in_the_order_of_their_starts(several: Store) -> None:
    late, early, untimed = (
        replace(_talk(number, DAY), starts_at=start)
        for number, start in enumerate([time(20), time(9, 30), None])
    )
    assert not several.talks.one_a_date
    several.talks.put([late, early])
    several.talks.put([untimed])
    assert list(several.talks.all()) == [untimed, early, late]
    assert several.talks.reschedule(early.id, DAY + timedelta(days=1))
    assert several.talks.reschedule(early.id, DAY)
    assert list(several.talks.between(DAY, DAY)) == [untimed, early, late]


def test_talks_of_one_call_change_dates_in_a_circle_where_dates_are_shared(several: Store) -> None:
    one, other = _talk(1, DAY), _talk(2, DAY + timedelta(days=1))
    several.talks.put([one, other])
    several.talks.put([replace(one, date=other.date), replace(other, date=one.date)])
    assert [talk.id for talk in several.talks.all()] == [other.id, one.id]


@pytest.mark.parametrize("days", [1, 3])
def test_more_talks_than_a_page_on_few_dates_come_each_once(several: Store, days: int) -> None:
    talks = [_talk(number, DAY + timedelta(days=number % days)) for number in range(1203)]
    several.talks.put(talks)
    found = list(several.talks.all())
    assert len(found) == len(talks)
    assert {talk.id for talk in found} == {talk.id for talk in talks}
    assert len(list(several.calendar.differing())) == len(talks)


def test_the_talks_of_a_source_are_found_by_how_its_ids_begin(several: Store) -> None:
    ours, other, longer = "pretalx:a/2026:", "pretalx:a/2025:", "pretalx:a/20260:"
    talks = [
        replace(_talk(number, DAY), source_id=f"{source}{number:04}")
        for source, numbers in ((ours, range(600)), (other, range(600, 603)), (longer, [700]))
        for number in numbers
    ]
    doubled = replace(_talk(800, DAY), source_id=f"{ours}0000")
    several.talks.put([*talks, doubled, _talk(900, DAY)])
    found = [talk.source_id for talk in several.talks.by_source(ours)]
    assert found == sorted([*(f"{ours}{number:04}" for number in range(600)), f"{ours}0000"])
    assert list(several.talks.by_source("ics:")) == []


def test_an_edit_writes_only_what_it_changes(store: Store) -> None:
    """Somebody else edits, moves and sets a flag between its look and its write."""
    store.talks.put([FULL])
    meanwhile = replace(FULL, topic="Looms", room=None, link="https://talks.example/2")
    assert store.talks.edit(FULL, meanwhile)
    assert store.talks.reschedule(FULL.id, DAY + timedelta(days=1))
    assert store.talks.write_flags([FlagWrite(FULL.id, "sentDayOfAt", None, NOON)])
    assert store.talks.edit(FULL, replace(FULL, length=90, starts_at=None, co_speakers=()))
    assert store.talks.get(FULL.id) == replace(
        meanwhile, date=DAY + timedelta(days=1), length=90, starts_at=None, co_speakers=(),
        sent_day_of_at=NOON,
    )  # fmt: skip
    assert store.talks.edit(FULL, FULL)
    assert not store.talks.edit(replace(FULL, id="f" * 24), replace(FULL, id="f" * 24, room="B"))
    assert not store.talks.edit(replace(FULL, id="f" * 24), replace(FULL, id="f" * 24))
