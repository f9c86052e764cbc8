"""The instants a cron expression names in a time zone. Pure: every instant is an argument.

Daylight saving follows cronsim: a local time that does not exist moves to the next valid minute;
one that exists twice is one occurrence if minute and hour are fixed, and two if either starts
with ``*``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}

PERIODS: Final = {
    "@daily": timedelta(days=1),
    "@weekly": timedelta(days=7),
    "@monthly": timedelta(days=31),
}
"""How long after its occurrence a machine of that interval may tick: nobody knows its phase."""

_ANY_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, or one of :data:`MACROS`, in a time zone.

    Raises ValueError, with a message for people, for an expression that cannot be read and for
    one that never fires. All instants taken are aware, all given are in UTC, on whole minutes.
    """

    expression: str
    zone: ZoneInfo
    fields: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        expression = " ".join(self.expression.split())
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "fields", _fields(expression))

    @property
    def least_grace(self) -> timedelta:
        """Below this a machine of Fly's interval could miss every occurrence. Zero if it ticks
        hourly."""
        return PERIODS.get(self.expression, timedelta())

    def next(self, after: datetime) -> datetime:
        """The first occurrence later than ``after``."""
        # cronsim may name an instant twice (two local times inside one gap), or one before
        # ``after`` (the first of two equal local times, asked from within the second).
        found = (moment.astimezone(UTC) for moment in CronSim(self.fields, self._local(after)))
        return next(moment for moment in found if moment > after)

    def latest(self, now: datetime) -> datetime | None:
        """The last occurrence that is not after ``now``; None if there was none in 50 years."""
        # Backwards excludes the instant itself, and may overshoot where a local time was moved.
        backwards = CronSim(self.fields, self._local(now + _SECOND), reverse=True)
        last = next((m for m in (m.astimezone(UTC) for m in backwards) if m <= now), None)
        while last is not None and (later := self.next(last)) <= now:
            last = later
        return last

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Occurrences from ``start`` (included) to ``end`` (excluded), ascending, each once."""
        moment = self.next(start - _SECOND)
        while moment < end:
            if moment >= start:
                yield moment
            moment = self.next(moment)

    def fires_within(self, span: timedelta) -> bool:
        """Whether any of a year's first hundred occurrences follow each other within ``span``."""
        year = self.between(_ANY_DAY, _ANY_DAY + timedelta(days=366))
        return any(later - moment < span for moment, later in pairwise(islice(year, 100)))

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)


def _fields(expression: str) -> str:
    if expression.startswith("@"):
        if expression not in MACROS:
            raise ValueError(f"{expression!r} is not known: there are {', '.join(MACROS)}")
        return MACROS[expression]
    if (count := len(expression.split())) != 5:
        raise ValueError(
            f"{expression!r} has {count} of a cron expression's 5 fields: "
            "minute, hour, day of month, month, day of week"
        )
    if _first(expression) is None:
        raise ValueError(f"{expression!r} never fires: its months have no such day")
    return expression


def _first(expression: str) -> datetime | None:
    """The first firing after 2000; None if there is none within 50 years."""
    minute, hour, day, _, weekday = expression.split()
    try:
        return next(CronSim(expression, _ANY_DAY), None)
    except (CronSimError, ValueError) as error:
        try:  # cronsim calls a day that the months lack (30 February) a bad day as well
            CronSim(f"{minute} {hour} {day} * {weekday}", _ANY_DAY)
            CronSim(f"* * * {expression.split()[3]} *", _ANY_DAY)
        except (CronSimError, ValueError):
            reason = str(error).lower() if isinstance(error, CronSimError) else "number too long"
            raise ValueError(f"{expression!r} is not a cron expression: {reason}") from error
        return None
