"""The loopback's own time, which a test may push forward, and the ids that carry it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DISCORD_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
_DISCORD_EPOCH_MS = 1_420_070_400_000
_LARGEST = 2**63 - 1


class LoopbackClock:
    """Begins at ``start`` (default: the present) and goes on with the machine's monotonic clock.

    Limits, nonce windows, message ids, timestamps and the ``Date`` header all follow it, so
    ``advance`` moves them together. It never goes backwards, unless ``shift_by`` does that.
    """

    def __init__(self, start: datetime | None = None) -> None:
        begin = time.time_ns() if start is None else nanoseconds(start)
        self._offset = begin - time.monotonic_ns()
        self._shift = 0

    def now_ns(self) -> int:
        """Nanoseconds since 1970 in UTC."""
        return time.monotonic_ns() + self._offset + self._shift

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.now_ns() // 1000)

    def advance(self, step: timedelta) -> None:
        """Moves the time forward. Raises ValueError for a step backwards."""
        if step < timedelta():
            raise ValueError(f"The loopback's clock cannot go back by {-step}.")
        self._offset += _span(step)

    def shift_by(self, seconds: float) -> None:
        """How wrong the clock is: ahead by this, behind if negative. Replaces an earlier shift."""
        self._shift = _span(timedelta(seconds=seconds))

    def http_date(self) -> str:
        """The present as the ``Date`` header says it, in whole seconds."""
        return formatdate(self.now_ns() // 1_000_000_000, usegmt=True)


def nanoseconds(instant: datetime) -> int:
    """Since 1970; ``instant`` is aware."""
    return _span(instant - _EPOCH)


def _span(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000


class Snowflakes:
    """Hands out ids that grow strictly and carry the time they were made at."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now_ns: int) -> str:
        """An id for this instant, given in nanoseconds since 1970."""
        from_time = (now_ns // 1_000_000 - _DISCORD_EPOCH_MS) << 22
        self._last = max(from_time, self._last + 1)
        return str(self._last)

    def seen(self, snowflake: str) -> None:
        """No later id will be this one or smaller."""
        self._last = max(self._last, int(snowflake))


def created_at(snowflake: str) -> datetime:
    """The instant in an id, in UTC, to the millisecond."""
    return _DISCORD_EPOCH + timedelta(milliseconds=int(snowflake) >> 22)


def is_snowflake(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= _LARGEST
