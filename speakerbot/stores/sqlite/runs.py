"""What ran, when, with which outcome; and how far each occurrence of each schedule came."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from speakerbot.domain.run import Run
from speakerbot.stores.nouns import occurrence_of, run_of
from speakerbot.stores.reading import Reader, Unreadable
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, instant, placeholders, to_json, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from speakerbot.domain.occurrence import OccurrenceRecord

COLUMNS = "id, job, now, started_at, finished_at, outcome, schedule, occurrence, counts, error"
NAMES = COLUMNS.split(", ")
PRUNE = """
    DELETE FROM runs WHERE rowid IN (
        SELECT rowid FROM runs WHERE started_at < ? ORDER BY started_at LIMIT ?)"""
INSTANTS = ("now", "started_at", "finished_at", "occurrence")


class SqliteRuns:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, run: Run) -> None:
        row = _row(run)
        with self._db.write():
            self._db.run(
                f"INSERT OR REPLACE INTO runs ({COLUMNS}) VALUES ({placeholders(len(row))})",  # noqa: S608
                row,
            )

    def get(self, run_id: str) -> Run | None:
        rows = self._db.rows(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (run_id,))  # noqa: S608
        return self._read(rows[0]) if rows else None

    def _read(self, row: Row) -> Run | None:
        """From the columns of COLUMNS, whatever follows them. None: it cannot be read."""
        values = dict(zip(NAMES, row, strict=False))
        values["counts"] = from_json(values["counts"])
        for name in INSTANTS:
            values[name] = instant(values[name])
        try:
            return run_of(values, Reader(self._db.damage, "run", str(values["id"])))
        except Unreadable:
            return None

    def list(self, *, job: str | None = None, limit: int = 50) -> Iterator[Run]:
        return islice(self._newest("job = ?" if job else "? IS NULL", job), limit)

    def prune(self, before: datetime, limit: int | None = None) -> int:
        return self._db.run_in_pages(PRUNE, (to_ms(before),), limit)

    def _newest(self, where: str, value: str | None) -> Iterator[Run]:
        after: tuple[Any, int] = (2**62, 0)
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS}, rowid FROM runs WHERE {where} "  # noqa: S608
                "AND (started_at, rowid) < (?, ?) ORDER BY started_at DESC, rowid DESC LIMIT ?",
                (value, *after, PAGE),
            )
            yield from (run for run in map(self._read, page) if run is not None)
            if len(page) < PAGE:
                return
            after = (page[-1][3], page[-1][-1])


def _row(run: Run) -> Sequence[Any]:
    return (
        run.id,
        run.job,
        to_ms(run.now),
        to_ms(run.started_at),
        to_ms(run.finished_at),
        run.outcome,
        run.schedule,
        to_ms(run.occurrence),
        to_json(run.counts),
        run.error,
    )


FORGET = """
    DELETE FROM occurrences
    WHERE schedule = ? AND standing IN ('finished', 'missed', 'superseded') AND occurrence < ?"""


class SqliteOccurrences:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, schedule: str, occurrence: datetime) -> OccurrenceRecord | None:
        rows = self._db.rows(
            "SELECT standing, lease_until, retry_at, resume_at, revision FROM occurrences "
            "WHERE schedule = ? AND occurrence = ?",
            (schedule, to_ms(occurrence)),
        )
        if not rows:
            return None
        standing, *instants, revision = rows[0]
        lease_until, retry_at, resume_at = map(instant, instants)
        values = {
            "standing": standing,
            "lease_until": lease_until,
            "retry_at": retry_at,
            "resume_at": resume_at,
            "revision": revision,
        }
        reader = Reader(self._db.damage, "occurrence", f"{schedule}/{occurrence:%Y-%m-%dT%H:%M}Z")
        return occurrence_of(values, reader, occurrence)

    def swap(self, schedule: str, before: OccurrenceRecord | None, after: OccurrenceRecord) -> bool:
        own = (schedule, to_ms(after.occurrence))
        values = (
            after.standing,
            to_ms(after.lease_until),
            to_ms(after.retry_at),
            to_ms(after.resume_at),
            after.revision,
        )
        with self._db.write():
            if before is None:
                sql = "INSERT INTO occurrences VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
                return self._db.run(sql, (*own, *values)) > 0
            sql = (
                "UPDATE occurrences SET standing = ?, lease_until = ?, retry_at = ?, "
                "resume_at = ?, revision = ? "
                "WHERE schedule = ? AND occurrence = ? AND revision = ?"
            )
            return self._db.run(sql, (*values, *own, before.revision)) > 0

    def supersede(self, schedule: str, before: datetime) -> None:
        with self._db.write():
            self._db.run(
                "UPDATE occurrences SET standing = 'superseded', revision = ? "
                "WHERE schedule = ? AND standing IN ('running', 'open') AND occurrence < ?",
                (uuid4().hex, schedule, to_ms(before)),
            )

    def forget(self, schedule: str, before: datetime) -> int:
        with self._db.write():
            return self._db.run(FORGET, (schedule, to_ms(before)))
