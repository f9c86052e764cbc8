"""People and their wishes. Each document has a ``revision`` of its own, new with every write."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from speakerbot.domain.person import Person, QuietHours
from speakerbot.stores.mongo.connection import PAGE, Database, Document, replacement
from speakerbot.stores.mongo.extended import from_bson, to_bson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PEOPLE = "speakerbot_people"


class MongoPeople:
    def __init__(self, db: Database) -> None:
        self._db = db

    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        found = self._db.find(PEOPLE, {"discord_user_id": {"$in": list(user_ids)}})
        return {each["discord_user_id"]: _person(each) for each in found}

    def get(self, user: str) -> Person | None:
        found = self._found(user)
        return _person(found) if found else None

    def _found(self, user: str) -> Document | None:
        for field in ("discord_user_id", "_id"):
            found = self._db.find(PEOPLE, {field: user}, limit=1)
            if found:
                return found[0]
        return None

    def all(self) -> Iterator[Person]:
        after = ""
        while True:
            page = self._db.find(PEOPLE, {"_id": {"$gt": after}}, sort=[("_id", 1)], limit=PAGE)
            yield from map(_person, page)
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
            before = _person(found) if found else newcomer()
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
            stands = {"_id": before["_id"], "revision": before.get("revision")}
            if self._db.ask(lambda: people.replace_one(stands, after)).matched_count:
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


def _person(document: Document) -> Person:
    return Person(
        id=document["_id"],
        discord_user_id=document["discord_user_id"],
        name=document["name"],
        timezone=document["timezone"],
        opted_out=frozenset(document["opted_out"]),
        quiet_hours=_quiet_hours(document["quiet_hours"]),
        routes=tuple(document["routes"]),
        extra=from_bson(document["extra"]),
    )


def _quiet_hours(text: str | None) -> QuietHours | None:
    if text is None:
        return None
    start, _, end = text.partition("-")
    return QuietHours(time.fromisoformat(start), time.fromisoformat(end))
