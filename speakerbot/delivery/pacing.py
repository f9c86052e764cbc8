"""Even pacing under one limit that several processes share through the store.

Send slots lie ``interval`` apart. A process reserves a block of them in one atomic write and hands
them to its workers, so the sum over all processes stays under the limit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from time import monotonic

from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.domain.run import StopReason

Reserve = Callable[[float, int], Awaitable[timedelta]]
"""Reserves so many slots at such an interval (seconds); returns how far off the first one is."""

BLOCK_SECONDS = 0.2
"""Of slots that are reserved at once."""
LONGEST_PAUSE = 60.0
"""Seconds that are worth waiting for a rate limit; a later run does better than a longer wait."""
OVERSLEPT = 0.02
SLOWER = 1.25
"""A 429 means that the limit is lower than we think, or shared with somebody we do not know."""
INCIDENT = 5.0
"""Seconds: the 429s of requests that were under way at once are one incident."""
RECOVERS_AFTER = 20.0
"""Seconds without a 429, after each of which the pace goes one step back up."""


class Pacer:
    """Hands out send slots; waits are cut short when the channel stops."""

    def __init__(
        self, reserve: Reserve, interval: float, *, ahead: int, stop: asyncio.Event
    ) -> None:
        self.interval = interval
        self._reserve = reserve
        self._stop = stop
        self._tolerance = ahead * interval + max(interval, OVERSLEPT)
        self._lock = asyncio.Lock()
        self._next = 0.0
        self._left = 0
        self._paused_until = 0.0
        self._usual = interval
        self._incident_until = 0.0
        self._recovers_at = 0.0

    async def slot(self) -> None:
        """Returns when a request may begin. Raises ChannelStopped if the channel
        stops before that, or where waiting is not worth while."""
        overslept = False
        while True:
            slot = await self._take() if self.interval else monotonic()
            await self._wait_until(slot)
            if self._paused_until > monotonic():
                # Then everybody queues up again: all at once they would be refused again.
                await self._pause()
            elif overslept or monotonic() - slot <= self._tolerance:
                return
            else:
                overslept = True  # its slot is gone; but once only, or else none might ever come

    async def stopped(self) -> None:
        """Returns when the channel stops."""
        await self._stop.wait()

    def slow_down(self, seconds: float, everywhere: bool) -> None:
        """After a 429: everybody goes slower for a while, once an incident; where the limit holds
        for everything, nobody sends for ``seconds``."""
        now = monotonic()
        if everywhere:
            self._paused_until = max(self._paused_until, now + seconds)
        if now >= self._incident_until:
            self.interval *= SLOWER
            self._left = 0
            self._recovers_at = now + RECOVERS_AFTER
        self._incident_until = now + INCIDENT

    def _recover(self) -> None:
        now = monotonic()
        if self.interval > self._usual and now >= self._recovers_at:
            self.interval = max(self._usual, self.interval / SLOWER)
            self._recovers_at = now + RECOVERS_AFTER

    async def _pause(self) -> None:
        seconds = self._paused_until - monotonic()
        if seconds > LONGEST_PAUSE:
            detail = f"the service wants no request for {seconds:.0f} s"
            raise ChannelStopped(StopReason.RATE_LIMITED, detail, rest=timedelta(seconds=seconds))
        await self._wait_until(self._paused_until)

    async def _take(self) -> float:
        self._drop_missed()
        while not self._left:
            async with self._lock:
                if not self._left:
                    await self._reserve_block()
        slot, self._next = self._next, self._next + self.interval
        self._left -= 1
        return slot

    async def _reserve_block(self) -> None:
        self._recover()
        count = max(1, round(BLOCK_SECONDS / self.interval))
        begin = monotonic()
        wait = await self._reserve(self.interval, count)
        self._next, self._left = begin + wait.total_seconds(), count

    def _drop_missed(self) -> None:
        """Slots this process slept through are gone: using them now would make a burst."""
        late = monotonic() - self._tolerance - self._next
        missed = min(self._left, math.ceil(late / self.interval)) if late > 0 else 0
        self._left -= missed
        self._next += missed * self.interval

    async def _wait_until(self, instant: float) -> None:
        delay = instant - monotonic()
        if delay > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        if self._stop.is_set():
            raise ChannelStopped(StopReason.STOPPED)
