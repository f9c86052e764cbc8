"""People, their preferences, what is in their inboxes, and what speakers have answered.
A person's document has its own ``revision``, new with every write.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import uuid4

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from speakerbot.domain.person import Person
from speakerbot.stores.mongo.connection import (
    PAGE,
    Database,
    Document,
    ids_as_stored,
    replacement,
)
from speakerbot.stores.mongo.extended_json import from_bson, to_bson
from speakerbot.stores.nouns import answer_of, inbox_message_of, person_of
from speakerbot.stores.reading import Reader, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from speakerbot.domain.confirmation import Answer, Answers
    from speakerbot.domain.inbox import InboxMessage

PEOPLE = "speakerbot_people"
INBOX = "speakerbot_inbox"
ANSWERS = "speakerbot_answers"


class MongoPeople:
    def __init__(self, db: Database) -> None:
        self._db = db

    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        found = self._db.find(PEOPLE, {"discord_user_id": {"$in": ids_as_stored(user_ids)}})
        people = map(self._person, found)
        return {person.discord_user_id: person for person in people if person.discord_user_id}

    def by_ids(self, ids: Sequence[str]) -> dict[str, Person]:
        people = map(self._person, self._db.find(PEOPLE, {"_id": {"$in": list(ids)}}))
        return {person.id: person for person in people}

    def get(self, user: str) -> Person | None:
        found = self._found(user)
        return self._person(found) if found else None

    def _person(self, document: Document) -> Person:
        values = document
        if isinstance(document.get("extra"), dict):
            values = {**document, "extra": from_bson(document["extra"])}
        return person_of(values, Reader(self._db.damage, "person", str(document["_id"])))

    def _found(self, user: str) -> Document | None:
        for query in ({"discord_user_id": {"$in": ids_as_stored([user])}}, {"_id": user}):
            found = self._db.find(PEOPLE, query, limit=1)
            if found:
                return found[0]
        return None

    def all(self) -> Iterator[Person]:
        after = ""
        while True:
            page = self._db.find(PEOPLE, {"_id": {"$gt": after}}, sort=[("_id", 1)], limit=PAGE)
            yield from map(self._person, page)
            if len(page) < PAGE:
                return
            after = page[-1]["_id"]

    def put(self, people: Sequence[Person]) -> None:
        self._db.write_all(PEOPLE, [replacement(_document(person)) for person in people])

    def change(
        self, user: str, update: Callable[[Person], Person], newcomer: Callable[[], Person]
    ) -> tuple[Person, Person]:
        while True:
            found = self._found(user)
            before = self._person(found) if found else newcomer()
            after = update(before)
            if after == before or self._swap(found, _document(after)):
                return before, after

    def _swap(self, before: Document | None, after: Document) -> bool:
        """From exactly ``before`` (None: there is none) to ``after``. Truthful also where an answer
        was lost and the write repeated."""
        people = self._db[PEOPLE]
        try:
            if before is None:
                self._db.ask(lambda: people.insert_one(after))
                return True
            # All of what was read: whoever edits a document by hand leaves its revision alone.
            stands = {field: {"$eq": value} for field, value in before.items()}
            stands["_id"] = before["_id"]
            own = {**after, "_id": before["_id"]}  # whatever type somebody gave it
            if self._db.ask(lambda: people.replace_one(stands, own)).matched_count:
                return True
        except DuplicateKeyError:
            pass  # somebody else's, or our own, whose answer was lost
        ours = {"_id": after["_id"], "revision": after["revision"]}
        return bool(self._db.find(PEOPLE, ours, projection=["_id"], limit=1))


def _document(person: Person) -> Document:
    return {
        "_id": person.id,
        "discord_user_id": person.discord_user_id,
        "name": person.name,
        "timezone": person.timezone,
        "opted_out": sorted(person.opted_out),
        "quiet_hours": str(person.quiet_hours) if person.quiet_hours else None,
        "routes": list(person.routes),
        "extra": to_bson(person.extra),
        "revision": uuid4().hex,
    }


class MongoInbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, message: InboxMessage) -> bool:
        document = {**_message_document(message), "put_by": uuid4().hex}
        try:
            self._db.ask(lambda: self._db[INBOX].insert_one(document))
        except DuplicateKeyError:
            # Another's, or our own whose answer was lost.
            own = {"_id": message.key, "put_by": document["put_by"]}
            return bool(self._db.find(INBOX, own, limit=1))
        return True

    def get(self, keys: Sequence[str]) -> dict[str, InboxMessage]:
        found = map(self._read, self._db.find(INBOX, {"_id": {"$in": list(keys)}}))
        return {message.key: message for message in found if message}

    def of(
        self, recipients: Sequence[str], *, unread_only: bool = False, limit: int = 100
    ) -> Iterator[InboxMessage]:
        # A walk along the index for each, merged: an $in would read and sort all there is.
        walks = (self._newest(recipient, unread_only) for recipient in dict.fromkeys(recipients))
        return islice(merge(*walks, key=attrgetter("created_at"), reverse=True), limit)

    def since(self, since: datetime, limit: int) -> Iterator[InboxMessage]:
        newest = [("created_at", -1)]
        found = self._db.find(INBOX, {"created_at": {"$gte": since}}, sort=newest, limit=limit)
        return filter(None, map(self._read, found))

    def _newest(self, recipient: str, unread_only: bool) -> Iterator[InboxMessage]:
        query = {"recipient": recipient, **({"read_at": None} if unread_only else {})}
        return filter(None, map(self._read, self._db.newest(INBOX, query, "created_at")))

    def _read(self, document: Document) -> InboxMessage | None:
        try:
            reader = Reader(self._db.damage, "inbox message", str(document["_id"]))
            return inbox_message_of(document, reader)
        except Unreadable:
            return None

    def mark_read(self, recipients: Sequence[str], message_id: str | None, at: datetime) -> int:
        one: Document = {} if message_id is None else {"id": {"$eq": message_id}}
        return sum(
            self._mark_read({"recipient": recipient, **one}, at)
            for recipient in dict.fromkeys(recipients)
        )

    def _mark_read(self, which: Document, at: datetime) -> int:
        """Counts by a mark of this call's own: an update that is repeated because its answer was
        lost finds nothing left to change."""
        mark, inbox = uuid4().hex, self._db[INBOX]
        unread: Document = {**which, "read_at": None}
        update = {"$set": {"read_at": at, "read_by": mark}}
        self._db.ask(lambda: inbox.update_many(unread, update))
        marked: Document = {**which, "read_at": at, "read_by": {"$eq": mark}}
        return self._db.ask(lambda: inbox.count_documents(marked))

    def erase(self, recipients: Sequence[str]) -> int:
        inbox = self._db[INBOX]
        return sum(
            self._db.in_pages(INBOX, {"recipient": each}, inbox.delete_many, None, by="created_at")
            for each in set(recipients)
        )

    def count_before(self, before: datetime) -> int:
        old: Document = {"created_at": {"$lt": before}}
        return self._db.ask(lambda: self._db[INBOX].count_documents(old))

    def forget_before(self, before: datetime, limit: int | None = None) -> int:
        old: Document = {"created_at": {"$lt": before}}
        return self._db.in_pages(INBOX, old, self._db[INBOX].delete_many, limit, by="created_at")


def _message_document(message: InboxMessage) -> Document:
    return {
        "_id": message.key,
        "id": message.id,
        "recipient": message.recipient,
        "text": message.text,
        "created_at": message.created_at,
        "read_at": message.read_at,
    }


class MongoAnswers:
    def __init__(self, db: Database) -> None:
        self._db = db

    def about(self, talk_ids: Sequence[str]) -> Answers:
        query = {"talk_id": {"$in": list(talk_ids)}}
        found = map(self._read, self._db.find(ANSWERS, query) if talk_ids else ())
        return {answer.key: answer for answer in found if answer}

    def _read(self, document: Document) -> Answer | None:
        return answer_of(document, Reader(self._db.damage, "answer", str(document["_id"])))

    def put(self, answers: Sequence[Answer]) -> None:
        writes = [write for each in answers for write in _answer_writes(each)]
        self._db.write_all(ANSWERS, writes)

    def erase(self, user_id: str) -> int:
        theirs = {"user_id": {"$in": ids_as_stored([user_id])}}
        answers = self._db[ANSWERS]
        return self._db.in_pages(ANSWERS, theirs, answers.delete_many, None, by="date")

    def count_before(self, before: date) -> int:
        old: Document = {"date": {"$lt": before.isoformat()}}
        return self._db.ask(lambda: self._db[ANSWERS].count_documents(old))

    def forget_before(self, before: date, limit: int | None = None) -> int:
        old: Document = {"date": {"$lt": before.isoformat()}}
        return self._db.in_pages(ANSWERS, old, self._db[ANSWERS].delete_many, limit, by="date")


def _answer_writes(answer: Answer) -> list[UpdateOne]:
    """Insert it; let it replace what must not stay. Each may come first, or again."""
    day = answer.date.isoformat()
    key = "/".join((answer.kind, answer.talk_id, answer.user_id, day))
    said: Document = {"answer": answer.answer, "at": answer.at}
    asked: Document = {
        "kind": answer.kind,
        "talk_id": answer.talk_id,
        "user_id": answer.user_id,
        "date": day,
    }
    stays = ["no"] if answer.answer == "no" else ["yes", "no"]
    return [
        UpdateOne({"_id": key}, {"$setOnInsert": {**asked, **said}}, upsert=True),
        UpdateOne({"_id": key, "answer": {"$nin": stays}}, {"$set": said}),
    ]
