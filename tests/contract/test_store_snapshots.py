"""What each speaker knows of their talk: taken once, compared with the talks, advanced by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from speakerbot.domain.talk import Speaker, Talk
from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot, TalkVersion
from speakerbot.ports.store import Store

AT = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DAY = date(2026, 11, 27)
ADA = Talk("5f0000000000000000000001", "1", "ada", 'On "Engines"', DAY, AT, thread_id="77")
BOB = Talk("b", "2", "bob", "Bots", DAY + timedelta(days=1), AT)


def entry_of(talk: Talk, sequence: int = 1, *, pending: bool = False) -> TalkSnapshot:
    known = TalkVersion(talk.date, talk.topic)
    return TalkSnapshot(
        talk.id, talk.user_id, known, known, pending, sequence, AT, talk.username, talk.thread_id
    )


@pytest.fixture
def taken(store: Store) -> Store:
    """A store with two talks, known to their speakers."""
    store.talks.put([ADA, BOB])
    store.snapshots.take(AT)
    return store


def test_before_the_first_one_there_is_nothing_to_compare_with(store: Store) -> None:
    store.talks.put([ADA])
    assert not store.snapshots.taken()
    assert not list(store.snapshots.differing())
    assert not list(store.snapshots.pending())
    assert not list(store.snapshots.all())


def test_the_first_one_holds_every_talk_as_known_to_its_speaker(taken: Store) -> None:
    assert taken.snapshots.taken()
    assert sorted(taken.snapshots.all(), key=str) == [entry_of(ADA), entry_of(BOB)]
    assert not list(taken.snapshots.differing())


def test_it_is_taken_once(taken: Store) -> None:
    taken.talks.reschedule(ADA.id, DAY + timedelta(days=5))
    taken.snapshots.take(AT + timedelta(days=1))
    moved = replace(ADA, date=DAY + timedelta(days=5))
    assert list(taken.snapshots.differing()) == [TalkPair(entry_of(ADA), moved)]


def test_a_snapshot_of_no_talks_is_one_too(store: Store) -> None:
    store.snapshots.take(AT)
    store.talks.put([BOB])
    assert [pair.entry for pair in store.snapshots.differing()] == [None]


@pytest.mark.parametrize(
    "after",
    [
        replace(BOB, date=DAY + timedelta(days=9)),
        replace(BOB, topic="Botany"),
        replace(BOB, username="robert"),
        replace(BOB, thread_id="78"),
        replace(BOB, starts_at=time(19, 30)),
    ],
)
def test_whatever_a_notice_may_need_makes_a_difference(taken: Store, after: Talk) -> None:
    taken.talks.put([after])
    assert list(taken.snapshots.differing()) == [TalkPair(entry_of(BOB), after)]


def test_what_a_notice_does_not_need_makes_none(taken: Store) -> None:
    taken.talks.put([replace(BOB, completed=True, sent_day_of_at=AT, booked_at=None)])
    assert not list(taken.snapshots.differing())


def test_a_talk_that_is_gone_leaves_its_entry_alone(taken: Store) -> None:
    taken.talks.delete(ADA.id)
    assert list(taken.snapshots.differing()) == [TalkPair(entry_of(ADA), None)]


def test_another_speaker_is_one_entry_without_a_talk_and_one_talk_without_an_entry(
    taken: Store,
) -> None:
    taken.talks.put([replace(ADA, user_id="3", username="eve")])
    pairs = {pair.key: pair for pair in taken.snapshots.differing()}
    assert set(pairs) == {(ADA.id, "1"), (ADA.id, "3")}
    assert pairs[ADA.id, "1"] == TalkPair(entry_of(ADA), None)
    assert pairs[ADA.id, "3"].entry is None


GRACE, KAZ = Speaker("8", "grace"), Speaker("9", "kaz")
SHARED = replace(BOB, co_speakers=(GRACE, KAZ))


def test_the_first_one_holds_every_co_speaker(store: Store) -> None:
    store.talks.put([ADA, SHARED])
    store.snapshots.take(AT)
    expected = [ADA, *SHARED.views()]
    assert {e.user_id: e for e in store.snapshots.all()} == {
        talk.user_id: entry_of(talk) for talk in expected
    }
    assert not list(store.snapshots.differing())
    assert not list(store.snapshots.differing(DAY))


def test_co_speakers_come_and_go_with_an_entry_each(taken: Store) -> None:
    taken.talks.put([SHARED])
    pairs = {pair.key: pair for pair in taken.snapshots.differing(DAY)}
    assert pairs == {
        (BOB.id, "8"): TalkPair(None, SHARED.seen_by("8")),
        (BOB.id, "9"): TalkPair(None, SHARED.seen_by("9")),
    }
    views = [view for view in SHARED.views() if view.user_id != BOB.user_id]
    taken.snapshots.advance([(None, entry_of(view)) for view in views])
    assert not list(taken.snapshots.differing())
    alone = replace(SHARED, co_speakers=(KAZ,))
    taken.talks.put([alone])
    assert list(taken.snapshots.differing(DAY)) == [TalkPair(entry_of(views[0]), None)]
    moved = replace(alone, date=DAY - timedelta(days=30))
    taken.talks.put([moved])
    after = {pair.key[1]: pair.talk for pair in taken.snapshots.differing(DAY)}
    assert after == {"2": moved, "8": None, "9": moved.seen_by("9")}
    taken.talks.delete(BOB.id)
    assert {pair.key[1]: pair.talk for pair in taken.snapshots.differing(DAY)} == {
        "2": None, "8": None, "9": None,
    }  # fmt: skip


def test_a_pending_entry_of_a_co_speaker_is_found_once(store: Store) -> None:
    store.talks.put([SHARED])
    store.snapshots.take(AT)
    [view] = [view for view in SHARED.views() if view.user_id == "9"]
    pending = entry_of(view, 2, pending=True)
    store.snapshots.advance([(entry_of(view), pending)])
    assert list(store.snapshots.pending()) == [TalkPair(pending, view)]
    assert list(store.snapshots.differing(DAY)) == [TalkPair(pending, view)]


def test_more_shared_talks_than_a_page_are_compared(several: Store) -> None:
    talks = [replace(SHARED, id=f"t{number:04}") for number in range(700)]
    several.talks.put(talks)
    several.snapshots.take(AT)
    assert sum(1 for _ in several.snapshots.all()) == 3 * len(talks)
    assert not list(several.snapshots.differing(DAY))
    several.talks.put([replace(talk, topic="Botany") for talk in talks])
    assert len({pair.key for pair in several.snapshots.differing(DAY)}) == 3 * len(talks)


def test_a_pending_entry_differs_until_it_is_not(taken: Store) -> None:
    pending = entry_of(BOB, 2, pending=True)
    taken.snapshots.advance([(entry_of(BOB), pending)])
    assert [pair.entry for pair in taken.snapshots.differing()] == [pending]
    assert [pair.entry for pair in taken.snapshots.pending()] == [pending]
    taken.snapshots.advance([(pending, entry_of(BOB, 3))])
    assert not list(taken.snapshots.differing())
    assert not list(taken.snapshots.pending())


def test_pending_entries_come_with_their_talk_if_it_is_still_theirs(taken: Store) -> None:
    for talk in (ADA, BOB):
        taken.snapshots.advance([(entry_of(talk), entry_of(talk, 2, pending=True))])
    taken.talks.delete(ADA.id)
    talks = {pair.key: pair.talk for pair in taken.snapshots.pending()}
    assert talks[ADA.id, "1"] is None
    assert talks[BOB.id, "2"] == BOB
    taken.talks.put([replace(BOB, user_id="9")])
    assert [pair.talk for pair in taken.snapshots.pending()] == [None, None]


def test_of_two_that_advance_from_the_same_entry_the_first_stays(taken: Store) -> None:
    first, second = (replace(entry_of(BOB, 2), username=name) for name in ("first", "second"))
    taken.snapshots.advance([(entry_of(BOB), first)])
    taken.snapshots.advance([(entry_of(BOB), second)])
    new = entry_of(replace(ADA, user_id="3"))
    taken.snapshots.advance([(None, new)])
    taken.snapshots.advance([(None, replace(new, username="second"))])
    stored = list(taken.snapshots.all())
    assert first in stored
    assert new in stored
    assert second not in stored
    assert len(stored) == 3


def test_the_losers_of_a_batch_do_not_keep_the_others_from_advancing(taken: Store) -> None:
    stale = replace(entry_of(ADA, 7), username="stale")
    new = entry_of(replace(ADA, user_id="3"))
    taken.snapshots.advance([(None, new)])
    later = entry_of(BOB, 2)
    taken.snapshots.advance(
        [(None, new), (stale, replace(stale, sequence=8)), (entry_of(BOB), later)]
    )
    stored = list(taken.snapshots.all())
    assert later in stored
    assert entry_of(ADA) in stored


def test_the_entry_of_a_cancelled_talk_is_kept_and_differs_no_more(taken: Store) -> None:
    taken.talks.delete(ADA.id)
    gone = replace(entry_of(ADA, 2), told=None, seen=None)
    taken.snapshots.advance([(entry_of(ADA), gone)])
    assert not list(taken.snapshots.differing())
    assert gone in list(taken.snapshots.all())


def test_comparing_reads_in_pages_and_misses_nothing(store: Store) -> None:
    talks = [
        Talk(f"t{number:04}", str(number), "x", "y", DAY + timedelta(days=number))
        for number in range(603)
    ]
    store.talks.put(talks)
    store.snapshots.take(AT)
    assert not list(store.snapshots.differing())
    store.talks.put([replace(talk, topic="z") for talk in talks[:-2]])
    store.talks.delete(talks[-1].id)
    pairs = list(store.snapshots.differing())
    assert len({pair.key for pair in pairs}) == len(pairs) == 602
    entries = [
        (pair.entry, replace(pair.entry, sequence=2, pending=True)) for pair in pairs if pair.entry
    ]
    store.snapshots.advance(entries)
    assert len(list(store.snapshots.pending())) == 602
