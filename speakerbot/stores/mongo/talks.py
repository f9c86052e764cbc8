"""Talks: the Node bot's ``scheduledspeakers``. Documents are updated, never replaced."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from speakerbot.clock import real_now
from speakerbot.domain.talk import FIRST_DAY, LAST_DAY
from speakerbot.errors import Unreachable
from speakerbot.stores.mongo.connection import PAGE, Database
from speakerbot.stores.mongo.talk_documents import (
    DATE_UNREADABLE,
    SUBDOCUMENTS,
    can_be_set_in,
    document_id,
    document_ids,
    flag_is,
    midnight,
    on_days,
    read_talk,
    to_talk,
    update_of,
)
from speakerbot.stores.reading import Unreadable
from speakerbot.stores.talk_dates import as_date, date_taken, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import FlagWrite
    from speakerbot.stores.mongo.connection import Document

TALKS = "scheduledspeakers"
TRIES = 3
HIDDEN_NAMED = 100
"""So many talks whose dates cannot be read are named; whoever has more has another problem."""


class MongoTalks:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._hidden_named = False

    def between(self, first: date, last: date) -> Iterator[Talk]:
        self._name_hidden()
        lower, last = "$gte", min(last, LAST_DAY)
        after: datetime = midnight(max(first, FIRST_DAY))
        while True:
            page = self._find({"scheduledDate": {**on_days(first, last), lower: after}}, limit=PAGE)
            yield from self._talks(page)
            if len(page) < PAGE:
                return
            lower, after = "$gt", page[-1]["scheduledDate"]

    def _talks(self, documents: Iterable[Document]) -> Iterator[Talk]:
        talks = (to_talk(each, self._db.damage) for each in documents)
        return (talk for talk in talks if talk is not None)

    def _name_hidden(self) -> None:
        """Warns, once, of the talks that no query for days finds."""
        if not self._hidden_named:
            self._hidden_named = True
            list(self._talks(self._find(DATE_UNREADABLE, limit=HIDDEN_NAMED)))

    def all(self) -> Iterator[Talk]:
        return self.between(FIRST_DAY, LAST_DAY)

    def get(self, talk: str) -> Talk | None:
        found = self._find(document_ids([talk]), limit=1)
        if not found and (day := as_date(talk)):
            found = self._find({"scheduledDate": on_days(day, day)}, limit=1)
        return next(self._talks(found), None)

    def why_hidden(self, talk_id: str) -> str | None:
        try:
            for document in self._find(document_ids([talk_id]), limit=1):
                read_talk(document, self._db.damage)
        except Unreadable as problem:
            return str(problem)
        return None

    def by_ids(self, ids: Sequence[str]) -> dict[str, Talk]:
        return {talk.id: talk for talk in self._talks(self._db.find(TALKS, document_ids(ids)))}

    def _find(self, query: Document, **options: Any) -> list[Document]:
        return self._db.find(TALKS, query, sort=[("scheduledDate", 1)], **options)

    def put(self, talks: Sequence[Talk]) -> None:
        """Looks at everything first, then writes in an order in which repeating a call that was
        interrupted completes it."""
        latest = list({talk.id: talk for talk in talks}.values())
        for _ in range(TRIES if latest else 0):
            held, ids = self._held(latest)
            updates = _updates(in_order(latest, held), ids)
            try:
                self._write(updates)
            except BulkWriteError:
                continue  # somebody took a date in between: look again
            return
        if latest:
            raise self._contended()

    def _held(self, talks: Sequence[Talk]) -> tuple[dict[date, str], dict[str, Any]]:
        """Which talk's id holds a date, for the dates and the ids concerned, and what is the
        ``_id`` of those talks that are there."""
        days = [talk.date for talk in talks]
        stored = self._find(
            {
                "$or": [
                    {"scheduledDate": on_days(min(days), max(days))},
                    document_ids([talk.id for talk in talks]),
                ]
            },
            projection=["scheduledDate"],
        )
        dated = [each for each in stored if isinstance(each.get("scheduledDate"), datetime)]
        held = {each["scheduledDate"].date(): str(each["_id"]) for each in dated}
        return held, {str(each["_id"]): each["_id"] for each in stored}

    def _write(self, updates: Sequence[UpdateOne | UpdateMany]) -> None:
        self._db.ask(lambda: self._db[TALKS].bulk_write(updates, ordered=True))

    def _contended(self) -> Unreachable:
        return Unreachable(f"{self._db.where}: others keep changing the same talks. Run again.")

    def reschedule(self, talk_id: str, to: date) -> bool:
        update = {"$set": {"scheduledDate": midnight(to)}}
        own = document_ids([talk_id])
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
        own = document_ids([talk_id])
        return self._db.ask(lambda: self._db[TALKS].find_one_and_delete(own)) is not None

    def write_flags(self, writes: Sequence[FlagWrite]) -> set[str]:
        return {write.talk_id for write in writes if self._write_flag(write)}

    def _write_flag(self, write: FlagWrite) -> bool:
        path = f"reminders.{write.name}"
        own = document_ids([write.talk_id])
        # Has it already: this very write, whose answer was lost.
        stands: Document = {**own, "$and": [flag_is(path, write.seen, write.to)]}
        if write.to is None:
            update = {"$unset": {path: ""}}
            return self._matched(stands, update)
        stands["$and"].append(can_be_set_in("reminders"))
        dotted = stands, {"$set": {path: write.to}}
        whole = (
            own | {"$nor": [can_be_set_in("reminders")]},
            {"$set": {"reminders": {write.name: write.to}}},
        )
        # The last one, since the answer of the second may have been lost.
        tries = (dotted, whole, dotted) if write.seen is None else (dotted,)
        return any(self._matched(query, update) for query, update in tries)

    def _matched(self, query: Document, update: Document) -> bool:
        return self._db.ask(lambda: self._db[TALKS].update_one(query, update)).matched_count > 0


def _updates(talks: Sequence[Talk], ids: Mapping[str, Any]) -> list[UpdateOne | UpdateMany]:
    now = real_now()
    own = {talk.id: ids.get(talk.id, document_id(talk.id)) for talk in talks}
    among: Document = {"_id": {"$in": list(own.values())}}
    return [
        *(
            UpdateMany({**among, "$nor": [can_be_set_in(name)]}, {"$unset": {name: ""}})
            for name in SUBDOCUMENTS
        ),
        *(UpdateOne({"_id": own[talk.id]}, update_of(talk, now), upsert=True) for talk in talks),
    ]
