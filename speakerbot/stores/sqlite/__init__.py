"""The embedded store: one SQLite file, through the standard library."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError, StoreCorrupt
from speakerbot.stores.sqlite import schema
from speakerbot.stores.sqlite.calendar import SqliteCalendar, SqliteServerEvents
from speakerbot.stores.sqlite.community import SqliteGuilds, SqliteMarks
from speakerbot.stores.sqlite.connection import Database
from speakerbot.stores.sqlite.ledger import SqliteLedger
from speakerbot.stores.sqlite.limits import SqliteLimits
from speakerbot.stores.sqlite.people import SqliteAnswers, SqliteInbox, SqlitePeople
from speakerbot.stores.sqlite.runs import SqliteOccurrences, SqliteRuns
from speakerbot.stores.sqlite.snapshots import SqliteSnapshots
from speakerbot.stores.sqlite.talks import SqliteTalks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from speakerbot.ports.store import (
        Calendar,
        Guilds,
        Inbox,
        Ledger,
        Limits,
        Marks,
        Occurrences,
        People,
        Runs,
        ServerEvents,
        Snapshots,
        SpeakerAnswers,
        Talks,
    )


class SqliteStore:
    """``ports.Store`` on one connection: any thread may use it, one at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.talks: Talks = SqliteTalks(db)
        self.people: People = SqlitePeople(db)
        self.ledger: Ledger = SqliteLedger(db)
        self.inbox: Inbox = SqliteInbox(db)
        self.answers: SpeakerAnswers = SqliteAnswers(db)
        self.runs: Runs = SqliteRuns(db)
        self.occurrences: Occurrences = SqliteOccurrences(db)
        self.snapshots: Snapshots = SqliteSnapshots(db)
        self.calendar: Calendar = SqliteCalendar(db)
        self.server_events: ServerEvents = SqliteServerEvents(db)
        self.limits: Limits = SqliteLimits(db)
        self.guilds: Guilds = SqliteGuilds(db)
        self.marks: Marks = SqliteMarks(db)

    def prepare(self) -> None:
        schema.migrate(self._db)

    def check(self) -> None:
        schema.stored_version(self._db)

    def schema_version(self) -> int:
        return schema.stored_version(self._db)

    def at_once(self) -> AbstractContextManager[None]:
        return self._db.write()

    def version(self) -> tuple[int, int]:
        return self._db.version()

    def clock_error(self) -> timedelta:
        return timedelta()  # every process that uses the file has this clock

    def describe(self) -> str:
        return self._db.where

    def close(self) -> None:
        self._db.close()


def open_sqlite(path: Path | None, *, read_only: bool, lock_timeout: float) -> SqliteStore:
    """The store in the file at ``path``, in memory where that is None. See ``open_store``."""
    if path is None:
        return SqliteStore(_in_memory(prepared=read_only))
    path = path.expanduser().resolve()
    how = _open_to_read if read_only else _open_file
    return SqliteStore(how(path, lock_timeout))


def _in_memory(*, prepared: bool = False) -> Database:
    """A store that ends with its connection; ``prepared`` has its tables already."""
    db = Database("file::memory:", "SQLite in memory", 0)
    if prepared:
        schema.migrate(db)
    return db


def _open_file(path: Path, lock_timeout: float) -> Database:
    """To read and write; makes the folder and an empty file, both their owner's only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only ever opened by us when it is new: closing a file that SQLite has open elsewhere in
        # this process would drop SQLite's locks on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise ConfigError(
            f"SQLite store {path}: cannot be made ({error.strerror}). Check DATABASE_URL."
        ) from error
    db = Database(f"{path.as_uri()}?mode=rw", f"SQLite store {path}", lock_timeout)
    # FULL: a claim that a power cut undoes would be sent again.
    return _checked(db, "PRAGMA synchronous = FULL")


def _open_to_read(path: Path, lock_timeout: float) -> Database:
    """To read only; a missing, empty or older store is shown by a copy in memory."""
    try:
        present = path.exists()
    except OSError as error:
        raise ConfigError(f"SQLite store {path}: cannot be read ({error.strerror}).") from error
    if present:
        uri = f"{path.as_uri()}?{_reading_mode(path)}"
        db = _checked(Database(uri, f"SQLite store {path}", lock_timeout), "PRAGMA query_only = 1")
        if db.rows("PRAGMA user_version")[0][0] >= len(schema.STEPS):
            return db
    copy = _in_memory()
    copy.where = f"SQLite store {path}"
    if present:
        db.copy_to(copy)
        db.close()
    schema.migrate(copy)
    return copy


def _reading_mode(path: Path) -> str:
    """The mode that leaves neither changes nor files beside a store in WAL mode."""
    if Path(f"{path}-wal").exists():
        return "mode=ro"  # somebody works on it, or died doing so: leave it all to them
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        # A reader needs the -wal and -shm files too, and only one that may write removes them.
        return "mode=rw"
    return "mode=ro&immutable=1"  # not writable, so nothing can change under us


def _checked(db: Database, setting: str) -> Database:
    try:
        db.run(setting)
        [(application, tables)] = db.rows(
            "SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id"
        )
        if application != schema.APPLICATION_ID and (application or tables):
            raise StoreCorrupt(
                f"{db.where}: a database of another application. It was left as it is. "
                "Let DATABASE_URL name another file."
            )
    except BaseException:
        db.close()
        raise
    return db
