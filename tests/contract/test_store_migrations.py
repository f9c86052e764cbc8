"""From one version of what is stored to the next: forward, whole, safe from crashes and races."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from speakerbot.domain.confirmation import Answer
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.domain.talk_changes import ChangeRules, step
from speakerbot.errors import StoreTooNew
from speakerbot.stores.mongo import MongoStore
from speakerbot.stores.mongo import schema as mongo_schema
from speakerbot.stores.mongo.connection import Database as MongoDatabase
from speakerbot.stores.sqlite import SqliteStore
from speakerbot.stores.sqlite import schema as sqlite_schema
from speakerbot.stores.sqlite.connection import Database

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TALK = Talk("5f0000000000000000000001", "1", "ada", "Engines", date(2026, 11, 20), NOW, "77")
ADA = Person("p1", "1", "Ada", opted_out=frozenset({"changes"}))
SENT = Delivery(
    "k/talk:1/user:1/x", "k", "user:1", DeliveryState.SENT, "r", "run", NOW, NOW, NOW, NOW
)


YES = Answer("confirm", TALK.id, "1", TALK.date, "yes", NOW)
MESSAGE = InboxMessage("k/talk:1/user:1/x", "user:1", "Hi", NOW)


class Crash(Exception):
    pass


def fill(store: Any) -> None:
    store.talks.put([TALK])
    store.people.put([ADA])
    store.ledger.swap([DeliveryChange(None, SENT)])


def assert_filled(store: Any) -> None:
    assert list(store.talks.all()) == [TALK]
    assert list(store.people.all()) == [ADA]
    assert list(store.ledger.list()) == [SENT]


def in_file(path: Path) -> Database:
    return Database(path.as_uri(), f"SQLite store {path}", lock_timeout=10)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A file as the first version of the program left it."""
    path = tmp_path / "store.db"
    with closing(in_file(path)) as db:
        sqlite_schema.migrate(db, sqlite_schema.STEPS[:1])
        fill_as_before_version_3(db)
    return path


def fill_as_before_version_3(db: Database) -> None:
    store = SqliteStore(db)
    db.run(
        "INSERT INTO talks VALUES (?, '1', 'ada', 'Engines', '2026-11-20', ?, '77', FALSE, NULL,"
        " NULL, NULL, NULL, NULL, '{}')",
        (TALK.id, round(NOW.timestamp() * 1000)),
    )
    store.people.put([ADA])
    store.ledger.swap([DeliveryChange(None, SENT)])


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A file as the second version of the program left it: one talk a date, a first snapshot."""
    path = tmp_path / "store.db"
    with closing(in_file(path)) as db:
        sqlite_schema.migrate(db, sqlite_schema.STEPS[:2])
        fill_as_before_version_3(db)
        db.run(
            "INSERT INTO talks VALUES ('full', '2', 'grace', 'Looms', '2026-11-27', 1, '78', TRUE,"
            " '9', 'kaz', '19:30', 2, 3, ?)",
            ('{"note":1}',),
        )
        db.run(
            "INSERT INTO snapshot SELECT id, user_id, date, topic, date, topic, FALSE, 1, 5,"
            " username, thread_id FROM talks"
        )
        db.run("INSERT INTO snapshot_taken VALUES (1, 5)")
        SqliteStore(db).inbox.put(MESSAGE)
    return path


def add_colour(db: Database) -> None:
    db.run("ALTER TABLE talks ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
    db.run("UPDATE talks SET colour = 'blue' WHERE username = 'ada'")


def add_hall(db: Database) -> None:
    db.run("ALTER TABLE talks ADD COLUMN hall TEXT")


NEXT = (*sqlite_schema.STEPS, add_colour, add_hall)


def colours(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [colour for (colour,) in db.execute("SELECT colour FROM talks")]


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        [(number,)] = db.execute("PRAGMA user_version")
        return int(number)


def test_a_file_of_version_1_is_brought_to_the_newest_with_all_it_holds(version_1: Path) -> None:
    with closing(in_file(version_1)) as db:
        sqlite_schema.migrate(db, NEXT)
        assert_filled(SqliteStore(db))
    assert (version(version_1), colours(version_1)) == (len(NEXT), ["blue"])


def test_a_calendar_of_version_3_says_more_once_its_talks_do(tmp_path: Path) -> None:
    with closing(in_file(tmp_path / "store.db")) as db:
        sqlite_schema.migrate(db, sqlite_schema.STEPS[:3])
        store = SqliteStore(db)
        store.talks.put([TALK])
        db.run(
            "INSERT INTO calendar SELECT id, 2, date, starts_at, topic, username, FALSE, 5"
            " FROM talks"
        )
        store.prepare()
        assert list(store.calendar.differing()) == []
        [entry] = store.calendar.all()
        assert (entry.sequence, entry.room, entry.length, entry.link) == (2, None, None, None)
        told = replace(TALK, room="Main stage")
        store.talks.put([told])
        assert list(store.calendar.differing()) == [(told, entry)]


def test_a_file_of_version_1_has_an_inbox_once_it_is_prepared(version_1: Path) -> None:
    with closing(in_file(version_1)) as db:
        store = SqliteStore(db)
        store.prepare()
        assert_filled(store)
        assert store.inbox.put(MESSAGE)
        assert list(store.inbox.of(["user:1"], unread_only=True)) == [MESSAGE]


def test_a_file_of_each_earlier_version_keeps_answers_once_it_is_prepared(tmp_path: Path) -> None:
    for version in range(1, len(sqlite_schema.STEPS)):
        with closing(in_file(tmp_path / f"{version}.db")) as db:
            sqlite_schema.migrate(db, sqlite_schema.STEPS[:version])
            store = SqliteStore(db)
            if version == len(sqlite_schema.STEPS) - 1:
                fill(store)
            store.prepare()
            store.answers.put([YES])
            assert store.answers.about([TALK.id]) == {YES.key: YES}


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def test_a_file_of_version_2_keeps_its_talks_and_holds_several_a_date(version_2: Path) -> None:
    full = Talk(
        "full", "2", "grace", "Looms", date(2026, 11, 27), at(1), "78", completed=True,
        scheduler_user_id="9", scheduler_username="kaz", starts_at=time(19, 30),
        sent_tminus1_at=at(2), sent_day_of_at=at(3), extra={"note": 1},
    )  # fmt: skip
    with closing(in_file(version_2)) as db:
        store = SqliteStore(db)
        store.prepare()
        assert list(store.talks.all()) == [TALK, full]
        assert list(store.inbox.of(["user:1"])) == [MESSAGE]
        co_speakers = (Speaker("3", "edsger"),)
        second = replace(full, id="second", completed=False, room="B", co_speakers=co_speakers)
        store.talks.put([second])
        assert list(store.talks.between(full.date, full.date)) == [full, second]
    assert version(version_2) == len(sqlite_schema.STEPS)


def test_what_speakers_knew_in_version_2_is_known_without_a_notice(version_2: Path) -> None:
    """Their entries say nothing of starts: what the talk says is taken as known."""
    rules = ChangeRules(at(10_000), ZoneInfo("UTC"), topics=True)
    with closing(in_file(version_2)) as db:
        store = SqliteStore(db)
        store.prepare()
        for pair in list(store.snapshots.differing()):
            after = step(pair, None, opted_out=False, rules=rules)
            assert (after.verdict, after.entry.pending) == ("rest", False)
            store.snapshots.advance([(pair.entry, after.entry)])
        assert list(store.snapshots.differing()) == []
        [full] = [talk for talk in store.talks.all() if talk.id == "full"]
        store.talks.put([replace(full, completed=False, starts_at=time(20))])
        [pair] = store.snapshots.differing()
        noticed = step(pair, None, opted_out=False, rules=rules)
        assert (noticed.entry.pending, noticed.entry.kind) == (True, "moved")


def test_a_new_file_goes_through_every_version(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with closing(in_file(path)) as db:
        sqlite_schema.migrate(db, NEXT)
        sqlite_schema.migrate(db, NEXT)
    assert (version(path), colours(path)) == (len(NEXT), [])


def test_a_step_that_dies_in_the_middle_leaves_the_version_before_it(version_1: Path) -> None:
    def dying(db: Database) -> None:
        add_colour(db)
        raise Crash

    with closing(in_file(version_1)) as db:
        with pytest.raises(Crash):
            sqlite_schema.migrate(db, (*sqlite_schema.STEPS, dying, add_hall))
        assert_filled(SqliteStore(db))
        assert version(version_1) == len(sqlite_schema.STEPS)
        sqlite_schema.migrate(db, NEXT)
    assert (version(version_1), colours(version_1)) == (len(NEXT), ["blue"])


def test_steps_before_the_one_that_dies_stay(version_1: Path) -> None:
    def dying(db: Database) -> None:
        add_hall(db)
        raise Crash

    with closing(in_file(version_1)) as db, pytest.raises(Crash):
        sqlite_schema.migrate(db, (*sqlite_schema.STEPS, add_colour, dying))
    assert (version(version_1), colours(version_1)) == (len(NEXT) - 1, ["blue"])


def together(*work: Callable[[], None]) -> None:
    """All at once, each in its thread; raises what one of them raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(work))

    def run(one: Callable[[], None]) -> None:
        start.wait()
        try:
            one()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_several_connections_that_begin_at_once_run_each_step_once(version_1: Path) -> None:
    ran: list[str] = []

    def noted(db: Database) -> None:
        add_colour(db)
        ran.append("colour")

    def migrate() -> None:
        with closing(in_file(version_1)) as db:
            sqlite_schema.migrate(db, (*sqlite_schema.STEPS, noted, add_hall))

    together(*[migrate] * 4)
    assert ran == ["colour"]
    assert version(version_1) == len(NEXT)


def test_a_file_of_a_version_to_come_is_refused_by_this_program(version_1: Path) -> None:
    with closing(in_file(version_1)) as db:
        sqlite_schema.migrate(db, NEXT)
        with pytest.raises(StoreTooNew, match=rf"version {len(NEXT)}.*Update"):
            sqlite_schema.migrate(db)


def add_index(db: MongoDatabase) -> None:
    db.ask(lambda: db["speakerbot_people"].create_index("name"))
    db.ask(lambda: db["speakerbot_people"].update_many({}, {"$set": {"colour": "blue"}}))


@pytest.fixture
def database(documents: Any) -> MongoDatabase:
    """A database as the first version of the program left it."""
    opened = MongoDatabase(documents.client, documents.name, "MongoDB x")
    mongo_schema.migrate(opened, mongo_schema.STEPS[:1])
    fill(MongoStore(opened))
    return opened


Steps = Sequence[Callable[[MongoDatabase], None]]
MONGO_NEXT: Steps = (*mongo_schema.STEPS, add_index)


def test_a_database_of_version_1_is_brought_to_the_newest_with_all_it_holds(
    database: MongoDatabase, documents: Any
) -> None:
    mongo_schema.migrate(database, MONGO_NEXT)
    assert_filled(MongoStore(database))
    assert documents.speakerbot_people.find_one()["colour"] == "blue"
    assert mongo_schema.stored_version(database, MONGO_NEXT) == len(MONGO_NEXT)
    with pytest.raises(StoreTooNew, match=rf"version {len(MONGO_NEXT)}.*Update"):
        mongo_schema.migrate(database)


def test_a_database_of_version_1_has_the_inboxs_indexes_once_it_is_prepared(
    database: MongoDatabase, documents: Any
) -> None:
    assert "speakerbot_inbox" not in documents.list_collection_names()
    store = MongoStore(database)
    store.prepare()
    assert_filled(store)
    assert store.inbox.put(MESSAGE)
    indexed = [
        [field for field, _ in each["key"]]
        for each in documents.speakerbot_inbox.index_information().values()
    ]
    assert ["recipient", "read_at", "created_at", "_id"] in indexed


def test_a_database_of_version_1_has_the_answers_indexes_once_it_is_prepared(
    database: MongoDatabase, documents: Any
) -> None:
    store = MongoStore(database)
    store.prepare()
    store.answers.put([YES])
    assert store.answers.about([TALK.id]) == {YES.key: YES}
    indexed = [
        [field for field, _ in each["key"]]
        for each in documents.speakerbot_answers.index_information().values()
    ]
    assert ["talk_id"] in indexed


def test_a_step_that_dies_in_the_middle_is_done_again(
    database: MongoDatabase, documents: Any
) -> None:
    def dying(db: MongoDatabase) -> None:
        add_index(db)
        raise Crash

    with pytest.raises(Crash):
        mongo_schema.migrate(database, (*mongo_schema.STEPS, dying))
    assert mongo_schema.stored_version(database) == len(mongo_schema.STEPS)
    mongo_schema.migrate(database, MONGO_NEXT)
    assert_filled(MongoStore(database))
    assert mongo_schema.stored_version(database, MONGO_NEXT) == len(MONGO_NEXT)


def test_a_late_process_does_not_take_the_version_back(
    database: MongoDatabase, documents: Any
) -> None:
    """It read the version before the other had noted a newer one."""

    def overtaken(db: MongoDatabase) -> None:
        add_index(db)
        mongo_schema.migrate(database, (*MONGO_NEXT, lambda _: None))

    mongo_schema.migrate(database, (*mongo_schema.STEPS, overtaken))
    newest = (*MONGO_NEXT, add_index)
    assert mongo_schema.stored_version(database, newest) == len(newest)


def test_a_database_is_migrated_by_several_at_once(database: MongoDatabase, documents: Any) -> None:
    def paint(db: MongoDatabase) -> None:
        db.ask(lambda: db["speakerbot_people"].update_many({}, {"$set": {"colour": "blue"}}))

    steps = (*mongo_schema.STEPS, paint)
    together(*[lambda: mongo_schema.migrate(database, steps)] * 4)
    assert_filled(MongoStore(database))
    assert documents.speakerbot_people.find_one()["colour"] == "blue"
    assert mongo_schema.stored_version(database, steps) == len(steps)
