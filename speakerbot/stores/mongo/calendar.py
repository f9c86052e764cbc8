"""What calendar programs are told of each talk, compared with the talks page by page."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from pymongo import InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from speakerbot.stores.mongo.connection import PAGE, Database, Document
from speakerbot.stores.mongo.talk_documents import document_ids
from speakerbot.stores.mongo.talks import TALKS, MongoTalks
from speakerbot.stores.nouns import calendar_entry_of
from speakerbot.stores.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.talk import Talk

CALENDAR = "speakerbot_calendar"
LIVE: Document = {"cancelled": False}


class MongoCalendar:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, talk_id: str) -> CalendarEntry | None:
        found = self._db.find(CALENDAR, {"_id": talk_id}, limit=1)
        return self._entry(found[0]) if found else None

    def all(self) -> Iterator[CalendarEntry]:
        entries = (self._entry(each) for page in self._pages({}) for each in page)
        return (entry for entry in entries if entry is not None)

    def _entry(self, document: Document) -> CalendarEntry | None:
        reader = Reader(self._db.damage, "calendar_entry", document["_id"])
        return calendar_entry_of(document, reader)

    def differing(self) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        live, talks = 0, MongoTalks(self._db).all()
        while page := list(islice(talks, PAGE)):
            entries = self._by_id([talk.id for talk in page])
            for talk in page:
                entry = entries.get(talk.id)
                if talk.id in entries and entry is None:
                    continue
                live += entry is not None and not entry.cancelled
                if entry is None or not entry.shows(talk):
                    yield talk, entry
        if self._db.ask(lambda: self._db[CALENDAR].count_documents(LIVE)) != live:
            yield from self._gone()

    def _by_id(self, ids: Sequence[str]) -> dict[str, CalendarEntry | None]:
        """Those that are there; None for one that cannot be read."""
        found = self._db.find(CALENDAR, {"_id": {"$in": list(ids)}})
        return {each["_id"]: self._entry(each) for each in found}

    def _gone(self) -> Iterator[tuple[None, CalendarEntry]]:
        for page in self._pages(LIVE):
            ids = document_ids([each["_id"] for each in page])
            # A talk whose date cannot be read is there, and nobody knows when: not cancelled.
            there = {str(each["_id"]) for each in self._db.find(TALKS, ids, projection=["_id"])}
            for each in page:
                if each["_id"] not in there and (entry := self._entry(each)):
                    yield None, entry

    def _pages(self, query: Document) -> Iterator[list[Document]]:
        after = ""
        while True:
            rest = query | {"_id": {"$gt": after}}
            page = self._db.find(CALENDAR, rest, sort=[("_id", 1)], limit=PAGE)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1]["_id"]

    def advance(self, steps: Sequence[tuple[CalendarEntry | None, CalendarEntry]]) -> None:
        """May be repeated: what it has written already does not match, or is there."""
        if steps:
            writes = [_step(before, after) for before, after in steps]
            with suppress(BulkWriteError):  # of entries that another process has just made
                self._db.ask(lambda: self._db[CALENDAR].bulk_write(writes, ordered=False))


def _step(
    before: CalendarEntry | None, after: CalendarEntry
) -> InsertOne[Document] | ReplaceOne[Document]:
    document = _document(after)
    if before is None:
        return InsertOne(document)
    return ReplaceOne({"_id": after.talk_id, "sequence": before.sequence}, document)


def _document(entry: CalendarEntry) -> Document:
    return {
        "_id": entry.talk_id,
        "sequence": entry.sequence,
        "date": entry.date.isoformat(),
        "starts_at": entry.starts_at.isoformat() if entry.starts_at else None,
        "topic": entry.topic,
        "username": entry.username,
        "cancelled": entry.cancelled,
        "changed_at": entry.changed_at,
    }
