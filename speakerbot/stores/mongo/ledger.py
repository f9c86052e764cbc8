"""Deliveries by key, changed by compare-and-swap only."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import uuid4

from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from speakerbot.domain.delivery import FINAL, PERSONAL, UNSETTLED, Delivery, DeliveryChange
from speakerbot.stores.mongo.connection import BATCH, Database, Document, only_duplicates
from speakerbot.stores.nouns import LEFT_OUT, STATES, delivery_of
from speakerbot.stores.reading import TEXT, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

DELIVERIES = "speakerbot_deliveries"

Step = InsertOne[Document] | ReplaceOne[Document] | UpdateOne


class MongoLedger:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, keys: Sequence[str]) -> dict[str, Delivery]:
        found = self._db.find(DELIVERIES, {"_id": {"$in": list(keys)}})
        return {each["_id"]: self._read(each)[0] for each in found}

    def _read(self, document: Document) -> tuple[Delivery, bool]:
        """The record, and whether all of it could be read."""
        key = document["_id"]
        reader = Reader(self._db.damage, "delivery", str(key))
        if not isinstance(key, str):
            reader.warn("_id", key, TEXT.expected, LEFT_OUT)
        record = delivery_of(document, reader)
        return record, not reader.damaged

    def swap(self, changes: Sequence[DeliveryChange]) -> set[str]:
        """A deletion is a change of the revision first: of two processes that delete, each would
        otherwise find the record gone, and a lost answer would leave no trace of who won. A crash
        in between leaves the record in its old state, so that it is recovered like any other."""
        if not changes:
            return set()
        wanted = {each.key: each.after.revision if each.after else uuid4().hex for each in changes}
        won = self._db.ask(lambda: self._write(changes, wanted))
        doomed = [each.key for each in changes if each.after is None]
        if doomed:
            gone = {"_id": {"$in": doomed}, "revision": {"$in": [wanted[key] for key in doomed]}}
            self._db.ask(lambda: self._db[DELIVERIES].delete_many(gone))
        return won

    def _write(self, changes: Sequence[DeliveryChange], wanted: Mapping[str, str]) -> set[str]:
        """May be repeated: who won is told by the revisions, and each is used only once."""
        steps = [_step(change, wanted[change.key]) for change in changes]
        matched = None
        try:
            matched = self._db[DELIVERIES].bulk_write(steps, ordered=False).matched_count
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
        if matched == sum(change.before is not None for change in changes):
            return set(wanted)
        own = {"_id": {"$in": list(wanted)}}
        stored = self._db[DELIVERIES].find(own, ["revision"], batch_size=BATCH)
        return {each["_id"] for each in stored if each.get("revision") == wanted[each["_id"]]}

    def list(self, *, state: str | None = None, limit: int = 100) -> Iterator[Delivery]:
        return islice(self._newest({"state": state} if state else {}), limit)

    def find(self, recipient_or_subject: str, *, limit: int = 100) -> Iterator[Delivery]:
        # Two walks along an index each, merged: an $or would read and sort all there is.
        name = recipient_or_subject
        found = merge(
            self._newest({"recipient": name}),
            self._newest({"subject": name, "recipient": {"$ne": name}}),
            key=attrgetter("updated_at"),
            reverse=True,
        )
        return islice(found, limit)

    def flagged(self, subjects: Sequence[str]) -> Sequence[Delivery]:
        if not subjects:
            return []
        query = {"subject": {"$in": list(subjects)}, "flag_at": {"$ne": None}}
        found = map(self._read, self._db.find(DELIVERIES, query))
        return [record for record, sound in found if sound]

    def _newest(self, query: Document) -> Iterator[Delivery]:
        found = map(self._read, self._db.newest(DELIVERIES, query, "updated_at"))
        return (record for record, sound in found if sound)

    def unsettled(self, expired_by: datetime) -> Iterator[Delivery]:
        walks = (self._expired(state, expired_by) for state in UNSETTLED)
        return merge(*walks, key=attrgetter("expires_at"))

    def _expired(self, state: str, expired_by: datetime) -> Iterator[Delivery]:
        mine = self._db.oldest(DELIVERIES, {"state": str(state)}, "expires_at", expired_by)
        found = map(self._read, mine)
        return (record for record, sound in found if sound)

    def counts(self, *, since: datetime) -> dict[str, int]:
        then = {"$gte": since}
        anew = {"updated_at": then, "$or": [{"state": {"$ne": "sent"}}, {"sent_at": then}]}
        steps: list[Document] = [
            {"$match": anew},
            {"$group": {"_id": "$state", "count": {"$sum": 1}}},
        ]
        found = self._db.ask(lambda: list(self._db[DELIVERIES].aggregate(steps)))
        known = (each for each in found if isinstance(each["_id"], str) and each["_id"] in STATES)
        return {each["_id"]: each["count"] for each in known}

    def prune(self, before: datetime, limit: int | None = None) -> int:
        return self._db.in_pages(DELIVERIES, _over(before), self._db[DELIVERIES].delete_many, limit)

    def forget_texts(self, before: datetime, limit: int | None = None) -> int:
        deliveries = self._db[DELIVERIES]
        to_one = {"$regex": f"^({'|'.join(PERSONAL)})"}
        query = {"text": {"$gt": ""}, "recipient": to_one, **_over(before)}
        empty: Document = {"$set": {"text": ""}}

        def forget(page: Document) -> None:
            deliveries.update_many(page, empty)

        return self._db.in_pages(DELIVERIES, query, forget, limit)


def _over(before: datetime) -> Document:
    over: list[Document] = [{"state": {"$in": sorted(FINAL)}}, {"expires_at": {"$lt": before}}]
    return {"updated_at": {"$lt": before}, "$or": over}


def _step(change: DeliveryChange, revision: str) -> Step:
    before, after = change.before, change.after
    stands = {"_id": change.key, "revision": before.revision if before else None}
    if after is None:
        return UpdateOne(stands, {"$set": {"revision": revision}})
    return ReplaceOne(stands, _document(after)) if before else InsertOne(_document(after))


def _document(record: Delivery) -> Document:
    present = {name: value for name, value in record._asdict().items() if value is not None}
    return {"_id": present.pop("key"), "subject": record.subject, **present}
