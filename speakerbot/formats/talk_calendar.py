"""Talks as an iCalendar feed (RFC 5545)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event

from speakerbot import __version__
from speakerbot.talks import Talk


def write(talks: Iterable[Talk], zone: ZoneInfo, now: datetime) -> str:
    """The calendar as text. ``zone`` is the community's; ``now`` becomes every DTSTAMP."""
    calendar = Calendar()
    calendar.add("prodid", f"-//speakerbot//{__version__}//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Talks")
    for talk in talks:
        calendar.add_component(_event(talk, zone, now))
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical()).decode()


def _event(talk: Talk, zone: ZoneInfo, now: datetime) -> Event:
    event = Event()
    event.add("uid", f"{talk.id}@speakerbot")
    event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
    event.add("summary", " ".join(f"{talk.username}: {talk.topic}".split()))
    start = talk.start(zone)
    if start is None:
        event.add("dtstart", talk.date)
        event.add("dtend", talk.date + timedelta(days=1))
        event.add("transp", "TRANSPARENT")
    else:
        event.add("dtstart", start.astimezone(zone))
    return event
