"""Which send slots a reservation gets: GCRA, decided purely, for every store the same.

Slots are in microseconds since 1970: a millisecond is too coarse for 45 of them a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BROKEN_CLOCK = 60_000_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a process asks for; the store keeps the next free slot."""

    span: int
    """How long the wanted slots last together."""
    earliest: int
    """No slot before this one: a pause saves up only so many."""
    latest: int
    """A next free slot after this one was left by a clock gone wrong, and does not count."""

    @classmethod
    def of(cls, now: datetime, interval: float, count: int, ahead: int) -> Reservation:
        """``count`` slots, ``interval`` seconds apart, ``ahead`` of which may lie in the past."""
        present = (now - _EPOCH) // _MICROSECOND
        span = round(count * interval * 1e6)
        earliest = present - round(ahead * interval * 1e6)
        return cls(span, earliest, present + span + _BROKEN_CLOCK)

    def first(self, next_free: int | None) -> int:
        """The first slot, given the next free one; ``span`` later is the new next free one."""
        if next_free is None or next_free > self.latest:
            return self.earliest
        return max(next_free, self.earliest)


def instant(slot: int) -> datetime:
    """The slot's instant, aware, in UTC, to the microsecond."""
    return _EPOCH + slot * _MICROSECOND
