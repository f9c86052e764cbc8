"""What ran, when, with which outcome; and how far each occurrence of each schedule came."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

from speakerbot.domain.run import Run
from speakerbot.stores.mongo.connection import Database, Document, replacement
from speakerbot.stores.nouns import occurrence_of, run_of
from speakerbot.stores.reading import Reader, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from speakerbot.domain.occurrence import OccurrenceRecord

RUNS = "speakerbot_runs"
RUN_NAMES = tuple(name for name in Run._fields if name != "id")


class MongoRuns:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, run: Run) -> None:
        document = {"_id": run.id, **{name: getattr(run, name) for name in RUN_NAMES}}
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

    from speakerbot.domain.occurrence import OccurrenceRecord
    from speakerbot.stores.mongo.connection import Database, Document


OCCURRENCES = "speakerbot_occurrences"
OCCURRENCE_NAMES = ("occurrence", "standing", "lease_until", "retry_at", "resume_at", "revision")


class MongoOccurrences:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, schedule: str, occurrence: datetime) -> OccurrenceRecord | None:
        own = _id(schedule, occurrence)
        found = self._db.find(OCCURRENCES, {"_id": own})
        reader = Reader(self._db.damage, "occurrence", own)
        return occurrence_of(found[0], reader, occurrence) if found else None

    def swap(self, schedule: str, before: OccurrenceRecord | None, after: OccurrenceRecord) -> bool:
        own = _id(schedule, after.occurrence)
        values: Document = {
            "schedule": schedule,
            **{name: getattr(after, name) for name in OCCURRENCE_NAMES},
        }
        if before is None:
            try:
                self._db.ask(lambda: self._db[OCCURRENCES].insert_one({"_id": own, **values}))
            except DuplicateKeyError:
                return self._is(own, after)
            return True
        seen: Document = {"_id": own, "revision": before.revision}
        if not before.revision:  # none, or none that could be read
            seen["revision"] = {"$not": {"$type": "string", "$ne": ""}}
        update = {"$set": values}
        result = self._db.ask(lambda: self._db[OCCURRENCES].update_one(seen, update))
        return result.matched_count == 1 or self._is(own, after)

    def _is(self, own: str, after: OccurrenceRecord) -> bool:
        """Whether a write that seems to have lost was ours, repeated because its answer was."""
        return bool(self._db.find(OCCURRENCES, {"_id": own, "revision": after.revision}))

    def supersede(self, schedule: str, before: datetime) -> None:
        overtaken = {
            "schedule": schedule,
            "occurrence": {"$lt": before},
            "standing": {"$in": ["running", "open"]},
        }
        update = {"$set": {"standing": "superseded", "revision": f"superseded by {before:%FT%RZ}"}}
        self._db.ask(lambda: self._db[OCCURRENCES].update_many(overtaken, update))

    def forget(self, schedule: str, before: datetime) -> int:
        old: Document = {
            "schedule": schedule,
            "occurrence": {"$lt": before},
            "standing": {"$in": ["finished", "missed", "superseded"]},
        }
        return self._db.ask(lambda: self._db[OCCURRENCES].delete_many(old)).deleted_count


def _id(schedule: str, occurrence: datetime) -> str:
    return f"{schedule}/{occurrence:%Y-%m-%dT%H:%M}Z"
