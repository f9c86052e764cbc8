"""The guild's channel, as the Node bot's ``guildsettings`` have it, and small facts about the store
itself: which community it belongs to, what ran last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speakerbot.stores.reading import INSTANT, Reader
from speakerbot.stores.sqlite.rows import from_ms, instant, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from speakerbot.stores.sqlite.connection import Database


class SqliteGuilds:
    def __init__(self, db: Database) -> None:
        self._db = db

    def channel(self, guild_id: str) -> str | None:
        rows = self._db.rows("SELECT channel_id FROM guilds WHERE guild_id = ?", (guild_id,))
        return rows[0][0] if rows else None

    def set_channel(self, guild_id: str, channel_id: str, by: str, at: datetime) -> None:
        with self._db.write():
            self._db.run(
                "INSERT OR REPLACE INTO guilds VALUES (?, ?, ?, ?)",
                (guild_id, channel_id, to_ms(at), by),
            )

    def all(self) -> Iterator[Mapping[str, Any]]:
        for guild_id, channel_id, at, by in self._db.rows("SELECT * FROM guilds ORDER BY guild_id"):
            reader = Reader(self._db.damage, "guild", guild_id)
            yield {
                "guildId": guild_id,
                "proactiveAnnouncementsChannelId": channel_id,
                "updatedAt": reader.read("updatedAt", instant(at), INSTANT, from_ms(0)),
                "updatedBy": by,
            }


class SqliteMarks:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, name: str) -> str | None:
        rows = self._db.rows("SELECT value FROM marks WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def swap(self, name: str, before: str | None, after: str | None) -> bool:
        with self._db.write():
            stands = self.get(name)
            if stands not in (before, after):
                return False
            if after is None:
                self._db.run("DELETE FROM marks WHERE name = ?", (name,))
            else:
                self._put(name, after)
            return True

    def put(self, name: str, value: str) -> None:
        with self._db.write():
            self._put(name, value)

    def _put(self, name: str, value: str) -> None:
        self._db.run("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value))
