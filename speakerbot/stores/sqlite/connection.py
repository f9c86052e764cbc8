"""One SQLite connection: how it is opened, its transactions, its errors in our words."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.errors import ConfigError, SpeakerbotError, StoreCorrupt, StoreLocked, Unreachable
from speakerbot.stores.reading import Damage
from speakerbot.stores.sqlite.rows import placeholders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = tuple[Any, ...]

PAGE = 500
"""Rows read at once: no read stays open while others, or this process, write."""


class Database:
    """A connection in autocommit mode, for any thread but only one at a time.

    ``where`` names the store for people. Raises only our errors; a sqlite3 error that comes
    through is a bug.
    """

    def __init__(self, uri: str, where: str, lock_timeout: float) -> None:
        self.where = where
        self.damage = Damage()
        self._lock_timeout = lock_timeout
        self._depth = 0
        try:
            self._connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=lock_timeout,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Row]:
        """Every row of a query; the read is over when this returns."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def rows_among(
        self, sql: str, values: Sequence[str], parameters: Sequence[Any] = ()
    ) -> list[Row]:
        """Every row of a query that ends in ``IN``, for any number of values."""
        # Not one JSON list: SQLite's ends a text at a NUL character.
        found: list[Row] = []
        for start in range(0, len(values), PAGE):
            page = values[start : start + PAGE]
            found += self.rows(f"{sql} ({placeholders(len(page))})", (*parameters, *page))
        return found

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Executes a statement; returns how many rows it changed."""
        try:
            return self._connection.execute(sql, parameters).rowcount
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def put_rows(self, sql: str, rows: Sequence[Row]) -> int:
        """Executes a statement for so many rows at once, where it says ``{rows}``; returns how
        many it changed. No more than PAGE: SQLite takes 32,766 values."""
        if not rows:
            return 0
        each = f"({placeholders(len(rows[0]))})"
        return self.run(sql.format(rows=", ".join([each] * len(rows))), [*chain(*rows)])

    def run_in_pages(self, sql: str, parameters: Sequence[Any], limit: int | None) -> int:
        """Executes a statement that ends in ``LIMIT`` until it changes nothing more, or as many
        rows as allowed; each time in a transaction of its own, so that others get their turn."""
        done = 0
        while limit is None or done < limit:
            size = PAGE if limit is None else min(PAGE, limit - done)
            with self.write():
                changed = self.run(sql, (*parameters, size))
            done += changed
            if changed < size:
                break
        return done

    @contextmanager
    def write(self) -> Iterator[None]:
        """Everything inside becomes one transaction, or nothing of it; nests."""
        nested = self._depth > 0
        # IMMEDIATE: a transaction that reads first and then asks for the write lock is refused
        # at once where another one wrote in between, without waiting.
        self.run("SAVEPOINT nested" if nested else "BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            self.run("RELEASE nested" if nested else "COMMIT")
        except BaseException:
            self._roll_back(nested)
            raise
        finally:
            self._depth -= 1

    def _roll_back(self, nested: bool) -> None:
        if not self._connection.in_transaction:
            return  # SQLite has done it by itself: full disk, failing disk
        if nested:
            self.run("ROLLBACK TO nested")
            self.run("RELEASE nested")
        else:
            self.run("ROLLBACK")

    def version(self) -> tuple[int, int]:
        """Another one than before if another connection, or this one, has changed anything."""
        return self.rows("PRAGMA data_version")[0][0], self._connection.total_changes

    def use_wal(self) -> None:
        """Lets readers and one writer work side by side. Kept in the file.

        SQLite does not wait for the lock here when two processes switch at once, so we do.
        """
        deadline = time.monotonic() + self._lock_timeout
        while True:
            try:
                self.rows("PRAGMA journal_mode = WAL")
            except StoreLocked:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def copy_to(self, other: Database) -> None:
        try:
            self._connection.backup(other._connection)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def close(self) -> None:
        self._connection.close()

    def _translated(self, error: sqlite3.Error) -> SpeakerbotError | sqlite3.Error:
        code = getattr(error, "sqlite_errorcode", None)
        match code & 0xFF if code is not None else None:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreLocked(
                    f"{self.where}: another process kept it locked for more than "
                    f"{self._lock_timeout:g} s. Wait until that one has finished, then run again."
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return StoreCorrupt(
                    f"{self.where}: not a database, or damaged ({error}). It was left as it is. "
                    "Restore a backup there, or let DATABASE_URL name another file."
                )
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                return ConfigError(
                    f"{self.where}: cannot be opened or written ({error}). Check DATABASE_URL and "
                    "the permissions of the file and of its folder."
                )
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
                return Unreachable(f"{self.where}: the disk failed or is full ({error}).")
            case _:
                return error
