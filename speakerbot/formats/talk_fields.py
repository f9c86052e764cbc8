"""The fields of a talk in files: their names, which are the Node bot's, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from speakerbot.clock import parse_clock_time
from speakerbot.domain.talk import Speaker, talk_day, talk_length, talk_link
from speakerbot.formats.extended import instant_of, iso, parse_instant, relaxed
from speakerbot.formats.ids import snowflake, talk_id

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class TalkEntry:
    """One talk as a file gives it; what the file leaves out or empty is not among ``values``."""

    place: str
    values: Mapping[str, Any]
    """By the names of ``Talk``'s fields; always with user_id, username, topic and date."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    """In a document; dotted inside a subdocument."""
    attribute: str
    """Of :class:`speakerbot.domain.talk.Talk`."""
    from_json: Callable[[Any], Any]
    from_cell: Callable[[str], Any]
    to_cell: Callable[[Any], str] = str
    required: bool = False


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_kind(value)}")
    if "\0" in value:
        raise ValueError("holds a zero byte")
    return value


def day(value: Any) -> date:
    """The day of a date that must be midnight in UTC."""
    return _midnight(instant_of(value))


def day_cell(cell: str) -> date:
    return _midnight(parse_instant(cell))


def _midnight(at: datetime) -> date:
    if at != datetime.combine(at.date(), time(), UTC):
        raise ValueError(
            f"{iso(at)} is not midnight in UTC; a talk's date is a day, and its start goes into "
            "speakerbot.startsAt (CSV: starts_at)"
        )
    return talk_day(at.date())


def clock(value: Any) -> time:
    return parse_clock_time(text(value))


def minutes(value: Any) -> int:
    if isinstance(value, dict):
        value = relaxed(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number of minutes, not {_kind(value)}")
    return talk_length(value)


def link(value: Any) -> str:
    return talk_link(text(value))


def speakers(value: Any) -> tuple[Speaker, ...]:
    """Of a list of documents with ``userId`` and ``username``."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, not {_kind(value)}")
    return tuple(_speaker(number, each) for number, each in enumerate(value, 1))


def _speaker(number: int, value: Any) -> Speaker:
    if not isinstance(value, dict) or not {"userId", "username"} <= value.keys():
        raise ValueError(f"speaker {number}: must be a document with userId and username")
    try:
        return Speaker(snowflake(value["userId"]), text(value["username"]))
    except ValueError as problem:
        raise ValueError(f"speaker {number}: {problem}") from problem


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


def truth_cell(cell: str) -> bool:
    word = cell.strip().lower()
    if word not in TRUE + FALSE:
        raise ValueError(f"{cell!r} is neither true nor false")
    return word in TRUE


def snowflake_cell(cell: str) -> str:
    return snowflake(cell.strip())


def talk_id_cell(cell: str) -> str:
    return talk_id(cell.strip())


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "a text"
        case dict() | list():
            return "a document" if isinstance(value, dict) else "a list"
    return "a number"


def _snowflake(name: str, attribute: str, *, required: bool = False) -> Field:
    return Field(name, attribute, snowflake, snowflake_cell, required=required)


def _text(name: str, attribute: str, *, required: bool = False) -> Field:
    return Field(name, attribute, text, text, required=required)


def _instant(name: str, attribute: str) -> Field:
    return Field(name, attribute, instant_of, parse_instant, iso)


FIELDS = (
    Field("_id", "id", talk_id, talk_id_cell),
    _snowflake("discordUserId", "user_id", required=True),
    _text("discordUsername", "username", required=True),
    _text("topic", "topic", required=True),
    Field("scheduledDate", "date", day, day_cell, date.isoformat, required=True),
    Field("speakerbot.startsAt", "starts_at", clock, clock, lambda at: f"{at:%H:%M}"),
    _instant("bookingTimestamp", "booked_at"),
    Field("talkCompleted", "completed", truth, truth_cell, lambda done: str(done).lower()),
    _snowflake("threadId", "thread_id"),
    _snowflake("schedulerUserId", "scheduler_user_id"),
    _text("schedulerUsername", "scheduler_username"),
    _instant("reminders.sentTminus1At", "sent_tminus1_at"),
    _instant("reminders.sentDayOfAt", "sent_day_of_at"),
)
_IN_DOCUMENTS = (
    Field("speakerbot.length", "length", minutes, int),
    _text("speakerbot.room", "room"),
    Field("speakerbot.link", "link", link, link),
    Field("speakerbot.speakers", "co_speakers", speakers, str),
    _text("speakerbot.sourceId", "source_id"),
)
BY_NAME = {field.name: field for field in (*FIELDS, *_IN_DOCUMENTS)}
REQUIRED = tuple(field.name for field in FIELDS if field.required)
SUBDOCUMENTS = ("reminders", "speakerbot")
