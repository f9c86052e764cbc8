"""What ran, when, with which outcome."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from speakerbot.domain.run import Run
from speakerbot.stores.nouns import run_of
from speakerbot.stores.reading import Reader, Unreadable
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, instant, placeholders, to_json, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

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
