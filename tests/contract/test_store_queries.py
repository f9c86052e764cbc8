"""Every query has an index: what a store answers does not slow down as it fills."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, monitoring

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.confirmation import Answer
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding
from speakerbot.domain.person import Person
from speakerbot.domain.run import Run
from speakerbot.domain.server_event import EventChange, EventRecord
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Breaker, FlagWrite, Store
from speakerbot.stores.mongo import MongoStore
from speakerbot.stores.mongo.connection import Database as MongoDatabase
from speakerbot.stores.sqlite import SqliteStore
from speakerbot.stores.sqlite.connection import Database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from speakerbot.stores.sqlite.connection import Row

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DAY = NOW.date()
TALK = Talk("a", "1", "ada", "topic", DAY)
SENT = Delivery(
    "kind/talk:a/user:1/2026", "kind", "user:1", DeliveryState.SENT, "1", "run", NOW, NOW, NOW, NOW
)


def _use(store: Store) -> None:
    """Asks everything that a run or a command asks for some of what is there."""
    _use_talks_and_people(store)
    _use_snapshots(store)
    _use_inbox(store)
    _use_answers(store)
    _use_server_events(store)
    store.ledger.swap([DeliveryChange(None, SENT)])
    store.ledger.swap([DeliveryChange(SENT, SENT)])
    store.ledger.get([SENT.key])
    store.ledger.flagged(["talk:a", "talk:b"])
    for found in (
        store.ledger.list(),
        store.ledger.list(state="sent"),
        store.ledger.find("user:1"),
    ):
        assert list(found)
    store.ledger.forget_texts(NOW + timedelta(days=1))
    store.ledger.prune(NOW + timedelta(days=1))
    store.ledger.swap([DeliveryChange(SENT, None)])
    store.runs.put(Run("r", "weekly", NOW, NOW))
    store.runs.get("r")
    store.marks.put("look starting", "now")
    store.marks.get("look starting")
    assert list(store.runs.list()) == list(store.runs.list(job="weekly"))
    store.runs.prune(NOW)
    first, second = (
        OccurrenceRecord(NOW, OccurrenceStanding.OPEN, revision="1"),
        OccurrenceRecord(NOW, OccurrenceStanding.FINISHED, revision="2"),
    )
    store.occurrences.swap("hourly", None, first)
    store.occurrences.swap("hourly", first, second)
    store.occurrences.get("hourly", NOW)
    store.occurrences.supersede("hourly", NOW)
    store.occurrences.forget("hourly", NOW)
    store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    store.limits.set_breaker("b", "dm", Breaker(NOW, "why"))
    store.limits.breakers("b")
    store.limits.set_breaker("b", "dm", None)
    store.limits.remember_dms("b", {"1": "c", "2": None})
    store.limits.dm_channels("b", ["1"])
    store.guilds.set_channel("g", "c", by="u", at=NOW)
    store.guilds.channel("g")


def _use_talks_and_people(store: Store) -> None:
    store.talks.put([TALK])
    store.talks.reschedule("a", DAY + timedelta(days=1))
    store.talks.get("a")
    assert not list(store.talks.by_source("ics:"))
    assert list(store.talks.between(DAY, DAY + timedelta(days=7))) == list(store.talks.all())
    store.talks.write_flags([FlagWrite("a", "sentDayOfAt", None, NOW)])
    store.talks.delete("a")
    assert not list(store.calendar.differing(DAY))
    shown = CalendarEntry("a", 0, DAY, None, "topic", "ada", False, NOW)
    store.calendar.advance([(None, shown)])
    store.calendar.advance([(shown, shown)])
    assert list(store.calendar.all()) == [store.calendar.get("a")]
    assert list(store.calendar.differing(DAY)) == [(None, shown)]
    store.people.put([Person("p", discord_user_id="1")])
    store.people.change("1", lambda who: replace(who, name="ada"), lambda: Person("p"))
    store.people.by_users(["1"])
    store.people.by_ids(["1"])
    store.people.get("p")
    assert list(store.people.all())


def _use_snapshots(store: Store) -> None:
    store.talks.put([TALK])
    store.snapshots.take(NOW)
    [entry] = store.snapshots.all()
    pending = replace(entry, pending=True, sequence=2)
    store.snapshots.advance([(entry, pending), (None, replace(entry, user_id="2"))])
    assert [pair.entry for pair in store.snapshots.pending()] == [pending]
    assert len(list(store.snapshots.differing())) == 2
    store.talks.delete("a")
    assert len(list(store.snapshots.differing(DAY))) == 2


def _use_server_events(store: Store) -> None:
    first = EventRecord("a", "1", NOW, "55")
    second = first._replace(revision="2")
    for change in ((None, first), (first, second), (second, None), (None, first)):
        assert store.server_events.swap([EventChange("a", *change)])
    assert list(store.server_events.all()) == [first]


def _use_answers(store: Store) -> None:
    yes = Answer("confirm", "a", "1", DAY, "yes", NOW)
    store.answers.put([yes])
    assert store.answers.about(["a", "b"])
    assert store.answers.count_before(DAY + timedelta(days=1))
    assert store.answers.forget_before(DAY + timedelta(days=1))
    store.answers.put([yes])
    assert store.answers.erase("1")


def _use_inbox(store: Store) -> None:
    message, both = InboxMessage("k", "user:1", "Hi", NOW), ["user:1", "person:p"]
    assert store.inbox.put(message)
    assert not store.inbox.put(message)
    assert store.inbox.get(["k", "l"])
    assert list(store.inbox.since(NOW - timedelta(days=1), 5))
    for unread_only in (False, True):
        assert list(store.inbox.of(both, unread_only=unread_only))
    assert store.inbox.mark_read(both, message.id, NOW)
    assert not store.inbox.mark_read(both, None, NOW)
    assert store.inbox.count_before(NOW + timedelta(days=1))
    assert store.inbox.forget_before(NOW + timedelta(days=1))
    assert store.inbox.put(message)
    assert store.inbox.erase(both)


class Explaining(Database):
    """Notes how SQLite would go about every statement."""

    def __init__(self) -> None:
        super().__init__("file::memory:", "SQLite in memory", 0)
        self.plans: dict[str, str] = {}

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Row]:
        self._explain(sql, parameters)
        return super().rows(sql, parameters)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self._explain(sql, parameters)
        return super().run(sql, parameters)

    def _explain(self, sql: str, parameters: Sequence[Any]) -> None:
        if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            plan = super().rows(f"EXPLAIN QUERY PLAN {sql}", parameters)
            self.plans[sql] = "; ".join(detail for *_, detail in plan)


def test_sqlite_walks_along_an_index_for_every_query() -> None:
    db = Explaining()
    store = SqliteStore(db)
    store.prepare()
    _use(store)
    assert sum("INDEX" in plan or "PRIMARY KEY" in plan for plan in db.plans.values()) > 20
    for sql, plan in db.plans.items():
        # json_each is the list of wanted ids; the first snapshot and a migration
        # copy every talk, once.
        own_tables = plan.replace("SCAN json_each", "")
        if "INSERT INTO snapshot" in sql or "INSERT INTO talks_of_version_3" in sql:
            own_tables = own_tables.replace("SCAN talks", "")
        assert "SCAN" not in own_tables, f"{sql}: {plan}"
        assert "TEMP B-TREE FOR ORDER" not in own_tables, f"{sql}: {plan}"
        for wanted in re.findall(r"WHERE (\w+) = \?", sql):
            assert f"{wanted}=?" in plan, f"{sql}: {plan}"


class Watching(monitoring.CommandListener):
    """Notes every query and its order, by collection."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any], list[str]]] = []
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        command = event.command
        self.names.append(event.command_name)
        collection = str(command.get(event.command_name))
        for part in (*command.get("updates", ()), *command.get("deletes", ()), command):
            query = part.get("q") or part.get("query") or part.get("filter")
            if query:
                self.seen.append((collection, query, list(part.get("sort", ()))))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


def _served(query: dict[str, Any], order: list[str], indexes: list[list[str]]) -> bool:
    """Whether an index begins with the fields that must be equal, and goes on with the order, or
    else with a field that the query limits."""
    if "_id" in query:
        return True
    if query.keys() == {"$or"}:
        return all(_served(part, [], indexes) for part in query["$or"])
    query = {name: value for name, value in query.items() if name != "$or"}
    equal = {name for name, value in query.items() if not isinstance(value, dict)}
    for index in indexes:
        begin, rest = index[: len(equal)], index[len(equal) :]
        if set(begin) == equal and (
            rest[: len(order)] == order if order else equal or rest[0] in query
        ):
            return True
    return False


@pytest.mark.mongodb_server
def test_a_page_is_one_round_trip(server_url: str) -> None:
    """By default a first answer holds 101 documents, and the rest of a page takes another."""
    watching = Watching()
    with MongoClient[dict[str, Any]](
        server_url, tz_aware=True, event_listeners=[watching]
    ) as client:
        name = client.get_default_database().name
        store = MongoStore(MongoDatabase(client, name, "MongoDB"))
        store.prepare()
        store.talks.put(
            [replace(TALK, id=f"t{n}", date=DAY + timedelta(days=n)) for n in range(500)]
        )
        store.people.put([Person(f"p{n:03}", discord_user_id=f"{n}") for n in range(500)])
        records = [
            SENT._replace(key=f"kind/talk:{n}/user:1/2026", revision=f"{n}") for n in range(500)
        ]
        store.ledger.swap([DeliveryChange(None, record) for record in records])
        watching.names.clear()
        assert len(list(store.people.by_users([f"{n}" for n in range(500)]))) == 500
        assert len(store.ledger.get([record.key for record in records])) == 500
        assert len(list(islice(store.talks.all(), 499))) == 499  # a day's order needs the next day
        assert len(list(islice(store.people.all(), 500))) == 500
        assert len(list(islice(store.ledger.list(limit=500), 500))) == 500
    assert watching.names == ["find"] * 6, "the sixth names talks whose dates cannot be read"


@pytest.mark.mongodb_server
def test_mongodb_has_an_index_for_every_query(server_url: str) -> None:
    watching = Watching()
    with MongoClient[dict[str, Any]](
        server_url, tz_aware=True, event_listeners=[watching]
    ) as client:
        database = client.get_default_database()
        store = MongoStore(MongoDatabase(client, database.name, "MongoDB"))
        store.prepare()
        _use(store)
        indexes = {
            name: [[field for field, _ in each["key"]] for each in found.values()]
            for name in database.list_collection_names()
            if (found := database[name].index_information())
        }
    assert len(watching.seen) > 30
    for collection, query, order in watching.seen:
        assert _served(query, order, indexes[collection]), (collection, query, order)
