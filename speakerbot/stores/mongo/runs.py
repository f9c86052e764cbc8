"""What ran, when, with which outcome."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

from speakerbot.domain.run import Run
from speakerbot.stores.mongo.connection import Database, Document, replacement
from speakerbot.stores.nouns import run_of
from speakerbot.stores.reading import Reader, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

RUNS = "speakerbot_runs"
NAMES = tuple(field.name for field in fields(Run) if field.name != "id")


class MongoRuns:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, run: Run) -> None:
        document = {"_id": run.id, **{name: getattr(run, name) for name in NAMES}}
        self._db.write_all(RUNS, [replacement(document)])

    def get(self, run_id: str) -> Run | None:
        found = self._db.find(RUNS, {"_id": run_id})
        return self._read(found[0]) if found else None

    def list(self, *, job: str | None = None, limit: int = 50) -> Iterator[Run]:
        query: Document = {"job": job} if job else {}
        found = map(self._read, self._db.newest(RUNS, query, "started_at"))
        return islice((run for run in found if run is not None), limit)

    def prune(self, before: datetime, limit: int | None = None) -> int:
        old: Document = {"started_at": {"$lt": before}}
        return self._db.in_pages(RUNS, old, self._db[RUNS].delete_many, limit, by="started_at")

    def _read(self, document: Document) -> Run | None:
        try:
            return run_of(document, Reader(self._db.damage, "run", str(document["_id"])))
        except Unreadable:
            return None
