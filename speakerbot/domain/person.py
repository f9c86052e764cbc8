"""A person and their preferences: opt-outs, quiet hours, order of routes; and how they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant, parse_clock_time

OPT_OUT_KINDS = ("reminders", "changes", "engagement", "checkins", "timers", "all")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily span in the person's own zone; crosses midnight when ``start`` is after ``end``."""

    start: time
    end: time

    def until(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When the quiet span that holds ``now`` ends (aware, in ``zone``); None outside one."""
        local = now.astimezone(zone)
        clock = local.time()
        if self.start <= self.end:
            inside, days = self.start <= clock < self.end, 0
        else:
            inside = clock >= self.start or clock < self.end
            days = 1 if clock >= self.start else 0
        if not inside:
            return None
        first = instant(local.date() + timedelta(days=days), self.end, zone).astimezone(zone)
        # Where clocks go back it may be quiet again between the first such time and the second.
        return first if first > now else first.replace(fold=1)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone messages may go to. ``timezone`` is an IANA name, None for the community's."""

    id: str
    discord_user_id: str | None = None
    name: str | None = None
    timezone: str | None = None
    opted_out: frozenset[str] = frozenset()
    quiet_hours: QuietHours | None = None
    routes: tuple[str, ...] = ()
    """Preferred order of routes; empty for the community's."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What other features keep about a person (check-ins): kept as it came."""

    @property
    def zone(self) -> ZoneInfo | None:
        """Their time zone; None if they have none, or one that does not exist."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (KeyError, ValueError, OSError):
            return None

    def refuses(self, kind: str) -> bool:
        return kind in self.opted_out or "all" in self.opted_out


SINGLE_KINDS = frozenset(OPT_OUT_KINDS) - {"all"}


def new_person(discord_user_id: str) -> Person:
    """Someone nobody had heard of. Two processes that meet them at once make the same record."""
    return Person(id=f"discord-{discord_user_id}", discord_user_id=discord_user_id)


def opted_out(person: Person, kind: str) -> Person:
    """``all`` takes the place of single kinds, and covers kinds that are yet to come."""
    if person.refuses(kind):
        return person
    kinds = {"all"} if kind == "all" else {*person.opted_out, kind}
    return replace(person, opted_out=frozenset(kinds))


def opted_in(person: Person, kind: str) -> Person:
    """``all`` ends every opt-out. A single kind while out of ``all`` leaves them out of every
    other kind there is."""
    if kind == "all":
        return replace(person, opted_out=frozenset())
    kinds = SINGLE_KINDS if "all" in person.opted_out else person.opted_out
    return replace(person, opted_out=frozenset(kinds) - {kind})


def parse_opt_outs(text: str) -> frozenset[str]:
    """Kinds separated by commas or spaces. Raises ValueError naming one that is unknown."""
    kinds = text.replace(",", " ").split()
    for kind in kinds:
        if kind not in OPT_OUT_KINDS:
            raise ValueError(f"{kind!r} is no kind; choose from {', '.join(OPT_OUT_KINDS)}")
    return frozenset(kinds)


def parse_quiet_hours(text: str) -> QuietHours:
    """``22:00-08:00``. Raises ValueError with a message for people."""
    start, _, end = text.replace("–", "-").partition("-")
    try:
        hours = QuietHours(parse_clock_time(start), parse_clock_time(end))
    except ValueError as error:
        raise ValueError(f"{text!r} are no quiet hours; write e.g. 22:00-08:00") from error
    if hours.start == hours.end:
        raise ValueError(f"{text!r} begin and end at once; to get nothing at all, opt out")
    return hours
