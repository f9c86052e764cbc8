"""Comparing costs as much as there is to come: talks that are over are not read again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

import pytest

from jobs.changes import JOB
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.talk import Talk
from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot, TalkVersion
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.runs.steps import carry_out
from speakerbot.stores.mongo import MongoStore
from speakerbot.stores.mongo.connection import Database

T = TypeVar("T")
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TODAY = NOW.date()
YESTERDAY = TODAY - timedelta(days=1)
SETTINGS = Settings(database_url="")


def talk_on(day: date, **fields: Any) -> Talk:
    return replace(Talk(f"t{day}", f"{day:%Y%m%d}", "ada", "Engines", day, NOW), **fields)


PAST, COMING = talk_on(TODAY - timedelta(days=30)), talk_on(TODAY + timedelta(days=30))


@pytest.fixture
def taken(store: Store) -> Store:
    """Both talks are known, to their speakers and to calendars."""
    store.talks.put([PAST, COMING])
    store.snapshots.take(NOW)
    store.calendar.advance([(None, shown(PAST)), (None, shown(COMING))])
    return store


def shown(talk: Talk) -> CalendarEntry:
    return CalendarEntry(talk.id, 0, talk.date, None, talk.topic, talk.username, False, NOW)


def seen(talk: Talk) -> TalkSnapshot:
    version = TalkVersion(talk.date, talk.topic)
    return TalkSnapshot(
        talk.id, talk.user_id, version, version, False, 1, NOW, talk.username, talk.thread_id
    )


def both(store: Store, since: date | None) -> tuple[list[TalkPair], list[Any]]:
    return list(store.snapshots.differing(since)), list(store.calendar.differing(since))


def test_what_is_over_is_not_compared(taken: Store) -> None:
    renamed, old = replace(PAST, topic="x"), talk_on(TODAY - timedelta(days=2))
    taken.talks.put([renamed, old])
    assert both(taken, YESTERDAY) == ([], [])
    pairs, shown_pairs = both(taken, None)
    assert [pair.talk for pair in pairs] == [renamed, old]
    assert [talk for talk, _ in shown_pairs] == [renamed, old]


def test_a_talk_that_is_over_and_gone_is_not_compared_either(taken: Store) -> None:
    taken.talks.delete(PAST.id)
    assert both(taken, YESTERDAY) == ([], [])
    assert both(taken, None) == ([TalkPair(seen(PAST), None)], [(None, shown(PAST))])


@pytest.mark.parametrize("day", [TODAY, YESTERDAY, TODAY - timedelta(days=3)])
def test_a_coming_talk_that_moves_into_the_past_is_compared(taken: Store, day: date) -> None:
    moved = replace(COMING, date=day)
    taken.talks.put([moved])
    expected = ([TalkPair(seen(COMING), moved)], [(moved, shown(COMING))])
    assert both(taken, YESTERDAY) == expected
    assert both(taken, None) == expected


def test_a_past_talk_that_moves_to_a_coming_date_is_compared(taken: Store) -> None:
    moved = replace(PAST, date=TODAY)
    taken.talks.put([moved])
    assert both(taken, YESTERDAY) == ([TalkPair(seen(PAST), moved)], [(moved, shown(PAST))])


def test_a_coming_talk_that_is_gone_is_compared(taken: Store) -> None:
    taken.talks.delete(COMING.id)
    assert both(taken, YESTERDAY) == ([TalkPair(seen(COMING), None)], [(None, shown(COMING))])


def test_what_is_pending_is_compared_whenever_it_was(taken: Store) -> None:
    pending = replace(seen(PAST), pending=True, sequence=2)
    taken.snapshots.advance([(seen(PAST), pending)])
    assert both(taken, YESTERDAY)[0] == [TalkPair(pending, PAST)]
    taken.talks.delete(PAST.id)
    assert both(taken, YESTERDAY)[0] == [TalkPair(pending, None)]


def test_a_pending_talk_that_is_coming_is_compared_once(taken: Store) -> None:
    pending = replace(seen(COMING), pending=True, sequence=2)
    taken.snapshots.advance([(seen(COMING), pending)])
    assert both(taken, YESTERDAY)[0] == [TalkPair(pending, COMING)]
    taken.talks.delete(COMING.id)
    assert both(taken, YESTERDAY)[0] == [TalkPair(pending, None)]


def test_a_talk_with_a_start_is_compared_as_it_is_shown(taken: Store) -> None:
    at = replace(COMING, starts_at=time(19, 30))
    taken.talks.put([at])
    assert both(taken, YESTERDAY)[1] == [(at, shown(COMING))]
    taken.calendar.advance([(shown(COMING), replace(shown(COMING), starts_at=time(19, 30)))])
    assert both(taken, YESTERDAY)[1] == []


class Counting(Database):
    """Counts the documents that the server returns."""

    returned = 0

    def ask(self, operation: Callable[[], T]) -> T:
        answer = super().ask(operation)
        self.returned += len(answer) if isinstance(answer, list) else 1
        return answer


def test_a_run_without_changes_returns_each_coming_talk_and_its_entry(documents: Any) -> None:
    coming, over = 100, 400
    counting = Counting(documents.client, documents.name, "MongoDB")
    store = MongoStore(counting)
    store.prepare()
    first = TODAY - timedelta(days=over)
    store.talks.put([talk_on(first + timedelta(days=number)) for number in range(over + coming)])
    context = JobContext(store, SETTINGS, NOW, settled=True, templates=templates_of())
    assert JOB.steps
    for _ in range(2):
        carry_out(JOB.steps(context), store, NOW)
    counting.returned = 0
    carry_out(JOB.steps(context), store, NOW)
    assert not list(JOB.decide(context))
    assert counting.returned <= 2.1 * coming
