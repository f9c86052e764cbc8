"""Messages in people's inboxes."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from speakerbot.stores.mongo.connection import Database, Document
from speakerbot.stores.nouns import inbox_message_of
from speakerbot.stores.reading import Reader, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from speakerbot.domain.inbox import InboxMessage

INBOX = "speakerbot_inbox"


class MongoInbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, message: InboxMessage) -> bool:
        document = {**_document(message), "put_by": uuid4().hex}
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


def _document(message: InboxMessage) -> Document:
    return {
        "_id": message.key,
        "id": message.id,
        "recipient": message.recipient,
        "text": message.text,
        "created_at": message.created_at,
        "read_at": message.read_at,
    }
