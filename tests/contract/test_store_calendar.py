"""What calendar programs are told of each talk: compared with the talks, advanced step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from bson import ObjectId

from speakerbot import booking
from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import DateTaken
from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, 0, 123000, tzinfo=UTC)
DAY = date(2026, 11, 27)
ADA = Talk("a" * 24, "1", "ada", "Engines", DAY, NOW, starts_at=time(19, 30))
BOB = Talk("b" * 24, "2", "bob", "Bots", DAY + timedelta(days=1), NOW)


def entry_of(talk: Talk, sequence: int = 0) -> CalendarEntry:
    return CalendarEntry(
        talk.id, sequence, talk.date, talk.starts_at, talk.topic, talk.username, False, NOW
    )


@pytest.fixture
def noted(store: Store) -> Store:
    store.talks.put([ADA, BOB])
    store.calendar.advance([(None, entry_of(ADA)), (None, entry_of(BOB))])
    return store


def differing(store: Store) -> Sequence[tuple[Talk | None, CalendarEntry | None]]:
    return list(store.calendar.differing())


def test_entries_come_back_as_written(store: Store) -> None:
    gone = replace(entry_of(BOB, 7), cancelled=True)
    store.calendar.advance([(None, gone), (None, entry_of(ADA))])
    assert list(store.calendar.all()) == [entry_of(ADA), gone]
    assert store.calendar.get(BOB.id) == gone
    assert store.calendar.get("unknown") is None


def test_every_talk_differs_while_there_are_no_entries(store: Store) -> None:
    store.talks.put([ADA, BOB])
    assert differing(store) == [(ADA, None), (BOB, None)]


def test_noted_talks_do_not_differ(noted: Store) -> None:
    assert differing(noted) == []


@pytest.mark.parametrize(
    "after",
    [
        replace(ADA, date=DAY + timedelta(days=7)),
        replace(ADA, starts_at=None),
        replace(ADA, starts_at=time(20)),
        replace(ADA, topic="Looms"),
        replace(ADA, username="eve"),
        replace(ADA, length=45),
        replace(ADA, room="Main stage"),
        replace(ADA, link="https://example.org/engines"),
        replace(ADA, co_speakers=(Speaker("3", "cy"),)),
    ],
)
def test_whatever_a_calendar_shows_makes_a_difference(noted: Store, after: Talk) -> None:
    noted.talks.put([after])
    assert differing(noted) == [(after, entry_of(ADA))]


def test_a_talk_with_all_that_a_calendar_shows_is_noted_whole(store: Store) -> None:
    talk = replace(
        ADA,
        length=45,
        room="Main stage",
        link="https://example.org/engines",
        co_speakers=(Speaker("3", "cy"),),
    )
    store.talks.put([talk])
    booking.follow(store.calendar, NOW)
    [entry] = store.calendar.all()
    assert (entry.username, entry.length, entry.room, entry.link) == (
        "ada, cy", 45, "Main stage", "https://example.org/engines",
    )  # fmt: skip
    assert differing(store) == []
    alone = replace(talk, co_speakers=())
    store.talks.put([alone])
    assert differing(store) == [(alone, entry)]


def test_what_it_does_not_show_makes_none(noted: Store) -> None:
    noted.talks.put([replace(ADA, completed=True, thread_id="7", user_id="9")])
    assert differing(noted) == []


def test_a_talk_that_is_gone_differs_until_it_is_cancelled(noted: Store) -> None:
    noted.talks.delete(ADA.id)
    assert differing(noted) == [(None, entry_of(ADA))]
    gone = replace(entry_of(ADA, 1), cancelled=True)
    noted.calendar.advance([(entry_of(ADA), gone)])
    assert differing(noted) == []
    noted.talks.put([ADA])
    assert differing(noted) == [(ADA, gone)]


def test_one_gone_and_one_new_both_differ(noted: Store) -> None:
    """As many talks as before: counting alone does not tell."""
    noted.talks.delete(ADA.id)
    new = replace(ADA, id="c" * 24)
    noted.talks.put([new])
    assert differing(noted) == [(new, None), (None, entry_of(ADA))]


def test_an_entry_that_another_process_changed_stays(noted: Store) -> None:
    theirs = replace(entry_of(ADA, 1), topic="Looms")
    noted.calendar.advance([(entry_of(ADA), theirs)])
    late = [(entry_of(ADA), entry_of(ADA, 1)), (None, entry_of(BOB, 5))]
    noted.calendar.advance([*late, (entry_of(BOB), entry_of(BOB, 1))])
    assert list(noted.calendar.all()) == [theirs, entry_of(BOB, 1)]


def test_nothing_is_written_without_a_word(noted: Store) -> None:
    noted.calendar.advance([])
    assert differing(noted) == []


def test_more_than_a_page_is_followed_each_once(store: Store) -> None:
    talks = [Talk(f"{n:024x}", "1", "ada", "t", DAY + timedelta(days=n)) for n in range(603)]
    store.talks.put(talks)
    booking.follow(store.calendar, NOW)
    assert sorted(store.calendar.all(), key=lambda e: e.talk_id) == [entry_of(t) for t in talks]
    assert differing(store) == []
    for talk in talks[:301]:
        store.talks.delete(talk.id)
    store.talks.put([replace(talk, topic="z") for talk in talks[301:]])
    booking.follow(store.calendar, NOW)
    assert {each.sequence for each in store.calendar.all()} == {1}
    assert [each.cancelled for each in store.calendar.all()].count(True) == 301
    assert differing(store) == []


def test_a_talk_whose_date_cannot_be_read_is_not_cancelled(mongo: Store, documents: Any) -> None:
    mongo.talks.put([ADA])
    booking.follow(mongo.calendar, NOW)
    own = {"_id": ObjectId(ADA.id)}
    documents.scheduledspeakers.update_one(own, {"$set": {"scheduledDate": "soon"}})
    assert differing(mongo) == []


def test_a_start_by_hand_to_the_second_is_noted_once(mongo: Store, documents: Any) -> None:
    mongo.talks.put([ADA])
    own = {"_id": ObjectId(ADA.id)}
    documents.scheduledspeakers.update_one(own, {"$set": {"speakerbot.startsAt": "19:30:15"}})
    booking.follow(mongo.calendar, NOW)
    assert differing(mongo) == []


def test_a_move_to_a_taken_date_leaves_the_calendar_alone(beside_node_bot: Store) -> None:
    store, at = beside_node_bot, datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
    one = Talk("a", "1", "ada", "Engines", date(2026, 11, 27))
    other = Talk("b", "2", "bob", "Bots", date(2026, 11, 28))
    for talk in (one, other):
        booking.add(store, talk, at)
    before = list(store.calendar.all())
    with pytest.raises(DateTaken):
        booking.move(store, one, other.date, at)
    assert list(store.calendar.all()) == before
