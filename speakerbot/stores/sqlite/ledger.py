"""Deliveries by key, changed by compare-and-swap only."""

from __future__ import annotations

from datetime import datetime
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from speakerbot.domain.delivery import FINAL, PERSONAL, UNSETTLED, Delivery, DeliveryChange
from speakerbot.stores.nouns import LEFT_OUT, STATES, delivery_of
from speakerbot.stores.reading import TEXT, Reader
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import instant, placeholders, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = Delivery._fields
INSTANTS = [name for name, kind in Delivery.__annotations__.items() if "datetime" in str(kind)]
IN_KEY = 3
"""The first of them, up to the recipient, stand in the key and never change."""
COLUMNS = ", ".join(NAMES)
CHANGING = NAMES[IN_KEY:]
INSERT = f"""
    INSERT INTO deliveries ({COLUMNS}, subject) VALUES {{rows}}
    ON CONFLICT (key) DO NOTHING"""  # noqa: S608
UPDATE = f"""
    WITH after (key, seen, {", ".join(CHANGING)}) AS (VALUES {{rows}})
    UPDATE deliveries SET {", ".join(f"{name} = after.{name}" for name in CHANGING)} FROM after
    WHERE deliveries.key = after.key AND deliveries.revision = after.seen"""  # noqa: S608
DELETE = "DELETE FROM deliveries WHERE key = ? AND revision = ?"

OVER = f"updated_at < ? AND (state IN ({placeholders(len(FINAL))}) OR expires_at < ?)"
PRUNE = f"""
    DELETE FROM deliveries WHERE rowid IN (
        SELECT rowid FROM deliveries WHERE {OVER} ORDER BY updated_at LIMIT ?)"""  # noqa: S608
TO_ONE = " OR ".join(f"substr(recipient, 1, {len(kind)}) = '{kind}'" for kind in PERSONAL)
FORGET_TEXTS = f"""
    UPDATE deliveries SET text = '' WHERE rowid IN (
        SELECT rowid FROM deliveries INDEXED BY deliveries_texts
        WHERE text <> '' AND ({TO_ONE}) AND {OVER} ORDER BY updated_at LIMIT ?)"""  # noqa: S608


class SqliteLedger:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, keys: Sequence[str]) -> dict[str, Delivery]:
        rows = self._db.rows_among(f"SELECT {COLUMNS} FROM deliveries WHERE key IN", keys)  # noqa: S608
        return {row[0]: self._read(row)[0] for row in rows}

    def _read(self, row: Row) -> tuple[Delivery, bool]:
        """From the columns of NAMES, whatever follows them: the record, and whether all of it could
        be read."""
        values = dict(zip(NAMES, row, strict=False))
        for name in INSTANTS:
            values[name] = instant(values[name])
        reader = Reader(self._db.damage, "delivery", str(values["key"]))
        if not isinstance(values["key"], str):
            reader.warn("key", values["key"], TEXT.expected, LEFT_OUT)
        record = delivery_of(values, reader)
        return record, not reader.damaged

    def swap(self, changes: Sequence[DeliveryChange]) -> set[str]:
        with self._db.write():
            gone = {change.key for change in changes if self._delete(change)}
            return gone.union(*(self._put(page) for page in _pages(changes)))

    def _delete(self, change: DeliveryChange) -> bool:
        if change.after is not None or change.before is None:
            return False
        return self._db.run(DELETE, (change.key, change.before.revision)) > 0

    def _put(self, changes: Sequence[DeliveryChange]) -> set[str]:
        """Those of the new and the changed records that were written. Two statements, however many
        there are: after each one Python's other threads get their turn, and this one waits."""
        ours = {change.key: change.after.revision for change in changes if change.after}
        steps = [(change.before, change.after) for change in changes if change.after]
        new = [(*_row(after), after.subject) for before, after in steps if not before]
        changed = [
            (after.key, before.revision, *_row(after)[IN_KEY:]) for before, after in steps if before
        ]
        if self._db.put_rows(INSERT, new) + self._db.put_rows(UPDATE, changed) == len(ours):
            return set(ours)
        stored = self._db.rows_among("SELECT key, revision FROM deliveries WHERE key IN", [*ours])
        return {key for key, revision in stored if revision == ours[key]}

    def list(self, *, state: str | None = None, limit: int = 100) -> Iterator[Delivery]:
        found = self._newest("state = ?", state) if state else self._newest("? IS NULL", None)
        return islice(found, limit)

    def find(self, recipient_or_subject: str, *, limit: int = 100) -> Iterator[Delivery]:
        # Two walks along an index each, merged: an OR would read and sort all there is.
        found = merge(
            self._newest("recipient = ?", recipient_or_subject),
            self._newest("subject = ? AND recipient <> subject", recipient_or_subject),
            key=attrgetter("updated_at"),
            reverse=True,
        )
        return islice(found, limit)

    def flagged(self, subjects: Sequence[str]) -> Sequence[Delivery]:
        rows = self._db.rows_among(
            f"SELECT {COLUMNS} FROM deliveries WHERE flag_at IS NOT NULL AND subject IN",  # noqa: S608
            subjects,
        )
        return [record for record, sound in map(self._read, rows) if sound]

    def _newest(self, where: str, value: str | None) -> Iterator[Delivery]:
        after: tuple[Any, int] = (2**62, 0)
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS}, rowid FROM deliveries WHERE {where} "  # noqa: S608
                "AND (updated_at, rowid) < (?, ?) ORDER BY updated_at DESC, rowid DESC LIMIT ?",
                (value, *after, PAGE),
            )
            yield from (record for record, sound in map(self._read, page) if sound)
            if len(page) < PAGE:
                return
            after = (page[-1][NAMES.index("updated_at")], page[-1][-1])

    def unsettled(self, expired_by: datetime) -> Iterator[Delivery]:
        walks = (self._expired(state, expired_by) for state in UNSETTLED)
        return merge(*walks, key=attrgetter("expires_at"))

    def _expired(self, state: str, expired_by: datetime) -> Iterator[Delivery]:
        after: tuple[Any, int] = (-(2**62), 0)
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS}, rowid FROM deliveries WHERE state = ? "  # noqa: S608
                "AND (expires_at, rowid) > (?, ?) AND expires_at <= ? "
                "ORDER BY expires_at, rowid LIMIT ?",
                (state, *after, to_ms(expired_by), PAGE),
            )
            yield from (record for record, sound in map(self._read, page) if sound)
            if len(page) < PAGE:
                return
            after = (page[-1][NAMES.index("expires_at")], page[-1][-1])

    def counts(self, *, since: datetime) -> dict[str, int]:
        rows = self._db.rows(
            "SELECT state, count(*) FROM deliveries WHERE updated_at >= ?1 "
            "AND (state <> 'sent' OR sent_at >= ?1) GROUP BY state",
            (to_ms(since),),
        )
        return {state: count for state, count in rows if state in STATES}

    def prune(self, before: datetime, limit: int | None = None) -> int:
        return self._db.run_in_pages(PRUNE, (to_ms(before), *FINAL, to_ms(before)), limit)

    def forget_texts(self, before: datetime, limit: int | None = None) -> int:
        return self._db.run_in_pages(FORGET_TEXTS, (to_ms(before), *FINAL, to_ms(before)), limit)


def _pages(changes: Sequence[DeliveryChange]) -> Iterator[Sequence[DeliveryChange]]:
    return (changes[start : start + PAGE] for start in range(0, len(changes), PAGE))


def _row(record: Delivery) -> list[Any]:
    return [to_ms(value) if isinstance(value, datetime) else value for value in record]
