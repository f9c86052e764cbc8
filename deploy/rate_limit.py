"""How fast Fly may be asked: its rate limits, and the backoff after a fault. Time can be faked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

LIMITS: dict[str, tuple[float, float]] = {"get": (5.0, 10.0)}
"""Requests a second and burst of an action; 1 and 3 for all others."""
ATTEMPTS = 7


@dataclass(slots=True)
class RateLimit:
    """Keeps each kind of request within its rate. One for each run of a command."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _full_at: dict[str, float] = field(default_factory=dict)

    async def take(self, action: str) -> None:
        """Waits until a request of that kind may go (GCRA: one number holds rate and burst)."""
        rate, burst = LIMITS.get(action, (1.0, 3.0))
        now = self.now()
        full_at = max(self._full_at.get(action, now), now) + 1 / rate
        self._full_at[action] = full_at
        if (pause := full_at - now - burst / rate) > 0:
            await self.sleep(pause)

    def backoff(self) -> Iterator[float]:
        """Seconds before each further attempt, doubling from one to 30, with jitter."""
        for attempt in range(ATTEMPTS - 1):
            yield min(2.0**attempt, 30.0) * random.uniform(0.8, 1.2)  # noqa: S311
