"""The Node bot's ``guildsettings``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo.errors import DuplicateKeyError

from speakerbot.stores.mongo.connection import Database, Document, ids_as_stored
from speakerbot.stores.reading import IDENTIFIER, INSTANT, WORDS, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
