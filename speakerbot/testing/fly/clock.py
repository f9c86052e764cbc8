"""Time that passes only when everybody sleeps."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime

_QUIET_TURNS = 40
"""Turns of the event loop in which no task goes to sleep before time moves on: an HTTP request over
the loopback and its answer take fewer."""


class FakeTime:
    """Seconds since 1970, for server and client alike: an hour of waiting takes no time.

    Sleepers wake in the order of their instants, so two who sleep ten seconds side by side take
    ten seconds, not twenty.
    """

    def __init__(self, start: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> None:
        self.seconds = start.timestamp()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._mover: asyncio.Task[None] | None = None
        self._asleep = 0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Time has passed; everybody else has had a turn."""
        loop = asyncio.get_running_loop()
        if self._mover is None or self._mover.done() or self._mover.get_loop() is not loop:
            self._sleepers = []  # those of a loop that has ended
            self._mover = loop.create_task(self._move())
        woken: asyncio.Future[None] = loop.create_future()
        wake_at = self.seconds + max(0.0, seconds)
        heapq.heappush(self._sleepers, (wake_at, next(self._numbers), woken))
        self._asleep += 1
        await woken

    async def _move(self) -> None:
        while self._sleepers:
            await self._everybody_sleeps()
            wake_at, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self.seconds = max(self.seconds, wake_at)
                woken.set_result(None)

    async def _everybody_sleeps(self) -> None:
        seen, quiet = self._asleep, 0
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if seen == self._asleep else 0
            seen = self._asleep

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)
