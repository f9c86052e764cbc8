"""What ran, when, with which outcome."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

from speakerbot.domain.run import Run
from speakerbot.stores.mongo.connection import Database, Document, replacement

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        return _run(found[0]) if found else None

    def list(self, *, job: str | None = None, limit: int = 50) -> Iterator[Run]:
        query: Document = {"job": job} if job else {}
        return map(_run, islice(self._db.newest(RUNS, query, "started_at"), limit))


def _run(document: Document) -> Run:
    return Run(id=document["_id"], **{name: document[name] for name in NAMES})
