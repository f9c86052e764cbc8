"""How far each occurrence of each schedule came."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from speakerbot.stores.nouns import occurrence_of
from speakerbot.stores.reading import Reader
from speakerbot.stores.sqlite.rows import instant, to_ms

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.domain.occurrence import OccurrenceRecord
    from speakerbot.stores.sqlite.connection import Database


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
