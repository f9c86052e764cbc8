"""Which send slots a reservation gets: GCRA, decided purely, for every store the same.

The clocks of machines differ, by minutes at times, so slots lie on the store's clock. Instants are
in microseconds since 1970: a millisecond is too coarse for 45 slots a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LONGEST_QUEUE = timedelta(hours=1) // _MICROSECOND
"""No slot that somebody waits for is further ahead: one that is was left by a clock gone wrong."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a process asks for."""

    present: int
    """By the store's clock."""
    span: int
    """How long the wanted slots last together."""
    saved: int
    """So much of a pause may be made up for."""

    @classmethod
    def of(cls, now: datetime, interval: float, count: int, ahead: int) -> Reservation:
        """``count`` slots, ``interval`` seconds apart, ``ahead`` of which may lie in the past."""
        present = (now - _EPOCH) // _MICROSECOND
        return cls(present, round(count * interval * 1e6), round(ahead * interval * 1e6))

    def take(self, next_free: int | None) -> tuple[datetime, int]:
        """The first of the slots, and which is the next free one from now on."""
        first = self.present - self.saved
        if next_free is not None and next_free <= self.present + LONGEST_QUEUE:
            first = max(first, next_free)
        return _EPOCH + first * _MICROSECOND, first + self.span
