"""What texts are told of talks, by the names that templates use. A value that there is not is an
empty text."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from speakerbot.clock import instant
from speakerbot.domain.message import ReaderTime

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from speakerbot.domain.talk import Talk


def talk_values(talk: Talk, zone: ZoneInfo) -> dict[str, Any]:
    """All of a talk, for one of its speakers (``Talk.seen_by``); ``zone`` is the community's."""
    return {
        "username": talk.username,
        "speakers": names_of(talk),
        "topic": talk.topic,
        **time_values(talk.date, talk.starts_at, zone),
        **place_values(talk),
    }


def names_of(talk: Talk) -> str:
    """Everybody who speaks: ``ada``, ``ada and grace``, ``ada, grace and edsger``."""
    *first, last = [each.username for each in talk.speakers]
    return f"{', '.join(first)} and {last}" if first else last


def time_values(day: date, starts_at: time | None, zone: ZoneInfo) -> dict[str, Any]:
    """When it is: in the community's words, and in each reader's own zone."""
    start = None if starts_at is None else instant(day, starts_at, zone)
    return {
        "date": day.isoformat(),
        "weekday": f"{day:%A}",
        "starts_at": f"{starts_at:%H:%M}" if starts_at else "",
        "discord_time": _reader_time(start, zone, "F"),
        "discord_relative": _reader_time(start, zone, "R"),
    }


def _reader_time(start: datetime | None, zone: ZoneInfo, style: str) -> ReaderTime | str:
    if start is None:
        return ""
    # How long it is until then nothing can say but a reader's own clock.
    plain = "" if style == "R" else f"{start.astimezone(zone):%A %Y-%m-%d, %H:%M} ({zone.key})"
    return ReaderTime(start, style, plain)


def place_values(talk: Talk | None) -> dict[str, str]:
    """Where it is, and how long it takes; nothing of a talk that is gone."""
    return {
        "room": (talk.room or "") if talk else "",
        "link": (talk.link or "") if talk else "",
        "length": _length(talk.length) if talk and talk.length else "",
    }


def _length(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{rest} min"] if rest else [])])
