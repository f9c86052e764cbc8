"""What processes of one bot share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speakerbot.stores.nouns import breaker_of
from speakerbot.stores.reading import Reader
from speakerbot.stores.send_slots import Reservation
from speakerbot.stores.sqlite.rows import instant, to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from speakerbot.ports.store import Breaker
    from speakerbot.stores.sqlite.connection import Database


class SqliteLimits:
    def __init__(self, db: Database) -> None:
        self._db = db

    def reserve(
        self, bot: str, lane: str, now: datetime, interval: float, count: int, ahead: int
    ) -> datetime:
        wanted = Reservation.of(now, interval, count, ahead)
        with self._db.write():
            rows = self._db.rows(
                "SELECT next_free FROM slots WHERE bot = ? AND lane = ?", (bot, lane)
            )
            stored = rows[0][0] if rows else None
            first, next_free = wanted.take(stored if isinstance(stored, int) else None)
            self._db.run("INSERT OR REPLACE INTO slots VALUES (?, ?, ?)", (bot, lane, next_free))
        return first

    def breakers(self, bot: str) -> dict[str, Breaker]:
        rows = self._db.rows(
            "SELECT name, until, reason, count FROM breakers WHERE bot = ?", (bot,)
        )
        found = {name: self._breaker(f"{bot}/{name}", *rest) for name, *rest in rows}
        return {name: breaker for name, breaker in found.items() if breaker is not None}

    def _breaker(self, name: str, until: Any, reason: Any, count: Any) -> Breaker | None:
        values = {"until": instant(until), "reason": reason, "count": count}
        return breaker_of(values, Reader(self._db.damage, "breaker", name))

    def set_breaker(self, bot: str, name: str, breaker: Breaker | None) -> None:
        with self._db.write():
            if breaker is None:
                self._db.run("DELETE FROM breakers WHERE bot = ? AND name = ?", (bot, name))
            else:
                self._db.run(
                    "INSERT OR REPLACE INTO breakers VALUES (?, ?, ?, ?, ?)",
                    (bot, name, to_ms(breaker.until), breaker.reason, breaker.count),
                )

    def dm_channels(self, bot: str, user_ids: Sequence[str]) -> dict[str, str]:
        rows = self._db.rows_among(
            "SELECT user_id, channel_id FROM dm_channels WHERE bot = ? AND user_id IN",
            user_ids,
            (bot,),
        )
        return {user_id: channel_id for user_id, channel_id in rows if isinstance(channel_id, str)}

    def remember_dms(self, bot: str, channels: Mapping[str, str | None]) -> None:
        with self._db.write():
            for user_id, channel_id in channels.items():
                if channel_id is None:
                    self._db.run(
                        "DELETE FROM dm_channels WHERE bot = ? AND user_id = ?", (bot, user_id)
                    )
                else:
                    self._db.run(
                        "INSERT OR REPLACE INTO dm_channels VALUES (?, ?, ?)",
                        (bot, user_id, channel_id),
                    )
