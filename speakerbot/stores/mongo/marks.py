"""Small facts about the store itself, by name: which community it belongs to, what ran last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

from speakerbot.stores.reading import TEXT, Reader

if TYPE_CHECKING:
    from speakerbot.stores.mongo.connection import Database

MARKS = "speakerbot_marks"


class MongoMarks:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, name: str) -> str | None:
        found = self._db.find(MARKS, {"_id": name}, limit=1)
        if not found:
            return None
        return Reader(self._db.damage, "mark", name).read("value", found[0].get("value"), TEXT, "")

    def swap(self, name: str, before: str | None, after: str | None) -> bool:
        marks, own = self._db[MARKS], {"_id": name}
        if before is None and after is not None:
            try:
                self._db.ask(lambda: marks.insert_one({**own, "value": after}))
            except DuplicateKeyError:
                return self.get(name) == after
            return True
        if after is None:
            self._db.ask(lambda: marks.delete_one({**own, "value": before}))
            return self.get(name) is None
        stands = {**own, "value": {"$in": [before, after]}}
        update = {"$set": {"value": after}}
        return self._db.ask(lambda: marks.update_one(stands, update)).matched_count > 0
