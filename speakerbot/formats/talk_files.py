"""Files of talks: the Node bot's documents in Extended JSON, CSV, and a calendar (iCalendar).

CSV names its columns as the documents name their fields; the start is ``starts_at``. The calendar
has no METHOD, as RFC 5545 has it for what is read rather than sent: then DTSTAMP says when an event
last changed, and the same talks are the same text, whenever they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from speakerbot import __version__
from speakerbot.clock import instant
from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.talk import Talk
from speakerbot.formats.extended import date_value, id_value, relaxed
from speakerbot.formats.json_lines import Document, documents, write_lines
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import Cells, rows, write_rows
from speakerbot.formats.talk_fields import (
    BY_NAME,
    FIELDS,
    REQUIRED,
    SUBDOCUMENTS,
    Field,
    TalkEntry,
)

if TYPE_CHECKING:
    from icalendar import Event

_STARTS_AT = "speakerbot.startsAt"


def _column(field: Field) -> str:
    return "starts_at" if field.name == _STARTS_AT else field.name


COLUMNS = {_column(field): field for field in FIELDS}
_COLUMNS_READ = COLUMNS | {_STARTS_AT: COLUMNS["starts_at"]}
"""mongoexport --type=csv writes the dotted name."""
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")
"""Characters that RFC 5545 has no place for in a text."""


def read(source: Source) -> Iterator[TalkEntry]:
    """Talks whose fields are all in order; every other problem becomes one of the source."""
    return _read_json(source) if source.kind == "json" else _read_csv(source)


def _read_json(source: Source) -> Iterator[TalkEntry]:
    for place, document in documents(source):
        before = len(source.problems.found)
        add = partial(source.problems.add, place)
        entry = _entry_of_document(place, document, add)
        if len(source.problems.found) == before:
            yield entry


def _entry_of_document(place: str, document: Document, add: Callable[..., None]) -> TalkEntry:
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in _flattened(document):
        try:
            if field := BY_NAME.get(name):
                if not _empty(value):
                    values[field.attribute] = field.from_json(value)
            elif (name, plain := relaxed(value)) != ("__v", 0):
                _keep(extra, name, plain)
        except ValueError as problem:
            add(str(problem), field=name)
    for name in REQUIRED:
        if _empty(document.get(name)):
            add("missing", field=name)
    return TalkEntry(place, values, extra)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _flattened(document: Document) -> Iterator[tuple[str, Any]]:
    """Fields with the names of FIELDS: those of our two subdocuments dotted."""
    for name, value in document.items():
        if name in SUBDOCUMENTS and isinstance(value, dict):
            for inner, inner_value in value.items():
                yield f"{name}.{inner}", inner_value
        elif name in SUBDOCUMENTS and value is not None:
            yield f"{name}.", value
        elif name not in SUBDOCUMENTS:
            yield name, value


def _keep(extra: dict[str, Any], name: str, value: Any) -> None:
    outer, dot, inner = name.partition(".")
    if not dot or outer not in SUBDOCUMENTS:
        extra[name] = value
    elif inner:
        extra.setdefault(outer, {})[inner] = value
    else:
        raise ValueError(f"must be a document or null, not {value!r}")


def write_json(talks: Iterable[Talk]) -> Iterator[str]:
    """Lines as ``mongoexport`` writes them, unknown fields included."""
    return write_lines(map(document_of, talks))


def document_of(talk: Talk) -> Document:
    """The talk as the Node bot's document, in relaxed Extended JSON."""
    unknown = dict(talk.extra)
    reminders = _flags(talk) | dict(unknown.pop("reminders", {}))
    ours = dict(unknown.pop("speakerbot", {})) | _ours(talk)
    version = unknown.pop("__v", 0)
    made: Mapping[str, Any] = {
        "_id": id_value(talk.id),
        "discordUserId": talk.user_id,
        "discordUsername": talk.username,
        "topic": talk.topic,
        "scheduledDate": date_value(datetime.combine(talk.date, time(), UTC)),
        "bookingTimestamp": date_value(talk.booked_at) if talk.booked_at else None,
        "talkCompleted": talk.completed,
        "threadId": talk.thread_id,
        "schedulerUserId": talk.scheduler_user_id,
        "schedulerUsername": talk.scheduler_username,
        "reminders": reminders or None,
        "speakerbot": ours or None,
    }
    known = {name: value for name, value in made.items() if value is not None}
    return known | unknown | {"__v": version}


def _flags(talk: Talk) -> Document:
    flags = {"sentTminus1At": talk.sent_tminus1_at, "sentDayOfAt": talk.sent_day_of_at}
    return {name: date_value(at) for name, at in flags.items() if at is not None}


def _ours(talk: Talk) -> Document:
    given: Mapping[str, Any] = {
        "startsAt": f"{talk.starts_at:%H:%M}" if talk.starts_at else None,
        "length": talk.length,
        "room": talk.room,
        "link": talk.link,
        "speakers": [
            {"userId": each.user_id, "username": each.username} for each in talk.co_speakers
        ],
        "sourceId": talk.source_id,
    }
    return {name: value for name, value in given.items() if value not in (None, [])}


def _read_csv(source: Source) -> Iterator[TalkEntry]:
    for place, cells in rows(source, REQUIRED):
        before = len(source.problems.found)
        entry = _entry_of_cells(source, place, cells)
        if len(source.problems.found) == before:
            yield entry


def _entry_of_cells(source: Source, place: str, cells: Cells) -> TalkEntry:
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, cell in cells.items():
        field = _COLUMNS_READ.get(name)
        try:
            if field:
                values[field.attribute] = field.from_cell(cell)
            elif (name, cell.strip()) != ("__v", "0"):
                extra[_unknown(name)] = cell
        except ValueError as problem:
            source.problems.add(place, str(problem), field=name)
    for name in REQUIRED:
        if name not in cells:
            source.problems.add(place, "missing", field=name)
    return TalkEntry(place, values, extra)


def _unknown(name: str) -> str:
    if "." in name or name.startswith("$"):
        raise ValueError("no such column, and not a name under which it could be kept")
    return name


def write_csv(talks: Iterable[Talk]) -> Iterator[str]:
    """The header and one row a talk. Unknown fields are left out."""
    return write_rows(tuple(COLUMNS), map(_cells, talks))


def _cells(talk: Talk) -> list[str]:
    values = ((field, getattr(talk, field.attribute)) for field in FIELDS)
    return ["" if value is None else field.to_cell(value) for field, value in values]


def left_out(talks: Iterable[Talk]) -> int:
    """How many of the talks have fields that CSV leaves out."""
    return sum(1 for talk in talks if talk.extra)


def write_calendar(entries: Iterable[CalendarEntry], zone: ZoneInfo) -> str:
    """The calendar as text. ``zone`` is the community's."""
    from icalendar import Calendar

    calendar = Calendar()
    calendar.add("prodid", f"-//speakerbot//{__version__}//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Talks")
    for entry in entries:
        calendar.add_component(_event(entry, zone))
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical()).decode()


def _event(entry: CalendarEntry, zone: ZoneInfo) -> Event:
    from icalendar import Event

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
