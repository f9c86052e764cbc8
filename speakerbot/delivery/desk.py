"""The store as the event loop asks it: in the store's thread, on behalf of one bot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.circuit_breakers import Breakers, RunStopped, left_by
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.delivery import Delivery, DeliveryChange
from speakerbot.ports.store import Breaker, Store

RECORDED = 200
"""More messages to a recipient than one page of their channel's history shows."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One per run."""

    store: Store
    thread: StoreThread
    bot: str
    clock: Clock

    def pacer(self, lane: str, interval: float, stop: asyncio.Event, *, ahead: int = 0) -> Pacer:
        """Paces a lane that all processes of the bot share; ``interval`` in seconds."""
        lead = timedelta()  # how far the shared clock is ahead of our own

        async def reserve(interval: float, count: int) -> timedelta:
            nonlocal lead
            own = self.clock.real()
            slots = await self.thread(
                self.store.limits.reserve, self.bot, lane, own + lead, interval, count, ahead
            )
            lead = max(lead, slots.clock - own)
            return slots.first - slots.clock

        return Pacer(reserve, interval, ahead=ahead, stop=stop)

    async def breakers(self, real: datetime) -> Breakers:
        """Those in force. One that a broken clock has left is cut to the longest there is."""
        found = Breakers(await self.thread(self.store.limits.breakers, self.bot))
        cut = found.impossible(real)
        for name, breaker in cut.items():
            await self.save_breaker(name, breaker)
        return Breakers({**found.found, **cut})

    async def save_breaker(self, name: str, breaker: Breaker) -> None:
        await self.thread(self.store.limits.set_breaker, self.bot, name, breaker)

    async def leave_breakers(self, stopped: RunStopped | None, invalid: int) -> None:
        for name, breaker in left_by(stopped, invalid, self.clock.real()):
            await self.save_breaker(name, breaker)

    async def save_dm(self, user_id: str, channel_id: str) -> None:
        await self.thread(self.store.limits.remember_dms, self.bot, {user_id: channel_id})

    async def swap(self, before: Delivery, after: Delivery) -> bool:
        return bool(await self.thread(self.store.ledger.swap, [DeliveryChange(before, after)]))

    async def recorded(self, recipient: str) -> set[str]:
        """Ids of the latest messages to a recipient that the ledger knows."""
        find = self.store.ledger.find
        records = await self.thread(lambda: list(find(recipient, limit=RECORDED)))
        return {record.message_id for record in records}
