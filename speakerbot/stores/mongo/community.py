"""The guild's channel, as the Node bot's ``guildsettings`` have it, and small facts about the store
itself: which community it belongs to, what ran last.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo.errors import DuplicateKeyError

from speakerbot.stores.mongo.connection import Database, Document, ids_as_stored
from speakerbot.stores.reading import IDENTIFIER, INSTANT, TEXT, WORDS, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from speakerbot.stores.mongo.connection import Database

GUILDS = "guildsettings"
CHANNEL = "proactiveAnnouncementsChannelId"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MongoGuilds:
    def __init__(self, db: Database) -> None:
        self._db = db

    def channel(self, guild_id: str) -> str | None:
        own = {"guildId": {"$in": ids_as_stored([guild_id])}}
        found = self._db.find(GUILDS, own, limit=1)
        return self._channel(found[0]) if found else None

    def _channel(self, document: Document) -> str | None:
        reader = Reader(self._db.damage, "guild", str(document.get("guildId")))
        return reader.read(CHANNEL, document.get(CHANNEL), IDENTIFIER, None) or None

    def set_channel(self, guild_id: str, channel_id: str, by: str, at: datetime) -> None:
        own = {"guildId": guild_id}
        update = {
            "$set": own | {CHANNEL: channel_id, "updatedAt": at, "updatedBy": by},
            "$setOnInsert": {"__v": 0},
        }
        try:
            self._db.ask(lambda: self._db[GUILDS].update_one(own, update, upsert=True))
        except DuplicateKeyError:
            # Another process inserted it between this one's look and its write.
            self._db.ask(lambda: self._db[GUILDS].update_one(own, update, upsert=True))

    def all(self) -> Iterator[Mapping[str, Any]]:
        for each in self._db.find(GUILDS, {"guildId": {"$gt": ""}}, sort=[("guildId", 1)]):
            reader = Reader(self._db.damage, "guild", str(each["guildId"]))
            if channel := self._channel(each):
                yield {
                    "guildId": each["guildId"],
                    CHANNEL: channel,
                    "updatedAt": reader.read("updatedAt", each.get("updatedAt"), INSTANT, _EPOCH),
                    "updatedBy": reader.read("updatedBy", each.get("updatedBy"), WORDS, ""),
                }


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

    def put(self, name: str, value: str) -> None:
        marks, own, update = self._db[MARKS], {"_id": name}, {"$set": {"value": value}}
        try:
            self._db.ask(lambda: marks.update_one(own, update, upsert=True))
        except DuplicateKeyError:
            # Another process inserted it between this one's look and its write.
            self._db.ask(lambda: marks.update_one(own, update, upsert=True))
