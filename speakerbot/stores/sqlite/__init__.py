"""The embedded store: one SQLite file, through the standard library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.stores.sqlite import opening, schema
from speakerbot.stores.sqlite.calendar import SqliteCalendar
from speakerbot.stores.sqlite.guilds import SqliteGuilds
from speakerbot.stores.sqlite.ledger import SqliteLedger
from speakerbot.stores.sqlite.limits import SqliteLimits
from speakerbot.stores.sqlite.occurrences import SqliteOccurrences
from speakerbot.stores.sqlite.people import SqlitePeople
from speakerbot.stores.sqlite.runs import SqliteRuns
from speakerbot.stores.sqlite.snapshots import SqliteSnapshots
from speakerbot.stores.sqlite.talks import SqliteTalks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from speakerbot.ports.store import (
        Calendar,
        Guilds,
        Ledger,
        Limits,
        Occurrences,
        People,
        Runs,
        Snapshots,
        Talks,
    )
    from speakerbot.stores.sqlite.connection import Database


class SqliteStore:
    """``ports.Store`` on one connection: any thread may use it, one at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.talks: Talks = SqliteTalks(db)
        self.people: People = SqlitePeople(db)
        self.ledger: Ledger = SqliteLedger(db)
        self.runs: Runs = SqliteRuns(db)
        self.occurrences: Occurrences = SqliteOccurrences(db)
        self.snapshots: Snapshots = SqliteSnapshots(db)
        self.calendar: Calendar = SqliteCalendar(db)
        self.limits: Limits = SqliteLimits(db)
        self.guilds: Guilds = SqliteGuilds(db)

    def prepare(self) -> None:
        schema.migrate(self._db)

    def check(self) -> None:
        schema.stored_version(self._db)

    def at_once(self) -> AbstractContextManager[None]:
        return self._db.write()

    def describe(self) -> str:
        return self._db.where

    def close(self) -> None:
        self._db.close()


def open_sqlite(path: Path | None, *, read_only: bool, lock_timeout: float) -> SqliteStore:
    """The store in the file at ``path``, in memory where that is None. See ``open_store``."""
    if path is None:
        return SqliteStore(opening.in_memory(prepared=read_only))
    path = path.expanduser().resolve()
    how = opening.open_to_read if read_only else opening.open_file
    return SqliteStore(how(path, lock_timeout))
