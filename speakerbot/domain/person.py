"""A person and their preferences: opt-outs, quiet hours, order of routes; and how they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant, parse_clock_time

OPT_OUT_KINDS = ("reminders", "changes", "checkins", "timers", "all")
"""Kinds of messages that are addressed to a person. Records may still hold kinds of before that
address nobody: they are kept, and mean nothing."""
POSTS = ("weekly", "engagement", "digest")
"""Kinds that go to a channel: a person cannot opt out of them."""


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
    """Someone not known before. Two processes that meet them at once make the same record."""
    return Person(id=f"discord-{discord_user_id}", discord_user_id=discord_user_id)


def opted_out(person: Person, kind: str) -> Person:
    """``all`` takes the place of single kinds, and covers kinds that are added later."""
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


PROGRAMME_NAMES = "programme_names"
"""In ``extra``: what programmes call them, as somebody told us with ``people link``."""


def programme_names(person: Person) -> tuple[str, ...]:
    names = person.extra.get(PROGRAMME_NAMES)
    return tuple(each for each in names if isinstance(each, str)) if isinstance(names, list) else ()


def linked(person: Person, name: str) -> Person:
    """They are whom programmes call ``name``; also their name here, where they have none."""
    if plain_name(name) in map(plain_name, programme_names(person)):
        return person
    extra = {**person.extra, PROGRAMME_NAMES: [*programme_names(person), name]}
    return replace(person, name=person.name or name, extra=extra)


def unlinked(person: Person, name: str) -> Person:
    """They are not whom programmes call ``name``."""
    names = [each for each in programme_names(person) if plain_name(each) != plain_name(name)]
    if len(names) == len(programme_names(person)):
        return person
    rest = {key: value for key, value in person.extra.items() if key != PROGRAMME_NAMES}
    return replace(person, extra={**rest, **({PROGRAMME_NAMES: names} if names else {})})


def plain_name(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(name.casefold().split())


def parse_opt_outs(text: str) -> frozenset[str]:
    """Kinds separated by commas or spaces. Raises ValueError naming one that is unknown."""
    kinds = text.replace(",", " ").split()
    return frozenset(opt_out_kind(kind) for kind in kinds)


def opt_out_kind(text: str) -> str:
    """A kind that people can opt out of. Raises ValueError saying why another is not one."""
    if text in OPT_OUT_KINDS:
        return text
    choice = f"choose from {', '.join(OPT_OUT_KINDS)}"
    if text in POSTS:
        raise ValueError(f"{text} posts to a channel and writes to no person; {choice}")
    raise ValueError(f"{text!r} is not a kind of message; {choice}")


def parse_quiet_hours(text: str) -> QuietHours:
    """``22:00-08:00``. Raises ValueError with a message for people."""
    start, _, end = text.replace("–", "-").partition("-")
    try:
        hours = QuietHours(parse_clock_time(start), parse_clock_time(end))
    except ValueError as error:
        raise ValueError(f"{text!r} are not quiet hours; write e.g. 22:00-08:00") from error
    if hours.start == hours.end:
        raise ValueError(f"{text!r} begin and end at once; to get nothing at all, opt out")
    return hours
