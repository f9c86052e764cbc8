"""Small facts about the store itself, by name: which community it belongs to, what ran last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.stores.sqlite.connection import Database


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
                self._db.run("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, after))
            return True
