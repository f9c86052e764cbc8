"""The loopback's own time: real time, which a test may push forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LoopbackClock:
    """Begins at ``start`` (default: the present) and goes on with the machine's monotonic clock.

    Limits, nonce windows, message ids and timestamps all follow it, so ``advance`` moves them
    together. It never goes backwards.
    """

    def __init__(self, start: datetime | None = None) -> None:
        begin = time.time_ns() if start is None else nanoseconds(start)
        self._offset = begin - time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970 in UTC."""
        return time.monotonic_ns() + self._offset

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.now_ns() // 1000)

    def advance(self, step: timedelta) -> None:
        """Moves the time forward. Raises ValueError for a step backwards."""
        if step < timedelta():
            raise ValueError(f"The loopback's clock cannot go back by {-step}.")
        self._offset += _span(step)


def nanoseconds(instant: datetime) -> int:
    """Since 1970; ``instant`` is aware."""
    return _span(instant - _EPOCH)


def _span(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
