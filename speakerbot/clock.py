"""Two clocks: the real one, and the one decisions are made by (``--now`` moves it)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import time_ns
from zoneinfo import ZoneInfo

OUR_CLOCK_IS_OFF = timedelta(seconds=30)
"""Further than this from the store's clock, this machine's own is the wrong one."""
LONGEST_WAIT = timedelta(minutes=65)
"""No stored retry is further ahead, and no lease of a usual length."""


def real_now() -> datetime:
    """The present, aware, in UTC, cut to milliseconds: the precision every store keeps."""
    return datetime.fromtimestamp(time_ns() // 1_000_000 / 1000, UTC)


def parse_clock_time(text: str) -> time:
    """``HH:MM`` as :class:`time`. Raises ValueError with a message for people."""
    try:
        clock = time.fromisoformat(text.strip())
    except ValueError:
        clock = None
    if clock is None or clock.tzinfo or clock.second or clock.microsecond:
        raise ValueError(f"{text!r} is not a clock time; write HH:MM, as 19:30")
    return clock


def read_zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises ValueError saying what to write instead."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        message = f"{name!r} is not a time zone; write e.g. Europe/Berlin or UTC"
        raise ValueError(message) from error


def instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The UTC instant at which clocks in ``zone`` show ``clock`` on ``day``: the first of two where
    clocks go back, the next minute that exists where they go forward."""
    local = datetime.combine(day, clock)
    while (found := local.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(
        tzinfo=None
    ) != local:
        local += timedelta(minutes=1)
    return found


def around_gap(day: date, clock: time, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """The two local times that somebody may mean by one that clocks in ``zone`` skip on ``day``:
    as if they had gone forward already, and as if they had not. None: the clocks show it."""
    local = datetime.combine(day, clock, zone)
    earlier, later = (local.replace(fold=fold).astimezone(UTC).astimezone(zone) for fold in (1, 0))
    shown = local.replace(tzinfo=None)
    if shown in (earlier.replace(tzinfo=None), later.replace(tzinfo=None)):
        return None
    return earlier, later


def utc_text(at: datetime) -> str:
    """An instant as our documents and log lines show it: ISO 8601, ending in Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Clock:
    """Decision time advances with the real clock from where ``--now`` set it.

    Leases, retries, breakers and pacing follow :meth:`real`; what is due or expired follows
    :meth:`decision`. ``skew`` is how far this machine's clock is off (tests let hours pass).
    """

    offset: timedelta = timedelta()
    skew: timedelta = timedelta()

    @classmethod
    def at(cls, now: datetime | None) -> Clock:
        """A clock whose decision time is ``now`` at this moment; None means the real time."""
        return cls() if now is None else cls(now - real_now())

    def real(self) -> datetime:
        return real_now() + self.skew

    def decision(self) -> datetime:
        return self.real() + self.offset
