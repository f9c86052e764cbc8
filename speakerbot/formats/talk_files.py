"""Files of talks: the Node bot's documents in Extended JSON, and sheets.

Sheets are read with the names, dates and times that people write. Our own CSV names its columns as
the documents name their fields, but for what is ours in them: ``starts_at``, ``length``, …
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from speakerbot.config import DateOrder
from speakerbot.domain.person import plain_name
from speakerbot.domain.talk import Speaker, Talk, talk_link
from speakerbot.formats.dates import DateColumn, read_clock, read_date, read_length, skipped
from speakerbot.formats.extended import date_value, id_value, relaxed
from speakerbot.formats.ids import discord_id, rounded_ids, why_rounded
from speakerbot.formats.json_lines import Document, documents, write_lines
from speakerbot.formats.sessions import (
    Guest,
    Programme,
    Session,
    name_of,
    plain_id,
    topic_of,
)
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import (
    Cells,
    Column,
    Columns,
    Table,
    read_table,
    write_rows,
)
from speakerbot.formats.talk_fields import (
    BY_NAME,
    COLUMNS,
    DATE,
    FIELDS,
    ID_COLUMNS,
    REQUIRED,
    SPEAKER_COLUMNS,
    STARTS_AT,
    SUBDOCUMENTS,
    TalkEntry,
    columns_of_speakers,
    text,
)
from speakerbot.formats.workbook import write_workbook

T = TypeVar("T")

CSV_NAMES = tuple(
    field.attribute if field.name.startswith("speakerbot.") else field.name for field in FIELDS
)
_CO_SPEAKERS = {name for pair in SPEAKER_COLUMNS for name in pair}
EXAMPLE = {
    "discordUsername": "EXAMPLE: replace this row",
    "discordUserId": "802345678901234561",
    "topic": "Evals that catch regressions before users do",
    "scheduledDate": "2026-11-27",
    "speakerbot.startsAt": "19:30",
    "speakerbot.length": "45",
    "speakerbot.room": "Main stage",
    "speakerbot.link": "https://example.org/evals",
    "speaker2": "",
    "speaker2_id": "",
}
"""The template's row, by field."""
TEMPLATE = tuple(COLUMNS.title(field) for field in EXAMPLE)
TEMPLATE_FORMATS = {
    COLUMNS.title(field): "yyyy-mm-dd" if field == DATE else "hh:mm" if field == STARTS_AT else "@"
    for field in EXAMPLE
}


def read(
    source: Source,
    today: date,
    order: DateOrder | None = None,
    mapped: Mapping[str, str] | None = None,
) -> Iterator[TalkEntry]:
    """Talks whose fields are all in order; every other problem becomes one of the source.

    Of a sheet: ``today`` in the community's zone is what a date without a year comes after,
    ``order`` is for a column of dates that does not decide its own, ``mapped`` as
    :meth:`Columns.parse_map` returns it."""
    return (
        _read_json(source)
        if source.kind == "json"
        else _read_table(source, DateColumn(today, order), mapped)
    )


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


def _read_table(
    source: Source, dates: DateColumn, mapped: Mapping[str, str] | None
) -> Iterator[TalkEntry]:
    table = read_table(source, COLUMNS, mapped)
    rows = [(place, cells) for place, cells in table.rows if not _is_example(source, place, cells)]
    reader = _RowReader(table, dates, rows)
    source.notes.extend(dates.notes)
    for place, cells in rows:
        before = len(source.problems.found)
        entry = reader.entry(place, cells, partial(source.problems.add, place))
        if len(source.problems.found) == before:
            yield entry


def _is_example(source: Source, place: str, cells: Cells) -> bool:
    if cells.get("discordUsername") != EXAMPLE["discordUsername"]:
        return False
    source.notes.append(f"{place} is the example of the template, and was left out")
    return True


class _RowReader:
    """Reads rows of a table whose columns have been looked at as a whole."""

    def __init__(self, table: Table, dates: DateColumn, rows: list[tuple[str, Cells]]) -> None:
        self._table = table
        self._days: dict[str, tuple[date, time | None] | ValueError] = {}
        for place, cells in rows:
            if DATE in cells:
                try:
                    dates.add(place, cells[DATE])
                except ValueError as problem:
                    self._days[place] = problem
        self._days.update(dates.read())
        self._rounded = {
            name: rounded_ids([cells[name] for _, cells in rows if name in cells])
            for name in ID_COLUMNS
        }

    def entry(self, place: str, cells: Cells, add: Callable[..., None]) -> TalkEntry:
        values: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        beside_date = None
        for name, cell in cells.items():
            field = BY_NAME.get(name)
            try:
                if name == DATE:
                    values["date"], beside_date = self._day(place)
                elif field:
                    values[field.attribute] = field.from_cell(self._as_written(name, cell))
                elif name in _CO_SPEAKERS:
                    continue
                elif name != "__v":  # which mongoexport --type=csv writes
                    extra[name] = text(cell)
            except ValueError as problem:
                add(str(problem), field=self._title(name))
        for name in REQUIRED:
            if name not in cells:
                add("missing", field=self._title(name))
        if co_speakers := tuple(self._co_speakers(cells, add)):
            values["co_speakers"] = co_speakers
        if beside_date and values.setdefault("starts_at", beside_date) != beside_date:
            other = f"{beside_date:%H:%M} stands beside the date"
            add(f"{cells[STARTS_AT]!r}, but {other}", field=self._title(STARTS_AT))
        return TalkEntry(place, values, extra, self._table.titles)

    def _day(self, place: str) -> tuple[date, time | None]:
        found = self._days[place]
        if isinstance(found, ValueError):
            raise found
        return found

    def _co_speakers(self, cells: Cells, add: Callable[..., None]) -> Iterator[Speaker]:
        for pair in SPEAKER_COLUMNS:
            name, identifier = cells.get(pair.name), cells.get(pair.id)
            try:
                if identifier is not None:
                    user_id = discord_id(self._as_written(pair.id, identifier))
                    if name is not None:
                        yield Speaker(user_id, text(name))
            except ValueError as problem:
                add(str(problem), field=self._title(pair.id))
            if (name is None) != (identifier is None):
                missing = pair.name if name is None else pair.id
                add("missing: a speaker has a name and a Discord ID", field=self._title(missing))

    def _title(self, name: str) -> str:
        return self._table.titles.get(name) or COLUMNS.title(name)

    def _as_written(self, name: str, cell: str) -> str:
        """Raises ValueError for an id that a spreadsheet has rounded."""
        if cell in self._rounded.get(name, ()):
            raise ValueError(why_rounded(cell))
        return cell


SESSION_ID, STATUS = "session", "status"
CALLED_OFF = ("cancelled", "canceled", "called off", "withdrawn")
NEEDED = ("username", "topic", "date")
SESSION_COLUMNS = Columns(
    [
        Column(SESSION_ID, "ID", ("session id", "code", "key", "talk id", "_id", "uid")),
        Column(STATUS, "Status", ("state",)),
        *(
            replace(field.column, required=field.attribute in NEEDED)
            for field in FIELDS
            if field.attribute not in ("id", "source_id")
        ),
        *columns_of_speakers(),
    ],
    reserved=SUBDOCUMENTS,
)
"""Of a sheet that is a programme: its rows have ids of their own, and speakers may have none."""
_LIKE_AN_ID = re.compile(r"[\d.,eE+\s]+|<@!?\d*>", re.ASCII)


def read_programme(
    source: Source,
    scope: str,
    zone: ZoneInfo,
    today: date,
    order: DateOrder | None = None,
    mapped: Mapping[str, str] | None = None,
) -> Programme:
    """A sheet as a programme that is read again and again; ``scope`` tells it from others. What
    cannot be read becomes a problem of the source."""
    table = read_table(source, SESSION_COLUMNS, mapped)
    rows = [(place, cells) for place, cells in table.rows if not _is_example(source, place, cells)]
    dates = DateColumn(today, order)
    reader = _SessionReader(table, dates, rows)
    counted: Counter[str] = Counter()
    sessions = []
    for place, cells in rows:
        session = reader.session(place, cells, zone, partial(source.problems.add, place))
        if session is not None and SESSION_ID not in cells:
            counted[session.id] += 1
            if (number := counted[session.id]) > 1:
                session = replace(session, id=f"{session.id}-{number}")
        sessions += [session] if session else []
    return Programme(
        f"sheet:{scope}:",
        tuple(sessions),
        stable_ids=all(SESSION_ID in cells for _, cells in rows),
        notes=(*source.notes, *dates.notes),
    )


class _SessionReader(_RowReader):
    """Reads rows as sessions: of a speaker the Discord id may be missing, of a session the date."""

    def session(
        self, place: str, cells: Cells, zone: ZoneInfo, add: Callable[..., None]
    ) -> Session | None:
        """None where something is wrong; ``add`` is called with each problem."""
        wrong: list[tuple[str, str]] = []

        def said(name: str, read: Callable[[str], T]) -> T | None:
            try:
                return read(self._as_written(name, cells[name])) if name in cells else None
            except ValueError as problem:
                wrong.append((str(problem), name))
                return None

        day, beside_date = said(DATE, partial(self._dated, place)) or (None, None)
        start = said(STARTS_AT, read_clock) or beside_date
        topic = said("topic", topic_of)
        if topic is None and "topic" not in cells:
            wrong.append(("missing", "topic"))
        if day and start and (why := skipped(day, start, zone)):
            wrong.append((why, STARTS_AT if STARTS_AT in cells else DATE))
        guests = []
        for name, identifier in (("discordUsername", "discordUserId"), *SPEAKER_COLUMNS):
            user_id, handle = said(identifier, _discord_user) or (None, None)
            if who := name_of(cells.get(name)) or handle or user_id:
                guests.append(Guest(who, user_id, handle))
        length = said("speakerbot.length", read_length)
        link = said("speakerbot.link", talk_link)
        for what, name in wrong:
            add(what, field=self._title(name))
        if wrong or topic is None:
            return None
        return Session(
            id=plain_id(cells.get(SESSION_ID) or _made_id(guests, topic)),
            topic=topic,
            guests=tuple(guests),
            day=day,
            starts_at=start,
            length=length,
            room=name_of(cells.get("speakerbot.room")) or None,
            link=link,
            cancelled=cells.get(STATUS, "").strip().casefold() in CALLED_OFF,
        )

    def _dated(self, place: str, cell: str) -> tuple[date, time | None]:
        """Next week, '26 Nov' would be another day: the talk would move by a year."""
        day, clock = self._day(place)
        if read_date(cell, day).year is None:
            raise ValueError(
                f"{cell.strip()!r} has no year, which a sheet that is read again and again needs; "
                f"write {day}"
            )
        return day, clock


def _discord_user(cell: str) -> tuple[str | None, str | None]:
    """An id, or else what may be somebody's name there. Raises ValueError for a broken id."""
    if _LIKE_AN_ID.fullmatch(cell.strip()):
        return discord_id(cell), None
    return None, name_of(cell).removeprefix("@") or None


def _made_id(guests: Sequence[Guest], topic: str) -> str:
    """Where a sheet has no ids: who speaks about what, which stays when a talk moves."""
    names = [plain_name(guest.name) for guest in guests[:1]]
    return sha256("\n".join([*names, plain_name(topic)]).encode()).hexdigest()[:16]


def write_csv(talks: Sequence[Talk]) -> Iterator[str]:
    """The header and one row a talk. Unknown fields are left out."""
    many = max((len(talk.co_speakers) for talk in talks), default=0)
    pairs = SPEAKER_COLUMNS[: max(many, 1)]
    columns = [*CSV_NAMES, *(name for pair in pairs for name in pair)]
    return write_rows(columns, (_cells(talk, len(pairs)) for talk in talks))


def _cells(talk: Talk, pairs: int) -> list[str]:
    values = ((field, getattr(talk, field.attribute)) for field in FIELDS)
    cells = ["" if value is None else field.to_cell(value) for field, value in values]
    for number in range(pairs):
        others = talk.co_speakers[number : number + 1]
        cells += [others[0].username, others[0].user_id] if others else ["", ""]
    return cells


def write_template() -> Iterator[str]:
    """An empty sheet as CSV: the header, and an example that import leaves out."""
    return write_rows(TEMPLATE, [tuple(EXAMPLE.values())])


def template_workbook() -> bytes:
    """The same as .xlsx, in which ids stay texts. Raises UsageError without openpyxl."""
    return write_workbook(TEMPLATE, [tuple(EXAMPLE.values())], TEMPLATE_FORMATS)


def left_out(talks: Iterable[Talk]) -> int:
    """How many of the talks have fields that CSV leaves out."""
    most = len(SPEAKER_COLUMNS)
    return sum(1 for talk in talks if talk.extra or len(talk.co_speakers) > most)
