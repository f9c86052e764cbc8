"""Talks: the Node bot's ``scheduledspeakers``. Documents are updated, never replaced."""

from __future__ import annotations

from datetime import date, datetime
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any

from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from speakerbot.clock import real_now
from speakerbot.domain.talk import FIRST_DAY, LAST_DAY, by_start
from speakerbot.errors import ConfigError, DateTaken, Unreachable
from speakerbot.stores.mongo.connection import PAGE, Database
from speakerbot.stores.mongo.talk_documents import (
    DATE_UNREADABLE,
    OURS,
    SUBDOCUMENTS,
    can_be_set_in,
    document_id,
    document_ids,
    edit_of,
    flag_is,
    midnight,
    on_days,
    read_talk,
    to_talk,
    update_of,
)
from speakerbot.stores.reading import Unreadable
from speakerbot.stores.talk_dates import date_taken, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import FlagWrite
    from speakerbot.stores.mongo.connection import Document

TALKS = "scheduledspeakers"
AFTER_ANY = "\U0010ffff"
"""Ends a text that is greater than any that begins as it does."""
TRIES = 3
HIDDEN_NAMED = 100
"""So many talks whose dates cannot be read are named; whoever has more has another problem."""


class MongoTalks:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._hidden_named = False

    @property
    def one_a_date(self) -> bool:
        return self._db.one_talk_a_date

    def between(self, first: date, last: date) -> Iterator[Talk]:
        self._name_hidden()
        days = on_days(max(first, FIRST_DAY), min(last, LAST_DAY))
        return by_start(self._talks(self._pages(days, "scheduledDate")))

    def _pages(self, within: Document, *path: str) -> Iterator[Document]:
        """Those whose field is within these values, in its order. Others may have the same value,
        and ids are of any type: what has come with the last value is left out of the next page."""
        field, after, came = ".".join(path), within, list[Any]()
        while True:
            query: Document = {field: after, **({"_id": {"$nin": came}} if came else {})}
            page = self._db.find(TALKS, query, sort=[(field, 1)], limit=PAGE)
            yield from page
            if len(page) < PAGE:
                return
            values = [reduce(getitem, path, each) for each in page]
            same = [d["_id"] for d, value in zip(page, values, strict=True) if value == values[-1]]
            came = [*came, *same] if after.get("$gte") == values[-1] else same
            after = {**within, "$gte": values[-1]}

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

    def get(self, talk_id: str) -> Talk | None:
        return next(self._talks(self._find(document_ids([talk_id]), limit=1)), None)

    def why_hidden(self, talk_id: str) -> str | None:
        try:
            for document in self._find(document_ids([talk_id]), limit=1):
                read_talk(document, self._db.damage)
        except Unreadable as problem:
            return str(problem)
        return None

    def by_ids(self, ids: Sequence[str]) -> dict[str, Talk]:
        return {talk.id: talk for talk in self._talks(self._db.find(TALKS, document_ids(ids)))}

    def by_source(self, prefix: str) -> Iterator[Talk]:
        within = {"$gte": prefix, "$lt": prefix + AFTER_ANY}
        return self._talks(self._pages(within, "speakerbot", "sourceId"))

    def _find(self, query: Document, **options: Any) -> list[Document]:
        return self._db.find(TALKS, query, sort=[("scheduledDate", 1)], **options)

    def put(self, talks: Sequence[Talk]) -> None:
        """Looks at everything first, then writes in an order in which repeating a call that was
        interrupted completes it."""
        latest = list({talk.id: talk for talk in talks}.values())
        for _ in range(TRIES if latest else 0):
            held, ids = self._held(latest)
            updates = _updates(self._in_order(latest, held), ids)
            try:
                self._write(updates)
            except BulkWriteError:
                continue  # somebody took a date in between: look again
            return
        if latest:
            raise self._contended()

    def _in_order(self, talks: Sequence[Talk], held: Mapping[date, str]) -> Sequence[Talk]:
        """In that order no date is taken; else raises DateTaken or, where a date may hold several
        talks, ConfigError if the server would refuse that."""
        try:
            return in_order(talks, held)
        except DateTaken as taken:
            if self.one_a_date:
                raise
            self._refuse_unique_dates(str(taken).partition(":")[0])
            return talks

    def _refuse_unique_dates(self, day: str) -> None:
        """Raises ConfigError if there is an index that allows one talk a date, whatever its name;
        it names the command that drops it."""
        there = self._db.ask(lambda: self._db[TALKS].index_information())
        for name, index in there.items():
            if index.get("unique") and list(index["key"]) == [("scheduledDate", 1)]:
                drop = f'db.getSiblingDB("{self._db.name}").{TALKS}.dropIndex("{name}")'
                raise ConfigError(
                    f"{day}: there is a talk on that date already, and the unique index {name} "
                    f"allows one ({self._db.where}). NODE_BOT_COEXIST is false, so nothing else "
                    f"needs it. Drop it in mongosh, then run again: {drop}"
                )

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

    def edit(self, before: Talk, after: Talk) -> bool:
        own, update = document_ids([before.id]), edit_of(before, after)
        hidden = {**own, "$nor": [can_be_set_in(OURS)]}
        self._matched(hidden, {"$unset": {OURS: ""}})
        return self._matched(own, update) if update else bool(self._find(own, limit=1))

    def reschedule(self, talk_id: str, to: date) -> bool:
        update = {"$set": {"scheduledDate": midnight(to)}}
        own = document_ids([talk_id])
        for _ in range(TRIES):
            holders = self._find({"scheduledDate": on_days(to, to)}, projection=["_id"])
            for holder in holders if self.one_a_date else ():
                if str(holder["_id"]) != talk_id:
                    raise date_taken(to, str(holder["_id"]), talk_id)
            try:
                done = self._db.ask(lambda: self._db[TALKS].update_one(own, update))
            except DuplicateKeyError:
                if not self.one_a_date:
                    self._refuse_unique_dates(str(to))
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
