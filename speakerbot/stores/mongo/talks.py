"""Talks: the Node bot's ``scheduledspeakers``. Documents are updated, never replaced."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from speakerbot.clock import real_now
from speakerbot.errors import Unreachable
from speakerbot.stores.dates import as_date, date_taken, in_order
from speakerbot.stores.mongo.connection import PAGE, Database
from speakerbot.stores.mongo.documents import document_id, midnight, on_days, to_talk, update_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import FlagWrite
    from speakerbot.stores.mongo.connection import Document

TALKS = "scheduledspeakers"
TRIES = 3
IS_NULL = {"reminders": {"$eq": None, "$exists": True}}
"""Missing ``reminders`` become a subdocument by themselves, null ones do not."""


class MongoTalks:
    def __init__(self, db: Database) -> None:
        self._db = db

    def between(self, first: date, last: date) -> Iterator[Talk]:
        lower = "$gte"
        after: datetime = midnight(first)
        while True:
            page = self._find({"scheduledDate": {**on_days(first, last), lower: after}}, limit=PAGE)
            yield from map(to_talk, page)
            if len(page) < PAGE:
                return
            lower, after = "$gt", page[-1]["scheduledDate"]

    def all(self) -> Iterator[Talk]:
        return self.between(date.min, date.max)

    def get(self, talk: str) -> Talk | None:
        any_day = on_days(date.min, date.max)
        found = self._find({"_id": document_id(talk), "scheduledDate": any_day}, limit=1)
        if not found and (day := as_date(talk)):
            found = self._find({"scheduledDate": on_days(day, day)}, limit=1)
        return to_talk(found[0]) if found else None

    def _find(self, query: Document, **options: Any) -> list[Document]:
        return self._db.find(TALKS, query, sort=[("scheduledDate", 1)], **options)

    def put(self, talks: Sequence[Talk]) -> None:
        """Looks at everything first, then writes in an order in which repeating a call that was
        interrupted completes it."""
        latest = list({talk.id: talk for talk in talks}.values())
        for _ in range(TRIES if latest else 0):
            updates = _updates(in_order(latest, self._held(latest)))
            try:
                self._write(updates)
            except BulkWriteError:
                continue  # somebody took a date in between: look again
            return
        if latest:
            raise self._contended()

    def _held(self, talks: Sequence[Talk]) -> dict[date, str]:
        """Which talk's id holds a date, for the dates and the ids concerned."""
        days = [talk.date for talk in talks]
        ids = [document_id(talk.id) for talk in talks]
        stored = self._find(
            {"$or": [{"scheduledDate": on_days(min(days), max(days))}, {"_id": {"$in": ids}}]},
            projection=["scheduledDate"],
        )
        dated = [each for each in stored if isinstance(each.get("scheduledDate"), datetime)]
        return {each["scheduledDate"].date(): str(each["_id"]) for each in dated}

    def _write(self, updates: Sequence[UpdateOne | UpdateMany]) -> None:
        self._db.ask(lambda: self._db[TALKS].bulk_write(updates, ordered=True))

    def _contended(self) -> Unreachable:
        return Unreachable(f"{self._db.where}: others keep changing the same talks. Run again.")

    def reschedule(self, talk_id: str, to: date) -> bool:
        update = {"$set": {"scheduledDate": midnight(to)}}
        own = {"_id": document_id(talk_id)}
        for _ in range(TRIES):
            holders = self._find({"scheduledDate": on_days(to, to)}, projection=["_id"])
            for holder in holders:
                if str(holder["_id"]) != talk_id:
                    raise date_taken(to, str(holder["_id"]), talk_id)
            try:
                done = self._db.ask(lambda: self._db[TALKS].update_one(own, update))
            except DuplicateKeyError:
                continue
            return done.matched_count > 0
        raise self._contended()

    def delete(self, talk_id: str) -> bool:
        own = {"_id": document_id(talk_id)}
        return self._db.ask(lambda: self._db[TALKS].find_one_and_delete(own)) is not None

    def write_flags(self, writes: Sequence[FlagWrite]) -> set[str]:
        return {write.talk_id for write in writes if self._write_flag(write)}

    def _write_flag(self, write: FlagWrite) -> bool:
        path, talks = f"reminders.{write.name}", self._db[TALKS]
        own = {"_id": document_id(write.talk_id)}
        # Has it already: this very write, whose answer was lost.
        stands: Document = {**own, path: {"$in": [write.seen, write.to]}}
        if write.to is None:
            update = {"$unset": {path: ""}}
            return self._db.ask(lambda: talks.update_one(stands, update)).matched_count > 0
        stands["$nor"] = [IS_NULL]
        if self._db.ask(lambda: talks.update_one(stands, {"$set": {path: write.to}})).matched_count:
            return True
        if write.seen is not None:
            return False
        whole = {"$set": {"reminders": {write.name: write.to}}}
        return self._db.ask(lambda: talks.update_one(own | IS_NULL, whole)).matched_count > 0


def _updates(talks: Sequence[Talk]) -> list[UpdateOne | UpdateMany]:
    now = real_now()
    ids = [document_id(talk.id) for talk in talks]
    return [
        UpdateMany({"_id": {"$in": ids}} | IS_NULL, {"$unset": {"reminders": ""}}),
        *(
            UpdateOne({"_id": talk_id}, update_of(talk, now), upsert=True)
            for talk_id, talk in zip(ids, talks, strict=True)
        ),
    ]
