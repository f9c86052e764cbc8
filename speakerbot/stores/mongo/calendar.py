"""What calendars are told of each talk: those of programs, compared with the talks page by page,
and the server's, which is its events."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymongo import InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from speakerbot.domain.talk import FIRST_DAY, LAST_DAY
from speakerbot.stores.mongo.connection import BATCH, PAGE, Database, Document
from speakerbot.stores.mongo.talk_documents import document_ids, on_days, to_talk
from speakerbot.stores.mongo.talks import TALKS
from speakerbot.stores.nouns import calendar_entry_of, event_document, event_record_of
from speakerbot.stores.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, time

    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.server_event import EventChange, EventRecord
    from speakerbot.domain.talk import Talk

CALENDAR = "speakerbot_calendar"


ID_TYPES = ("objectId", "string", "int", "long")


def _joined(days: Document, came: Sequence[Any] = ()) -> list[Document]:
    """Talks on these days in their order, but for those of these ids, each with its ``entry`` if it
    has one."""
    # Ids of other types hide their talks, and have no text to join by.
    readable = {"scheduledDate": days, "$or": [{"_id": {"$type": kind}} for kind in ID_TYPES]}
    if came:
        readable["_id"] = {"$nin": list(came)}
    by_key = {"from": CALENDAR, "localField": "key", "foreignField": "_id", "as": "entry"}
    return [
        {"$match": readable},
        {"$sort": {"scheduledDate": 1}},
        {"$addFields": {"key": {"$toString": "$_id"}}},
        {"$lookup": by_key},
        {"$unwind": {"path": "$entry", "preserveNullAndEmptyArrays": True}},
    ]


def _unlike(entry: Any, talk: Any) -> Document:
    """Missing is null."""
    return {"$ne": [{"$ifNull": [entry, None]}, {"$ifNull": [talk, None]}]}


DETAILS = ("length", "room", "link")
DIFFERS: Document = {
    "$match": {
        "$expr": {
            "$or": [
                _unlike("$entry.cancelled", False),
                _unlike(
                    "$entry.date",
                    {"$dateToString": {"date": "$scheduledDate", "format": "%Y-%m-%d"}},
                ),
                _unlike("$entry.starts_at", "$speakerbot.startsAt"),
                _unlike("$entry.topic", "$topic"),
                _unlike("$entry.username", "$discordUsername"),
                {"$ne": [{"$ifNull": ["$speakerbot.speakers", []]}, []]},
                *(_unlike(f"$entry.{name}", f"$speakerbot.{name}") for name in DETAILS),
            ]
        }
    }
}
"""What may differ: all but what surely shows the same. Talks of several speakers, and values that
people's hands have written in another way, come through here and are compared once they are
read."""


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

    def differing(
        self, since: date | None = None
    ) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        """The server compares, and answers with what may differ; the rest is decided here. Then the
        entries whose talks are not dated so, where counting says that there are any."""
        first = max(since or FIRST_DAY, FIRST_DAY)
        live: Document = {"cancelled": False, "date": {"$gte": first.isoformat()}}
        for document in self._may_differ(first):
            entry_document = document.pop("entry", None)
            document.pop("key", None)
            entry = self._entry(entry_document) if entry_document else None
            talk = to_talk(document, self._db.damage)
            if talk is None or (entry_document and entry is None):
                continue
            if entry is None or not entry.shows(talk):
                yield talk, entry
        if self._db.ask(lambda: self._db[CALENDAR].count_documents(live)) != self._dated(first):
            yield from self._elsewhere(live, first)

    def _may_differ(self, first: date) -> Iterator[Document]:
        """Documents of talks from that day on, each with its ``entry``, but for those that surely
        are as it says; in pages."""
        days, came = on_days(first, LAST_DAY), list[Any]()
        while True:
            steps = [*_joined(days, came), DIFFERS, {"$limit": PAGE}]
            page = self._aggregate(steps)
            yield from page
            if len(page) < PAGE:
                return
            # Others of the same day may be still to come.
            last = page[-1]["scheduledDate"]
            same = [each["_id"] for each in page if each["scheduledDate"] == last]
            came = [*came, *same] if days["$gte"] == last else same
            days = {**days, "$gte": last}

    def _dated(self, first: date) -> int:
        """How many talks from that day on are shown as dated so."""
        dated = {"entry.cancelled": False, "entry.date": {"$gte": first.isoformat()}}
        steps = [*_joined(on_days(first, LAST_DAY)), {"$match": dated}, {"$count": "talks"}]
        return sum(each["talks"] for each in self._aggregate(steps))

    def _aggregate(self, steps: Sequence[Document]) -> list[Document]:
        return self._db.ask(lambda: list(self._db[TALKS].aggregate(list(steps), batchSize=BATCH)))

    def _elsewhere(
        self, live: Document, first: date
    ) -> Iterator[tuple[Talk | None, CalendarEntry]]:
        """Live entries whose talks are gone, or dated before that day by now."""
        for page in self._pages(live):
            ids = document_ids([each["_id"] for each in page])
            documents = {str(each["_id"]): each for each in self._db.find(TALKS, ids)}
            for each in page:
                document, entry = documents.get(each["_id"]), self._entry(each)
                talk = to_talk(document, self._db.damage) if document else None
                # A talk whose date cannot be read is there on an unknown day: not cancelled.
                if entry is None or (document and talk is None):
                    continue
                if talk is None or (talk.date < first and not entry.shows(talk)):
                    yield talk, entry

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


def _clock(at: time) -> str:
    """As talks have it: HH:MM, with seconds only where there are some."""
    return at.isoformat() if at.second or at.microsecond else at.isoformat("minutes")


def _document(entry: CalendarEntry) -> Document:
    return {
        "_id": entry.talk_id,
        "sequence": entry.sequence,
        "date": entry.date.isoformat(),
        "starts_at": _clock(entry.starts_at) if entry.starts_at else None,
        "topic": entry.topic,
        "username": entry.username,
        "cancelled": entry.cancelled,
        "changed_at": entry.changed_at,
        **{name: getattr(entry, name) for name in DETAILS},
    }


SERVER_EVENTS = "speakerbot_server_events"


class MongoServerEvents:
    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> Iterator[EventRecord]:
        after = ""
        while True:
            page = self._db.find(
                SERVER_EVENTS, {"_id": {"$gt": after}}, sort=[("_id", 1)], limit=PAGE
            )
            for each in page:
                reader = Reader(self._db.damage, "server_event", each["_id"])
                if record := event_record_of(each, reader):
                    yield record
            if len(page) < PAGE:
                return
            after = page[-1]["_id"]

    def swap(self, changes: Sequence[EventChange]) -> set[str]:
        return {change.talk_id for change in changes if self._take(change)}

    def _take(self, change: EventChange) -> bool:
        """May be repeated: who won is told by the revision, and each is used only once."""
        events, own = self._db[SERVER_EVENTS], {"_id": change.talk_id}
        before, after = change.before, change.after
        from_it = {**own, "revision": before.revision if before else ""}
        if after is None:
            self._db.ask(lambda: events.delete_one(from_it))
            return not self._db.find(SERVER_EVENTS, own, limit=1)
        document = {**own, **event_document(after)}
        if before is None:
            with suppress(DuplicateKeyError):
                self._db.ask(lambda: events.insert_one(dict(document)))
        else:
            self._db.ask(lambda: events.replace_one(from_it, document))
        return bool(self._db.find(SERVER_EVENTS, {**own, "revision": after.revision}, limit=1))
