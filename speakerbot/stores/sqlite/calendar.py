"""What calendar programs are told of each talk, compared with the talks by joins."""

from __future__ import annotations

from datetime import date, time
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_ms, marks, to_ms
from speakerbot.stores.sqlite.talks import COLUMNS as TALK_COLUMNS
from speakerbot.stores.sqlite.talks import to_talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.talk import Talk

COLUMNS = "talk_id, sequence, date, starts_at, topic, username, cancelled, changed_at"
ENTRY = [f"e.{name}" for name in COLUMNS.split(", ")]
PAIR = ", ".join([*ENTRY, *(f"t.{name}" for name in TALK_COLUMNS.split(", "))])
CHANGED_TALKS = f"""
    SELECT {PAIR} FROM talks t LEFT JOIN calendar e ON e.talk_id = t.id
    WHERE t.id > ? AND (
        e.talk_id IS NULL OR e.cancelled OR e.date IS NOT t.date
        OR e.starts_at IS NOT t.starts_at OR e.topic IS NOT t.topic
        OR e.username IS NOT t.username)
    ORDER BY t.id LIMIT ?"""  # noqa: S608
GONE = f"""
    SELECT {PAIR} FROM calendar e LEFT JOIN talks t ON e.talk_id = t.id
    WHERE e.talk_id > ? AND NOT e.cancelled AND t.id IS NULL
    ORDER BY e.talk_id LIMIT ?"""  # noqa: S608
ALL = f"SELECT {COLUMNS} FROM calendar WHERE talk_id > ? ORDER BY talk_id LIMIT ?"  # noqa: S608
ONE = f"SELECT {COLUMNS} FROM calendar WHERE talk_id = ?"  # noqa: S608
INSERT = f"INSERT INTO calendar ({COLUMNS}) VALUES ({marks(8)}) ON CONFLICT DO NOTHING"  # noqa: S608
UPDATE = f"UPDATE calendar SET ({COLUMNS}) = ({marks(8)}) WHERE talk_id = ? AND sequence = ?"  # noqa: S608


class SqliteCalendar:
    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, talk_id: str) -> CalendarEntry | None:
        rows = self._db.rows(ONE, (talk_id,))
        return _entry(rows[0]) if rows else None

    def all(self) -> Iterator[CalendarEntry]:
        return map(_entry, self._pages(ALL))

    def differing(self) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        return map(_pair, chain(self._pages(CHANGED_TALKS), self._pages(GONE)))

    def _pages(self, sql: str) -> Iterator[Row]:
        after = ""
        while True:
            page = self._db.rows(sql, (after, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1][0] or page[-1][len(ENTRY)]

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
    )


def _pair(row: Row) -> tuple[Talk | None, CalendarEntry | None]:
    entry, talk = row[: len(ENTRY)], row[len(ENTRY) :]
    return (
        None if talk[0] is None else to_talk(talk),
        None if entry[0] is None else _entry(entry),
    )


def _entry(row: Row) -> CalendarEntry:
    from speakerbot.domain.calendar_entry import CalendarEntry  # most runs need none

    talk_id, sequence, day, starts_at, topic, username, cancelled, changed_at = row
    return CalendarEntry(
        talk_id=talk_id,
        sequence=sequence,
        date=date.fromisoformat(day),
        starts_at=None if starts_at is None else time.fromisoformat(starts_at),
        topic=topic,
        username=username,
        cancelled=bool(cancelled),
        changed_at=from_ms(changed_at),
    )
