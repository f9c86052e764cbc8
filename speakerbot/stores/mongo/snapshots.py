"""What each speaker knows of their talk, compared with the talks page by page.

Entries are ``<first snapshot>/<talk>/<speaker>``. A first snapshot is written under a new name and
becomes the one that counts by one last write, which only one process wins: no transaction needed.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

from pymongo import InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from speakerbot.domain.talk import FIRST_DAY, LAST_DAY
from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot, TalkVersion, known_to
from speakerbot.stores.mongo.connection import PAGE, Database, Document
from speakerbot.stores.mongo.talk_documents import document_ids, to_talk
from speakerbot.stores.mongo.talks import TALKS, MongoTalks
from speakerbot.stores.nouns import entry_of
from speakerbot.stores.reading import TEXT, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from speakerbot.domain.talk import Talk

Step = InsertOne[Document] | ReplaceOne[Document]

SNAPSHOT = "speakerbot_snapshot"
NAMES = ("talk_id", "user_id", "pending", "sequence", "at", "username", "thread_id")
TAKEN = "taken"
"""The ``_id`` of the document that names the first snapshot that counts."""


class MongoSnapshots:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._first = ""

    def taken(self) -> bool:
        if not self._first and (found := self._db.find(SNAPSHOT, {"_id": TAKEN})):
            reader = Reader(self._db.damage, "snapshot", TAKEN)
            self._first = reader.read("first", found[0].get("first"), TEXT, "", "taken again")
        return bool(self._first)

    def take(self, at: datetime) -> None:
        if self.taken():
            return
        name, talks = uuid4().hex, MongoTalks(self._db).all()
        while page := list(islice(talks, PAGE)):
            entries = (known_to(talk, each, at) for talk in page for each in talk.speakers)
            self._write([InsertOne(_document(name, entry)) for entry in entries])
        # Unless another process was first: then theirs counts.
        free = {"_id": TAKEN, "first": {"$not": {"$type": "string"}}}
        taken = {"$set": {"first": name, "at": at}}
        with suppress(DuplicateKeyError):
            self._db.ask(lambda: self._db[SNAPSHOT].update_one(free, taken, upsert=True))
        if self.taken():
            self._forget_others()

    def _forget_others(self) -> None:
        outside = [{"_id": {"$lt": f"{self._first}/"}}, {"_id": {"$gte": f"{self._first}0"}}]
        doomed: Document = {"_id": {"$ne": TAKEN}, "$or": outside}
        self._db.ask(lambda: self._db[SNAPSHOT].delete_many(doomed))

    def differing(self, since: date | None = None) -> Iterator[TalkPair]:
        """The talks with their entries; then the entries whose talks are not among these: those
        that are pending, and where counting says so, all that are dated from that day on."""
        if not self.taken():
            return
        first, counted = max(since or FIRST_DAY, FIRST_DAY), 0
        seen: Document = {"seen.date": {"$gte": first.isoformat()}}
        talks = MongoTalks(self._db).between(first, LAST_DAY)
        while page := list(islice(talks, PAGE)):
            for pair in self._with_entries(page):
                entry = pair.entry
                counted += bool(entry and entry.seen and entry.seen.date >= first)
                if not pair.at_rest():
                    yield pair
        missing: Document = {"pending": True}
        if self._count(seen) != counted:
            missing = {"$or": [missing, seen]}
        for pair in self._with_talks(missing):
            compared = pair.talk is not None and pair.talk.date >= first
            if not compared and not pair.at_rest():
                yield pair

    def _with_entries(self, talks: Sequence[Talk]) -> Iterator[TalkPair]:
        keys = {
            _key(self._first, talk.id, each.user_id): (talk, each.user_id)
            for talk in talks
            for each in talk.speakers
        }
        stored = self._db.find(SNAPSHOT, {"_id": {"$in": list(keys)}})
        found = {each["_id"]: self._entry(each) for each in stored}
        for own, (talk, user_id) in keys.items():
            if own not in found or found[own] is not None:
                yield TalkPair(found.get(own), talk.seen_by(user_id))

    def _entry(self, document: Document) -> TalkSnapshot | None:
        return entry_of(document, Reader(self._db.damage, "snapshot", document["_id"]))

    def _count(self, query: Document) -> int:
        own = query | self._own(f"{self._first}/")
        return self._db.ask(lambda: self._db[SNAPSHOT].count_documents(own))

    def pending(self) -> Iterator[TalkPair]:
        return self._with_talks({"pending": True})

    def _with_talks(self, query: Document) -> Iterator[TalkPair]:
        """Entries, each with its talk if that is still this speaker's."""
        for page in self._pages(query):
            entries = [entry for each in page if (entry := self._entry(each))]
            found = self._db.find(TALKS, document_ids([entry.talk_id for entry in entries]))
            talks = {str(each["_id"]): to_talk(each, self._db.damage) for each in found}
            for entry in entries:
                talk = talks.get(entry.talk_id)
                # A talk whose date cannot be read is there on an unknown day: not cancelled.
                if talk is None and entry.talk_id in talks:
                    continue
                theirs = talk.seen_by(entry.user_id) if talk else None
                if theirs or talk is None or talk.speakers_known:
                    yield TalkPair(entry, theirs)

    def advance(self, steps: Sequence[tuple[TalkSnapshot | None, TalkSnapshot]]) -> None:
        if self.taken():
            self._write([self._step(before, after) for before, after in steps])

    def all(self) -> Iterator[TalkSnapshot]:
        entries = (self._entry(each) for page in self._pages({}) for each in page)
        return (entry for entry in entries if entry is not None)

    def _pages(self, query: Document) -> Iterator[list[Document]]:
        after = f"{self._first}/"
        while self.taken():
            rest = query | self._own(after)
            page = self._db.find(SNAPSHOT, rest, sort=[("_id", 1)], limit=PAGE)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1]["_id"]

    def _own(self, after: str) -> Document:
        """All that starts with the first snapshot's name: "0" is the character after "/"."""
        return {"_id": {"$gt": after, "$lt": f"{self._first}0"}}

    def _step(self, before: TalkSnapshot | None, after: TalkSnapshot) -> Step:
        document = _document(self._first, after)
        if before is None:
            return InsertOne(document)
        return ReplaceOne({"_id": document["_id"], "sequence": before.sequence}, document)

    def _write(self, steps: Sequence[Step]) -> None:
        """May be repeated: what it has written already does not match, or is there."""
        if steps:
            with suppress(BulkWriteError):  # of entries that another run has just made
                self._db.ask(lambda: self._db[SNAPSHOT].bulk_write(steps, ordered=False))


def _key(first: str, talk_id: str, user_id: str) -> str:
    return f"{first}/{talk_id}/{user_id}"


def _document(first: str, entry: TalkSnapshot) -> Document:
    values: Document = {name: getattr(entry, name) for name in NAMES}
    return {
        "_id": _key(first, entry.talk_id, entry.user_id),
        **values,
        "told": _stored(entry.told),
        "seen": _stored(entry.seen),
    }


def _stored(version: TalkVersion | None) -> Document | None:
    if version is None:
        return None
    return {"date": version.date.isoformat(), "topic": version.topic, "start": version.start}
