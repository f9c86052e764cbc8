"""What calendars are told of each talk: those of programs, compared with the talks by joins, and
the server's, which is its events."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.domain.talk import FIRST_DAY
from speakerbot.stores.nouns import (
    EVENT_DETAILS,
    calendar_entry_of,
    event_document,
    event_record_of,
)
from speakerbot.stores.reading import Reader
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, instant, placeholders, to_json, to_ms
from speakerbot.stores.sqlite.talks import COLUMNS as TALK_COLUMNS
from speakerbot.stores.sqlite.talks import to_talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.server_event import EventChange, EventRecord
    from speakerbot.domain.talk import Talk

COLUMNS = (
    "talk_id, sequence, date, starts_at, topic, username, cancelled, changed_at, length, room, link"
)
NAMES = COLUMNS.split(", ")
ENTRY = [f"e.{name}" for name in NAMES]
PAIR = ", ".join([*ENTRY, *(f"t.{name}" for name in TALK_COLUMNS.split(", "))])
TALK_NAMES = TALK_COLUMNS.split(", ")
E_DATE, T_ID, T_DATE = (
    NAMES.index("date"),
    len(ENTRY) + TALK_NAMES.index("id"),
    len(ENTRY) + TALK_NAMES.index("date"),
)
"""Places in a row of PAIR."""
CHANGED_TALKS = f"""
    SELECT {PAIR} FROM talks t LEFT JOIN calendar e ON e.talk_id = t.id
    WHERE (t.date, t.id) > (?, ?) AND (
        e.talk_id IS NULL OR e.cancelled OR e.date IS NOT t.date
        OR e.starts_at IS NOT t.starts_at OR e.topic IS NOT t.topic
        OR e.username IS NOT t.username OR t.co_speakers IS NOT NULL
        OR e.length IS NOT t.length OR e.room IS NOT t.room OR e.link IS NOT t.link)
    ORDER BY t.date, t.id LIMIT ?"""  # noqa: S608
"""What may differ: a talk of several speakers is compared once it is read."""
ELSEWHERE = f"""
    SELECT {PAIR} FROM calendar e LEFT JOIN talks t ON e.talk_id = t.id
    WHERE (e.date, e.talk_id) > (?, ?) AND NOT e.cancelled AND (t.id IS NULL OR t.date < ?)
    ORDER BY e.date, e.talk_id LIMIT ?"""  # noqa: S608
"""Live entries dated so whose talks are gone, or are not dated so."""
ALL = f"SELECT {COLUMNS} FROM calendar WHERE talk_id > ? ORDER BY talk_id LIMIT ?"  # noqa: S608
ONE = f"SELECT {COLUMNS} FROM calendar WHERE talk_id = ?"  # noqa: S608
VALUES = placeholders(len(NAMES))
INSERT = f"INSERT INTO calendar ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608
UPDATE = f"UPDATE calendar SET ({COLUMNS}) = ({VALUES}) WHERE talk_id = ? AND sequence = ?"  # noqa: S608


class SqliteCalendar:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, talk_id: str) -> CalendarEntry | None:
        rows = self._db.rows(ONE, (talk_id,))
        return self._entry(rows[0]) if rows else None

    def all(self) -> Iterator[CalendarEntry]:
        return (entry for row in self._pages(ALL, [""], [0]) if (entry := self._entry(row)))

    def _entry(self, row: Row) -> CalendarEntry | None:
        values = dict(zip(NAMES, row, strict=True))
        values["changed_at"] = instant(values["changed_at"])
        return calendar_entry_of(
            values, Reader(self._db.damage, "calendar_entry", values["talk_id"])
        )

    def differing(
        self, since: date | None = None
    ) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        first = max(since or FIRST_DAY, FIRST_DAY).isoformat()
        rows = chain(
            self._pages(CHANGED_TALKS, [first, ""], [T_DATE, T_ID]),
            self._pages(ELSEWHERE, [first, ""], [E_DATE, 0], first),
        )
        for row in rows:
            entry_row, talk_row = row[: len(ENTRY)], row[len(ENTRY) :]
            entry = None if entry_row[0] is None else self._entry(entry_row)
            talk = None if talk_row[0] is None else to_talk(talk_row, self._db.damage)
            # What is there and cannot be read is neither new nor gone.
            read = (entry, talk).count(None) == (entry_row[0], talk_row[0]).count(None)
            if read and not (entry and talk and entry.shows(talk)):
                yield talk, entry

    def _pages(
        self, sql: str, after: Sequence[Any], order: Sequence[int], *more: Any
    ) -> Iterator[Row]:
        """In the order of the columns at these places, from after these values on."""
        while True:
            page = self._db.rows(sql, (*after, *more, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after = [page[-1][place] for place in order]

    def advance(self, steps: Sequence[tuple[CalendarEntry | None, CalendarEntry]]) -> None:
        with self._db.write():
            for before, after in steps:
                if before is None:
                    self._db.run(INSERT, _row(after))
                else:
                    self._db.run(UPDATE, (*_row(after), before.talk_id, before.sequence))


def _row(entry: CalendarEntry) -> Sequence[Any]:
    return (
        entry.talk_id,
        entry.sequence,
        entry.date.isoformat(),
        entry.starts_at.isoformat("minutes") if entry.starts_at else None,
        entry.topic,
        entry.username,
        entry.cancelled,
        to_ms(entry.changed_at),
        entry.length,
        entry.room,
        entry.link,
    )


EVENT = "revision, at, event_id, written, stands, writing, refused"
EVENT_NAMES = EVENT.split(", ")
EVENTS = f"SELECT talk_id, {EVENT} FROM server_events WHERE talk_id > ? ORDER BY talk_id LIMIT ?"  # noqa: S608
REMEMBER = f"""
    INSERT INTO server_events ({EVENT}, talk_id) VALUES ({placeholders(8)})
    ON CONFLICT DO NOTHING"""  # noqa: S608
CHANGE = f"""
    UPDATE server_events SET ({EVENT}) = ({placeholders(7)})
    WHERE talk_id = ? AND revision = ?"""  # noqa: S608
FORGET = "DELETE FROM server_events WHERE talk_id = ? AND revision = ?"


class SqliteServerEvents:
    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> Iterator[EventRecord]:
        after = ""
        while page := self._db.rows(EVENTS, (after, PAGE)):
            for talk_id, *row in page:
                values = dict(zip(EVENT_NAMES, row, strict=True))
                values |= {name: from_json(values[name]) for name in EVENT_DETAILS if values[name]}
                values["at"] = instant(values["at"])
                reader = Reader(self._db.damage, "server_event", talk_id)
                if record := event_record_of(values, reader):
                    yield record
            after = page[-1][0]

    def swap(self, changes: Sequence[EventChange]) -> set[str]:
        with self._db.write():
            return {change.talk_id for change in changes if self._take(change)}

    def _take(self, change: EventChange) -> bool:
        before, after = change.before, change.after
        if after is None:
            revision = before.revision if before else ""
            return self._db.run(FORGET, (change.talk_id, revision)) > 0
        row = _event_row(after)
        if before is None:
            return self._db.run(REMEMBER, (*row, change.talk_id)) > 0
        return self._db.run(CHANGE, (*row, change.talk_id, before.revision)) > 0


def _event_row(record: EventRecord) -> Sequence[Any]:
    values = event_document(record)
    values |= {name: to_json(values[name]) for name in EVENT_DETAILS if values[name]}
    values["at"] = to_ms(record.at)
    return [values[name] for name in EVENT_NAMES]
