"""People and their preferences. Each document has its own ``revision``, new with every write."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

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
from speakerbot.stores.nouns import person_of
from speakerbot.stores.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PEOPLE = "speakerbot_people"


class MongoPeople:
    def __init__(self, db: Database) -> None:
        self._db = db

    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        found = self._db.find(PEOPLE, {"discord_user_id": {"$in": ids_as_stored(user_ids)}})
        people = map(self._person, found)
        return {person.discord_user_id: person for person in people if person.discord_user_id}

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
            stands = {"_id": before["_id"], "revision": before.get("revision")}
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
