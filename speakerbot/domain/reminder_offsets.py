"""When a talk's reminders are due: ``1d@16:00`` (a clock time, days before) or ``24h`` (before
the start)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from typing import NamedTuple

from speakerbot.durations import format_duration

SETTING, DEFAULT = "SPEAKERBOT_REMINDER_OFFSETS", "1d@16:00,0d@16:00"

_DAYS = re.compile(r"(\d{1,3})d@(\d{2}):(\d{2})")
_HOURS = re.compile(r"(\d{1,4})h")


class DayOffset(NamedTuple):
    """``days`` before the talk's date, at the clock time ``at`` in the community's zone."""

    days: int
    at: time

    def __str__(self) -> str:
        return f"{self.days}d@{self.at:%H:%M}"


class HourOffset(NamedTuple):
    """``hours`` before the start; only for talks that have one."""

    hours: int

    def __str__(self) -> str:
        return f"{self.hours}h"


Offset = DayOffset | HourOffset


def parse_offsets(text: str) -> tuple[Offset, ...]:
    """Reads a comma-separated list. Raises ValueError naming the part that is wrong."""
    parts = [part.strip() for part in text.split(",")]
    offsets = tuple(_parse(part) for part in parts if part)
    if not offsets:
        raise ValueError("names no offset; write e.g. 1d@16:00,0d@16:00")
    if len(set(offsets)) < len(offsets):
        raise ValueError("names an offset twice")
    return offsets


def short_windows(env: Mapping[str, str], tick: timedelta) -> Iterator[str]:
    """The reminders of these settings whose whole time may lie between two ticks that are ``tick``
    apart, in words for people. Offsets that cannot be read are for the runs to refuse."""
    try:
        offsets = parse_offsets(env.get(SETTING) or DEFAULT)
    except ValueError:
        return
    for offset in offsets:
        if isinstance(offset, DayOffset):
            left = timedelta(days=1) - timedelta(hours=offset.at.hour, minutes=offset.at.minute)
            if left < tick:
                yield f"{SETTING}: {offset} is {format_duration(left)} before that day is over"


def _parse(part: str) -> Offset:
    if match := _DAYS.fullmatch(part):
        days, hour, minute = map(int, match.groups())
        if hour < 24 and minute < 60:
            return DayOffset(days, time(hour, minute))
    if (match := _HOURS.fullmatch(part)) and int(match[1]) > 0:
        return HourOffset(int(match[1]))
    raise ValueError(
        f"{part!r} is not an offset; write days and a clock time (1d@16:00) or hours (24h)"
    )
