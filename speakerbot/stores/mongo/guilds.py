"""The Node bot's ``guildsettings``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo.errors import DuplicateKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from speakerbot.stores.mongo.connection import Database

GUILDS = "guildsettings"
CHANNEL = "proactiveAnnouncementsChannelId"


class MongoGuilds:
    def __init__(self, db: Database) -> None:
        self._db = db

    def channel(self, guild_id: str) -> str | None:
        found = self._db.find(GUILDS, {"guildId": guild_id}, limit=1)
        return found[0].get(CHANNEL) if found else None

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
        for each in self._db.find(GUILDS, {CHANNEL: {"$type": "string"}}, sort=[("guildId", 1)]):
            yield {
                "guildId": each["guildId"],
                CHANNEL: each[CHANNEL],
                "updatedAt": each.get("updatedAt") or datetime.fromtimestamp(0, UTC),
                "updatedBy": each.get("updatedBy") or "",
            }
