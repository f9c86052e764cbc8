"""Discord's ids: milliseconds since 2015 in the upper 42 bits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DISCORD_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
_DISCORD_EPOCH_MS = 1_420_070_400_000
_LARGEST = 2**63 - 1


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
