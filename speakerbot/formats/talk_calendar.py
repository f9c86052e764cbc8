"""Talks as an iCalendar feed (RFC 5545).

Without METHOD, as RFC 5545 has it for what is read rather than sent to somebody: then DTSTAMP says
when an event last changed, and the same talks are the same text, whenever they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event

from speakerbot import __version__
from speakerbot.clock import instant
from speakerbot.domain.calendar_entry import CalendarEntry

_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")
"""Characters that RFC 5545 has no place for in a text."""


def write(entries: Iterable[CalendarEntry], zone: ZoneInfo) -> str:
    """The calendar as text. ``zone`` is the community's."""
    calendar = Calendar()
    calendar.add("prodid", f"-//speakerbot//{__version__}//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Talks")
    for entry in entries:
        calendar.add_component(_event(entry, zone))
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical()).decode()


def _event(entry: CalendarEntry, zone: ZoneInfo) -> Event:
    event = Event()
    event.add("uid", f"{entry.talk_id}@speakerbot")
    event.add("sequence", entry.sequence)
    event.add("status", "CANCELLED" if entry.cancelled else "CONFIRMED")
    for name in ("dtstamp", "last-modified"):
        event.add(name, entry.changed_at.replace(microsecond=0))
    summary = f"{entry.username}: {entry.topic}".translate(_CONTROLS)
    event.add("summary", " ".join(summary.split()))
    if entry.starts_at is None:
        event.add("dtstart", entry.date)
        event.add("dtend", entry.date + timedelta(days=1))
        event.add("transp", "TRANSPARENT")
    else:
        event.add("dtstart", instant(entry.date, entry.starts_at, zone).astimezone(zone))
    return event
