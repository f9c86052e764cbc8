"""Indexes for every query, and the version of what is stored, in ``speakerbot_meta``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from speakerbot.errors import ConfigError, StoreTooNew
from speakerbot.stores.mongo.calendar import CALENDAR
from speakerbot.stores.mongo.guilds import GUILDS
from speakerbot.stores.mongo.ledger import DELIVERIES
from speakerbot.stores.mongo.occurrences import OCCURRENCES
from speakerbot.stores.mongo.people import PEOPLE
from speakerbot.stores.mongo.runs import RUNS
from speakerbot.stores.mongo.snapshots import SNAPSHOT
from speakerbot.stores.mongo.talks import TALKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from speakerbot.stores.mongo.connection import Database

VERSION = 1
META = "speakerbot_meta"
NEWEST = ("updated_at", -1), ("_id", -1)
INDEXES: Mapping[str, Sequence[IndexModel]] = {
    # These two as mongoose makes them, name and all, so that either may come first.
    TALKS: [IndexModel("scheduledDate", unique=True)],
    GUILDS: [IndexModel("guildId", unique=True)],
    PEOPLE: [IndexModel("discord_user_id")],
    DELIVERIES: [
        IndexModel(NEWEST),
        IndexModel([("state", 1), *NEWEST]),
        IndexModel([("recipient", 1), *NEWEST]),
        IndexModel([("subject", 1), *NEWEST]),
    ],
    RUNS: [
        IndexModel([("started_at", -1), ("_id", -1)]),
        IndexModel([("job", 1), ("started_at", -1), ("_id", -1)]),
    ],
    SNAPSHOT: [IndexModel([("pending", 1), ("_id", 1)])],
    CALENDAR: [IndexModel([("cancelled", 1), ("_id", 1)])],
    OCCURRENCES: [IndexModel([("schedule", 1), ("standing", 1), ("occurrence", 1)])],
}


def stored_version(db: Database) -> int:
    """0 for a database that is not prepared. Raises StoreTooNew."""
    found = db.find(META, {"_id": "schema"})
    version = int(found[0]["version"]) if found else 0
    if version > VERSION:
        raise StoreTooNew(
            f"{db.where}: a newer speakerbot wrote it (its schema is version {version}, "
            f"this program knows {VERSION}). Update this program."
        )
    return version


def migrate(db: Database) -> None:
    """Makes the indexes, then notes the version: whatever is interrupted is done again."""
    if stored_version(db) == VERSION:
        return
    for collection, indexes in INDEXES.items():
        _make(db, collection, indexes)
    update = {"$max": {"version": VERSION}}
    with suppress(DuplicateKeyError):  # another process has just noted it
        db.ask(lambda: db[META].update_one({"_id": "schema"}, update, upsert=True))


def _make(db: Database, collection: str, indexes: Sequence[IndexModel]) -> None:
    try:
        db.ask(lambda: db[collection].create_indexes(indexes))
    except DuplicateKeyError as error:
        [field] = indexes[0].document["key"]
        raise ConfigError(
            f"{db.where}: two documents of {collection} have the same {field} ({error}). "
            "Delete or change one of them, then run again."
        ) from error
