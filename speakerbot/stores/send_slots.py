"""Which send slots a reservation gets: GCRA, decided purely, for every store the same.

The clocks of machines differ, by minutes at times. So slots lie on a clock of their own: the one
that is furthest ahead of all that have reserved so far. Whoever is behind it learns by how much.

Instants are in microseconds since 1970: a millisecond is too coarse for 45 slots a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from speakerbot.ports.store import SendSlots

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a store keeps of a lane."""

    next_free: int
    clock: int
    """The shared clock at the last reservation."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a process asks for."""

    present: int
    """By the process's own clock."""
    span: int
    """How long the wanted slots last together."""
    saved: int
    """So much of a pause may be made up for."""

    @classmethod
    def of(cls, now: datetime, interval: float, count: int, ahead: int) -> Reservation:
        """``count`` slots, ``interval`` seconds apart, ``ahead`` of which may lie in the past."""
        present = (now - _EPOCH) // _MICROSECOND
        return cls(present, round(count * interval * 1e6), round(ahead * interval * 1e6))

    def take(self, before: SlotState | None) -> tuple[SendSlots, SlotState]:
        """The slots, and what is to be kept from now on."""
        clock = self.present if before is None else max(self.present, before.clock)
        first = clock - self.saved
        if before is not None:
            first = max(first, before.next_free)
        return SendSlots(_instant(first), _instant(clock)), SlotState(first + self.span, clock)


def _instant(slot: int) -> datetime:
    return _EPOCH + slot * _MICROSECOND
