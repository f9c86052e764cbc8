"""What processes of one bot share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import DeleteOne
from pymongo.errors import DuplicateKeyError

from speakerbot.errors import Unreachable
from speakerbot.ports.store import Breaker
from speakerbot.stores.mongo.connection import Database, Document, replacement
from speakerbot.stores.nouns import breaker_of
from speakerbot.stores.reading import IDENTIFIER, Reader
from speakerbot.stores.send_slots import Reservation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


LIMITS = "speakerbot_limits"
"""Slots as ``slot/<bot>/<lane>``, breakers as ``breaker/<bot>/<name>``."""
DM_CHANNELS = "speakerbot_dm_channels"
TRIES = 100


class MongoLimits:
    def __init__(self, db: Database) -> None:
        self._db = db

    def reserve(
        self, bot: str, lane: str, now: datetime, interval: float, count: int, ahead: int
    ) -> datetime:
        """Compare-and-swap. A lost answer wastes slots and gives none twice."""
        wanted, slot = Reservation.of(now, interval, count, ahead), f"slot/{bot}/{lane}"
        for _ in range(TRIES):
            stored = self._db.find(LIMITS, {"_id": slot}, limit=1)
            before = stored[0].get("next_free") if stored else None
            first, next_free = wanted.take(int(before) if isinstance(before, int) else None)
            if self._swap(slot, stored, {"next_free": next_free}):
                return first
        raise Unreachable(
            f"{self._db.where}: no send slots to be had; too many at once. Run again."
        )

    def _swap(self, slot: str, stored: list[Document], after: Document) -> bool:
        """False: another process was first."""
        if not stored:
            try:
                self._db.ask(lambda: self._db[LIMITS].insert_one({"_id": slot, **after}))
            except DuplicateKeyError:
                return False
            return True
        own = {"_id": slot, "next_free": {"$eq": stored[0].get("next_free")}}
        return (
            self._db.ask(lambda: self._db[LIMITS].update_one(own, {"$set": after})).matched_count
            > 0
        )

    def breakers(self, bot: str) -> dict[str, Breaker]:
        prefix = f"breaker/{bot}/"
        # All that starts with the prefix: "0" is the character after "/".
        found = self._db.find(LIMITS, {"_id": {"$gte": prefix, "$lt": f"breaker/{bot}0"}})
        read = {each["_id"].removeprefix(prefix): self._breaker(each) for each in found}
        return {name: breaker for name, breaker in read.items() if breaker is not None}

    def _breaker(self, document: Document) -> Breaker | None:
        return breaker_of(document, Reader(self._db.damage, "breaker", document["_id"]))

    def set_breaker(self, bot: str, name: str, breaker: Breaker | None) -> None:
        own = {"_id": f"breaker/{bot}/{name}"}
        if breaker is None:
            self._db.ask(lambda: self._db[LIMITS].delete_one(own))
        else:
            values = {"until": breaker.until, "reason": breaker.reason, "count": breaker.count}
            self._db.write_all(LIMITS, [replacement(own | values)])

    def dm_channels(self, bot: str, user_ids: Sequence[str]) -> dict[str, str]:
        ids = [f"{bot}/{user_id}" for user_id in user_ids]
        found = self._db.find(DM_CHANNELS, {"_id": {"$in": ids}})
        read = {each["_id"].removeprefix(f"{bot}/"): self._channel(each) for each in found}
        return {user_id: channel_id for user_id, channel_id in read.items() if channel_id}

    def _channel(self, document: Document) -> str:
        reader = Reader(self._db.damage, "dm_channel", document["_id"])
        return reader.read("channel_id", document.get("channel_id"), IDENTIFIER, "")

    def remember_dms(self, bot: str, channels: Mapping[str, str | None]) -> None:
        self._db.write_all(
            DM_CHANNELS,
            [
                replacement({"_id": f"{bot}/{user_id}", "channel_id": channel_id})
                if channel_id is not None
                else DeleteOne({"_id": f"{bot}/{user_id}"})
                for user_id, channel_id in channels.items()
            ],
        )
