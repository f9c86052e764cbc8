"""Time that passes only when somebody sleeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class FakeTime:
    """Seconds since 1970, for server and client alike: an hour of waiting takes no time."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> None:
        self.seconds = start.timestamp()

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Time has passed; everybody else has had a turn."""
        self.seconds = max(self.seconds, self.seconds + seconds)
        await asyncio.sleep(0)

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)
