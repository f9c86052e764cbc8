"""Messages in people's inboxes."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from speakerbot.stores.nouns import inbox_message_of
from speakerbot.stores.reading import Reader, Unreadable
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import instant, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from speakerbot.domain.inbox import InboxMessage

COLUMNS = "key, recipient, text, created_at, read_at"
NAMES = COLUMNS.split(", ")
INSERT = (
    f"INSERT INTO inbox ({COLUMNS}, id) VALUES (?, ?, ?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (key) DO NOTHING"
)
FORGET = """
    DELETE FROM inbox WHERE rowid IN (
        SELECT rowid FROM inbox WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
ERASE = """
    DELETE FROM inbox WHERE rowid IN (
        SELECT rowid FROM inbox WHERE recipient = ? ORDER BY created_at LIMIT ?)"""


class SqliteInbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, message: InboxMessage) -> bool:
        values = message.key, message.recipient, message.text
        at = to_ms(message.created_at), to_ms(message.read_at)
        with self._db.write():
            return self._db.run(INSERT, (*values, *at, message.id)) > 0

    def get(self, keys: Sequence[str]) -> dict[str, InboxMessage]:
        rows = self._db.rows_among(f"SELECT {COLUMNS} FROM inbox WHERE key IN", keys)  # noqa: S608
        return {message.key: message for message in map(self._read, rows) if message}

    def of(
        self, recipients: Sequence[str], *, unread_only: bool = False, limit: int = 100
    ) -> Iterator[InboxMessage]:
        # A walk along the index for each, merged: an IN would read and sort all there is.
        walks = (self._newest(recipient, unread_only) for recipient in dict.fromkeys(recipients))
        return islice(merge(*walks, key=attrgetter("created_at"), reverse=True), limit)

    def _newest(self, recipient: str, unread_only: bool) -> Iterator[InboxMessage]:
        unread = "AND read_at IS NULL " if unread_only else ""
        after: tuple[Any, int] = (2**62, 0)
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS}, rowid FROM inbox WHERE recipient = ? {unread}"  # noqa: S608
                "AND (created_at, rowid) < (?, ?) ORDER BY created_at DESC, rowid DESC LIMIT ?",
                (recipient, *after, PAGE),
            )
            yield from filter(None, map(self._read, page))
            if len(page) < PAGE:
                return
            after = (page[-1][NAMES.index("created_at")], page[-1][-1])

    def _read(self, row: Row) -> InboxMessage | None:
        """From the columns of NAMES, whatever follows them."""
        values = dict(zip(NAMES, row, strict=False))
        for name in ("created_at", "read_at"):
            values[name] = instant(values[name])
        try:
            reader = Reader(self._db.damage, "inbox message", str(values["key"]))
            return inbox_message_of(values, reader)
        except Unreadable:
            return None

    def mark_read(self, recipients: Sequence[str], message_id: str | None, at: datetime) -> int:
        one = "" if message_id is None else "AND id = ?"
        sql = f"UPDATE inbox SET read_at = ? WHERE recipient = ? AND read_at IS NULL {one}"  # noqa: S608
        which = () if message_id is None else (message_id,)
        with self._db.write():
            return sum(
                self._db.run(sql, (to_ms(at), recipient, *which))
                for recipient in dict.fromkeys(recipients)
            )

    def erase(self, recipients: Sequence[str]) -> int:
        with self._db.write():
            return sum(self._db.run_in_pages(ERASE, (each,), None) for each in set(recipients))

    def count_before(self, before: datetime) -> int:
        sql = "SELECT count(*) FROM inbox WHERE created_at < ?"
        [(count,)] = self._db.rows(sql, (to_ms(before),))
        return int(count)

    def forget_before(self, before: datetime, limit: int | None = None) -> int:
        return self._db.run_in_pages(FORGET, (to_ms(before),), limit)
