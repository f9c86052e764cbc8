"""The versions of what is stored: what each adds, and which one it is, in ``speakerbot_meta``.

A new version appends a step to STEPS; what was released never changes. A crash, or two processes
that begin at once, make a step run twice, or again after a later one: so a step adds what is
missing, and is content with what is there. The version is written after its step.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from speakerbot.errors import ConfigError, StoreCorrupt, StoreTooNew
from speakerbot.stores.mongo.calendar import CALENDAR
from speakerbot.stores.mongo.community import GUILDS
from speakerbot.stores.mongo.ledger import DELIVERIES
from speakerbot.stores.mongo.people import ANSWERS, INBOX, PEOPLE
from speakerbot.stores.mongo.runs import OCCURRENCES, RUNS
from speakerbot.stores.mongo.snapshots import SNAPSHOT
from speakerbot.stores.mongo.talks import TALKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from speakerbot.stores.mongo.connection import Database, Document

    Steps = Sequence[Callable[[Database], None]]

META = "speakerbot_meta"
NEWEST = ("updated_at", -1), ("_id", -1)
INDEXES: Mapping[str, Sequence[IndexModel]] = {
    # As mongoose makes it, name and all, so that either may come first.
    GUILDS: [IndexModel("guildId", unique=True)],
    PEOPLE: [IndexModel("discord_user_id")],
    DELIVERIES: [
        IndexModel(NEWEST),
        IndexModel([("updated_at", 1), ("_id", 1)], partialFilterExpression={"text": {"$gt": ""}}),
        IndexModel([("state", 1), *NEWEST]),
        IndexModel([("state", 1), ("expires_at", 1), ("_id", 1)]),
        IndexModel([("recipient", 1), *NEWEST]),
        IndexModel([("subject", 1), *NEWEST]),
    ],
    RUNS: [
        IndexModel([("started_at", -1), ("_id", -1)]),
        IndexModel([("job", 1), ("started_at", -1), ("_id", -1)]),
    ],
    SNAPSHOT: [IndexModel([("pending", 1), ("_id", 1)]), IndexModel([("seen.date", 1)])],
    CALENDAR: [IndexModel([("cancelled", 1), ("date", 1), ("_id", 1)])],
    OCCURRENCES: [IndexModel([("schedule", 1), ("standing", 1), ("occurrence", 1)])],
}
INBOX_INDEXES = [
    IndexModel([("recipient", 1), ("created_at", -1), ("_id", -1)]),
    IndexModel([("recipient", 1), ("read_at", 1), ("created_at", -1), ("_id", -1)]),
    IndexModel([("created_at", 1), ("_id", 1)]),
]
ONE_TALK_A_DATE = IndexModel("scheduledDate", unique=True)
"""As mongoose makes it, too."""
TALKS_BY_DATE = IndexModel([("scheduledDate", 1), ("_id", 1)])
"""Serves also once the unique one has been dropped."""
TALKS_BY_SOURCE = IndexModel(
    [("speakerbot.sourceId", 1), ("_id", 1)],
    partialFilterExpression={"speakerbot.sourceId": {"$gt": ""}},
)


ANSWERS_INDEXES = [
    IndexModel([("talk_id", 1)]),
    IndexModel([("user_id", 1), ("date", 1), ("_id", 1)]),
    IndexModel([("date", 1), ("_id", 1)]),
]


def _version_1(db: Database) -> None:
    for collection, indexes in INDEXES.items():
        _make(db, collection, indexes)


def _version_2(db: Database) -> None:
    _make(db, INBOX, INBOX_INDEXES)


def _version_3(db: Database) -> None:
    _make(db, TALKS, [TALKS_BY_SOURCE])


def _answers(db: Database) -> None:
    _make(db, ANSWERS, ANSWERS_INDEXES)


def _server_events(_db: Database) -> None:
    """The events of the server are found by their talks' ids: they need no index."""


STEPS: Steps = (_version_1, _version_2, _version_3, _answers, _server_events)


def stored_version(db: Database, steps: Steps = STEPS) -> int:
    """0 for a database that is not prepared. Raises StoreTooNew, StoreCorrupt."""
    return _version(_schema(db), db, steps)


def _schema(db: Database) -> Document:
    """What is noted about it."""
    found = db.find(META, {"_id": "schema"}, limit=1)
    return found[0] if found else {"version": 0}


def _version(noted: Document, db: Database, steps: Steps) -> int:
    version = noted.get("version")
    if not isinstance(version, int | float) or version != version // 1:
        raise StoreCorrupt(
            f"{db.where}: the version of its schema cannot be read ({META}, document schema). "
            "Restore that document from a backup."
        )
    if version > len(steps):
        raise StoreTooNew(
            f"{db.where}: a newer speakerbot wrote it (its schema is version {version:g}, "
            f"this program knows {len(steps)}). Update this program."
        )
    return int(version)


def migrate(db: Database, steps: Steps = STEPS) -> None:
    """Brings what is stored to the last version, step by step."""
    noted = _schema(db)
    stored = _version(noted, db, steps)
    for number, step in enumerate(steps[stored:], stored + 1):
        step(db)
        _note(db, {"$max": {"version": number}})
    if noted.get("one_talk_a_date") != db.one_talk_a_date:
        # Of two programs that are set up differently each runs into what the other has made, and
        # the one that allows several talks says then which index to drop.
        _make(db, TALKS, [ONE_TALK_A_DATE if db.one_talk_a_date else TALKS_BY_DATE])
        _note(db, {"$set": {"one_talk_a_date": db.one_talk_a_date}})


def _note(db: Database, update: Document) -> None:
    with suppress(DuplicateKeyError):  # another process has just noted it
        db.ask(lambda: db[META].update_one({"_id": "schema"}, update, upsert=True))


def _make(db: Database, collection: str, indexes: Sequence[IndexModel]) -> None:
    there = db.ask(lambda: db[collection].index_information()).values()
    missing = [each for each in indexes if not any(_serves(has, each.document) for has in there)]
    if not missing:
        return
    try:
        db.ask(lambda: db[collection].create_indexes(missing))
    except DuplicateKeyError as error:
        [field] = missing[0].document["key"]
        several = (
            " Where no Node bot uses this database, NODE_BOT_COEXIST=false allows several talks "
            "a date."
        )
        raise ConfigError(
            f"{db.where}: two documents of {collection} have the same {field} ({error}). "
            f"Delete or change one of them, then run again.{several if collection == TALKS else ''}"
        ) from error


def _serves(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an index, under whatever name, does all that the wanted one would."""
    if wanted.get("unique") and not has.get("unique"):
        return False
    special = ("partialFilterExpression", "collation", "hidden")
    return list(has["key"]) == list(wanted["key"].items()) and not any(
        has.get(name) for name in special
    )
