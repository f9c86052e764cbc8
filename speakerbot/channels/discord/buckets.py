"""discord.py's per-channel rate limits, so that nobody waits longer than need be.

discord.py lets the request that has used a bucket up return only when the bucket is full again,
seconds after its answer came in: a crash meanwhile would leave an accepted message unconfirmed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from discord.http import HTTPClient, Ratelimit

MOST = 200
"""discord.py's bookkeeping slows down beyond 256 buckets."""


class Bucket(Ratelimit):
    """Fills up again beside the request that has used it up: that one returns with its answer."""

    __slots__ = ("_filling",)

    def __init__(self, longest_wait: float | None) -> None:
        super().__init__(longest_wait)
        self._filling: set[asyncio.Task[None]] = set()

    async def __aexit__(self, *raised: Any) -> None:
        leave = super().__aexit__(*raised)
        if self.remaining >= self.outgoing:
            await leave
            return
        filling = asyncio.create_task(leave)
        self._filling.add(filling)
        filling.add_done_callback(self._filling.discard)

    @property
    def fresh(self) -> bool:
        """It says no more than a new one would."""
        return not self.outgoing and (self.remaining > 0 or self.is_expired())

    async def close(self) -> None:
        for filling in self._filling:
            filling.cancel()
        await asyncio.gather(*self._filling, return_exceptions=True)


class Buckets(HTTPClient):
    """discord.py's client, with buckets of ours, and only those in use."""

    _buckets: dict[str, Bucket]  # type: ignore[assignment]

    def get_ratelimit(self, key: str) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MOST:
                self._forget_fresh()
            bucket = self._buckets[key] = Bucket(self.max_ratelimit_timeout)
        return bucket

    def _forget_fresh(self) -> None:
        for key in [key for key, bucket in self._buckets.items() if bucket.fresh]:
            del self._buckets[key]

    async def close(self) -> None:
        for bucket in self._buckets.values():
            await bucket.close()
        await super().close()
