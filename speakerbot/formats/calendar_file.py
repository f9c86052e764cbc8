"""Calendars (iCalendar, RFC 5545): talks as events, and the events of others as sessions.

What is written has no METHOD, as is right for what is read rather than sent: then DTSTAMP says when
an event last changed, and the same talks are the same text, whenever they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from speakerbot import __version__
from speakerbot.clock import instant
from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.errors import SourceRefused
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.sessions import (
    MOST_GUESTS,
    Guest,
    Programme,
    Session,
    Unusable,
    day_of,
    discord_of,
    length_of,
    link_of,
    name_of,
    plain_id,
    topic_of,
    when,
)
from speakerbot.text import one_line

if TYPE_CHECKING:
    from icalendar import Component as Calendar
    from icalendar import Component as Event

    from speakerbot.formats.web_source import Document

USUAL_LENGTH = timedelta(hours=1)
"""Of a talk whose length is not known: programs hide events without an end."""
LONGEST_CONTENT_LINE = 75
"""Octets, without the line break (RFC 5545)."""
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")
"""Characters that RFC 5545 has no place for in a text."""
MOST_SESSIONS, MOST_REPEATS = 10_000, 200
"""The latter: of one series."""
LONGEST_SERIES = 5.0
"""Seconds for all of them: a rule that never comes true is looked for until the year 9999."""
REPEATS_BACK, REPEATS_AHEAD = timedelta(days=31), timedelta(days=400)
"""How far from now the repetitions of an event are looked at."""
_LINE_OF_GUESTS = re.compile(
    r"^\s*(speakers?|discord(?:\s+ids?)?)\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE
)


def write_calendar(entries: Iterable[CalendarEntry], zone: ZoneInfo) -> Iterator[str]:
    """The calendar, event by event. ``zone`` is the community's.

    Starts are written as instants in UTC: programs disagree about the rules of time zones that a
    file brings along, and all show UTC in their own."""
    head = ("VERSION:2.0", f"PRODID:-//speakerbot//{__version__}//EN", "X-WR-CALNAME:Talks")
    yield _content(("BEGIN:VCALENDAR", *head))
    for entry in entries:
        yield _content(("BEGIN:VEVENT", *_event(entry, zone), "END:VEVENT"))
    yield _content(("END:VCALENDAR",))


def _event(entry: CalendarEntry, zone: ZoneInfo) -> Iterator[str]:
    changed_at = _utc(entry.changed_at)
    yield f"UID:{_escaped(entry.talk_id)}@speakerbot"
    yield f"SEQUENCE:{entry.sequence}"
    yield f"STATUS:{'CANCELLED' if entry.cancelled else 'CONFIRMED'}"
    yield f"DTSTAMP:{changed_at}"
    yield f"LAST-MODIFIED:{changed_at}"
    yield f"SUMMARY:{_escaped(f'{entry.username}: {entry.topic}')}"
    if entry.starts_at is None:
        yield f"DTSTART;VALUE=DATE:{entry.date:%Y%m%d}"
        yield f"DTEND;VALUE=DATE:{entry.date + timedelta(days=1):%Y%m%d}"
        yield "TRANSP:TRANSPARENT"
    else:
        start = instant(entry.date, entry.starts_at, zone)
        yield f"DTSTART:{_utc(start)}"
        length = timedelta(minutes=entry.length) if entry.length else USUAL_LENGTH
        yield f"DTEND:{_utc(start + length)}"
    if entry.room:
        yield f"LOCATION:{_escaped(entry.room)}"
    if entry.link:
        yield f"URL:{entry.link.translate(_CONTROLS)}"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(value: str) -> str:
    line = " ".join(value.translate(_CONTROLS).split())
    return line.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _content(lines: Iterable[str]) -> str:
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _folded(line: str) -> str:
    """With a line break and a space before what goes beyond 75 octets, between characters."""
    if len(line) <= LONGEST_CONTENT_LINE // 4:
        return line
    if line.isascii():
        most = LONGEST_CONTENT_LINE - 1  # beside the space
        rest = line[LONGEST_CONTENT_LINE:]
        pieces = (rest[begin : begin + most] for begin in range(0, len(rest), most))
        return "\r\n ".join((line[:LONGEST_CONTENT_LINE], *pieces))
    folded, room = [], LONGEST_CONTENT_LINE
    for mark in line:
        octets = len(mark.encode())
        if octets > room:
            folded.append("\r\n ")
            room = LONGEST_CONTENT_LINE - 1
        folded.append(mark)
        room -= octets
    return "".join(folded)


def read_calendar(
    document: Document, zone: ZoneInfo, now: datetime, problems: ImportProblems
) -> Programme:
    from icalendar import Calendar

    if not document.data.rstrip().upper().endswith(b"END:VCALENDAR"):
        raise SourceRefused(
            f"{document.name} is not a calendar that can be read: it ends too early"
        )
    try:
        calendars = Calendar.from_ical(document.data, multiple=True)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SourceRefused(
            f"{document.name} is not a calendar that can be read: {error}"
        ) from error
    reader = _CalendarReader(zone, now, problems)
    for calendar in calendars:
        reader.take(calendar)
    return Programme(f"ics:{document.scope}:", tuple(reader.sessions()), stable_ids=False)


class _CalendarReader:
    """Events by UID; a repeated one is as many sessions, each of which may differ or be off."""

    def __init__(self, zone: ZoneInfo, now: datetime, problems: ImportProblems) -> None:
        self.zone, self.problems = zone, problems
        self.first, self.last = now - REPEATS_BACK, now + REPEATS_AHEAD
        self.found: dict[str, tuple[int, Session]] = {}
        """By id, with the SEQUENCE of the event."""
        self.seconds = 0.0

    def sessions(self) -> Iterator[Session]:
        return (session for _, session in self.found.values())

    def take(self, calendar: Calendar) -> None:
        named = str(calendar.get("PRODID", ""))
        off = str(calendar.get("METHOD", "")).upper() == "CANCEL"
        # Those that differ from their series come after it.
        events = sorted(calendar.walk("VEVENT"), key=lambda event: "RECURRENCE-ID" in event)
        for number, event in enumerate(events, 1):
            uid = one_line(str(_one(event.get("UID")) or ""))
            try:
                for session in self._of_event(event, named, off=off):
                    self._keep(session, event)
            except (Unusable, ValueError, TypeError, AttributeError, OverflowError) as problem:
                self.problems.add(f"event {number} ({uid or 'without UID'})", str(problem))

    def _keep(self, session: Session, event: Event) -> None:
        try:
            sequence = int(_one(event.get("SEQUENCE")) or 0)
        except (TypeError, ValueError):
            sequence = 0
        if session.id not in self.found or self.found[session.id][0] <= sequence:
            self.found[session.id] = (sequence, session)
        if len(self.found) > MOST_SESSIONS:
            raise SourceRefused(f"the calendar has more than {MOST_SESSIONS:,} events")

    def _of_event(self, event: Event, named: str, *, off: bool) -> Iterator[Session]:
        uid = one_line(str(_one(event.get("UID")) or ""))
        if not uid:
            raise Unusable("it has no UID")
        start = _moment(event, "DTSTART")
        if start is None:
            raise Unusable("it has no DTSTART")
        topic, guests = _topic_and_guests(event, named)
        location = _text(event, "LOCATION")
        session = Session(
            id=plain_id(uid),
            topic=topic,
            guests=guests,
            length=length_of(_event_minutes(event, start)),
            room=None if link_of(location) else name_of(location) or None,
            link=link_of(_text(event, "URL"))
            or link_of(_text(event, "CONFERENCE"))
            or link_of(location),
            cancelled=off or _text(event, "STATUS").upper() == "CANCELLED",
        )
        replaced = _moment(event, "RECURRENCE-ID")
        if replaced is not None:
            yield self._at(replace(session, id=self._repeat_id(session.id, replaced)), start)
        elif "RRULE" in event or "RDATE" in event:
            for repeat in self._repeats(event, start):
                yield self._at(replace(session, id=self._repeat_id(session.id, repeat)), repeat)
        else:
            yield self._at(session, start)

    def _at(self, session: Session, start: date) -> Session:
        if not isinstance(start, datetime):
            return replace(session, day=day_of(start))
        day, starts_at = when(start, self.zone, self.zone)
        return replace(session, day=day, starts_at=starts_at)

    def _repeat_id(self, uid: str, at: date) -> str:
        if not isinstance(at, datetime):
            return f"{uid}/{at:%Y%m%d}"
        at = at if at.tzinfo else at.replace(tzinfo=self.zone)
        return f"{uid}/{at.astimezone(UTC):%Y%m%dT%H%MZ}"

    def _repeats(self, event: Event, start: date) -> Iterator[date]:
        """When a series takes place, within the time that is looked at. Local times repeat, not
        instants: right across changes of the clock."""
        began = monotonic()
        day_of(start.date() if isinstance(start, datetime) else start)
        own_zone = start.tzinfo if isinstance(start, datetime) else None

        def local(at: date) -> datetime:
            if not isinstance(at, datetime):
                return datetime.combine(at, time())
            at = at.astimezone(own_zone) if at.tzinfo and own_zone else at
            return at.replace(tzinfo=None)

        # A day of grace: these are local times.
        first = self.first.replace(tzinfo=None) - timedelta(days=1)
        last = self.last.replace(tzinfo=None) + timedelta(days=1)
        found = {local(start)} if "RRULE" not in event else set[datetime]()
        for rule in _all(event.get("RRULE")):
            found.update(_repeated(rule, local(start), last, local))
        self.seconds += monotonic() - began
        if self.seconds > LONGEST_SERIES:
            raise SourceRefused("the calendar's repeated events take too long to work out")
        found.update(map(local, _dates(event, "RDATE")))
        found.difference_update(map(local, _dates(event, "EXDATE")))
        for at in islice(sorted(at for at in found if first <= at <= last), MOST_REPEATS):
            yield at.replace(tzinfo=own_zone) if isinstance(start, datetime) else at.date()


def _repeated(
    rule: Mapping[str, Any], start: datetime, last: datetime, local: Callable[[date], datetime]
) -> Iterator[datetime]:
    """When a rule has something take place, up to ``last``: also one that never would is bounded by
    that, and so may not count by itself."""
    from dateutil.rrule import rrulestr

    parts = {name.upper(): _all(value) for name, value in rule.items()}
    if str(_one(parts.get("FREQ"))).upper() not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise Unusable("it repeats more often than daily")
    if any(name in parts for name in ("BYHOUR", "BYMINUTE", "BYSECOND")):
        raise Unusable("it repeats several times a day")
    if int(_one(parts.get("INTERVAL")) or 1) < 1 or _one(parts.get("INTERVAL")) == 0:
        raise Unusable("it repeats without an interval")
    count, until = _one(parts.pop("COUNT", None)), _one(parts.pop("UNTIL", None))
    if isinstance(until, date):
        day_ends = timedelta() if isinstance(until, datetime) else timedelta(hours=23, minutes=59)
        last = min(last, local(until) + day_ends)
    text = ";".join(f"{name}={','.join(map(str, values))}" for name, values in parts.items())
    bounded = rrulestr(f"{text};UNTIL={last:%Y%m%dT%H%M%S}", dtstart=start)
    yield from islice(bounded, None if count is None else max(int(count), 0))


def _topic_and_guests(event: Event, named: str) -> tuple[str, tuple[Guest, ...]]:
    """A calendar has no field for who speaks: lines of its description say it, ``Speaker: Ada`` and
    ``Discord: 8023…``, or its title as pretalx (``Kites - Ada, Kaz``) and we ourselves
    (``Ada: Kites``) write it."""
    summary = one_line(_text(event, "SUMMARY"))
    said: dict[str, list[str]] = {"speaker": [], "discord": []}
    for word, values in _LINE_OF_GUESTS.findall(_text(event, "DESCRIPTION")):
        kind = "discord" if word.lower().startswith("discord") else "speaker"
        said[kind] += [value for each in values.split(",") if (value := each.strip())]
    names = [name for name in map(name_of, said["speaker"]) if name]
    if not names and named.startswith("-//pretalx//") and " - " in summary:
        summary, _, people = summary.rpartition(" - ")
        names = [name for name in map(name_of, people.split(",")) if name]
    elif not names and named.startswith("-//speakerbot//") and ": " in summary:
        person, _, summary = summary.partition(": ")
        names = [name_of(person)]
    ids = [discord_of(value) for value in said["discord"]]
    if ids and not names:
        names = [handle or user_id or "" for user_id, handle in ids]
    ids += [(None, None)] * (len(names) - len(ids))
    guests = (Guest(name, *found) for name, found in zip(names, ids, strict=False) if name)
    return topic_of(summary), tuple(guests)[:MOST_GUESTS]


def _event_minutes(event: Event, start: date) -> float | None:
    """None for whole days: they say nothing about how long somebody speaks."""
    if not isinstance(start, datetime):
        return None
    duration = getattr(_one(event.get("DURATION")), "dt", None)
    end = _moment(event, "DTEND")
    if isinstance(duration, timedelta):
        return duration.total_seconds() / 60
    if isinstance(end, datetime) and (end.tzinfo is None) == (start.tzinfo is None):
        return (end - start).total_seconds() / 60
    return None


def _moment(event: Event, name: str) -> date | None:
    """A property's date, or its datetime: naive where it names no zone."""
    value = _one(event.get(name))
    if value is None:
        return None
    at = getattr(value, "dt", None)
    if not isinstance(at, date):
        raise Unusable(f"its {name} is not a date")
    return at


def _dates(event: Event, name: str) -> Iterator[date]:
    for group in _all(event.get(name)):
        for value in getattr(group, "dts", ()):
            at = value.dt[0] if isinstance(value.dt, tuple) else value.dt
            if isinstance(at, date):
                yield at


def _text(event: Event, name: str) -> str:
    return str(_one(event.get(name)) or "")


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _one(value: Any) -> Any:
    """Of a property that was given several times, the first."""
    return next(iter(_all(value)), None)
