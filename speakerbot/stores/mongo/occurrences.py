"""How far each occurrence of each schedule came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

from speakerbot.stores.nouns import occurrence_of
from speakerbot.stores.reading import Reader

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.domain.occurrence import OccurrenceRecord
    from speakerbot.stores.mongo.connection import Database, Document

OCCURRENCES = "speakerbot_occurrences"
NAMES = ("occurrence", "standing", "lease_until", "retry_at", "resume_at", "revision")


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
        values: Document = {"schedule": schedule, **{name: getattr(after, name) for name in NAMES}}
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


def _id(schedule: str, occurrence: datetime) -> str:
    return f"{schedule}/{occurrence:%Y-%m-%dT%H:%M}Z"
