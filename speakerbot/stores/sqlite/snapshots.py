"""What each speaker knows of their talk, compared with the talks by joins."""

from __future__ import annotations

from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_ms, marks, to_ms
from speakerbot.stores.sqlite.talks import COLUMNS as TALK_COLUMNS
from speakerbot.stores.sqlite.talks import to_talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from speakerbot.domain.talk_changes import Entry, Pair, Version

COLUMNS = (
    "talk_id, user_id, told_date, told_topic, seen_date, seen_topic, pending, sequence, at, "
    "username, thread_id"
)
ENTRY = [f"e.{name}" for name in COLUMNS.split(", ")]
PAIR = ", ".join([*ENTRY, *(f"t.{name}" for name in TALK_COLUMNS.split(", "))])
SAME = "e.talk_id = t.id AND e.user_id = t.user_id"
CHANGED_TALKS = f"""
    SELECT {PAIR} FROM talks t LEFT JOIN snapshot e ON {SAME}
    WHERE (t.id, t.user_id) > (?, ?) AND (
        e.talk_id IS NULL OR e.pending OR e.seen_date IS NOT t.date OR e.seen_topic IS NOT t.topic
        OR e.username IS NOT t.username OR e.thread_id IS NOT t.thread_id)
    ORDER BY t.id LIMIT ?"""  # noqa: S608
ENTRIES = f"""
    SELECT {PAIR} FROM snapshot e LEFT JOIN talks t ON {SAME}
    WHERE (e.talk_id, e.user_id) > (?, ?) AND %s
    ORDER BY e.talk_id, e.user_id LIMIT ?"""  # noqa: S608
GONE = ENTRIES % "t.id IS NULL AND (e.pending OR e.seen_date IS NOT NULL)"
PENDING = ENTRIES % "e.pending"
ALL = ENTRIES % "TRUE"
FIRST = f"""
    INSERT INTO snapshot ({COLUMNS})
    SELECT id, user_id, date, topic, date, topic, FALSE, 1, ?, username, thread_id FROM talks
"""  # noqa: S608
INSERT = f"INSERT INTO snapshot ({COLUMNS}) VALUES ({marks(11)}) ON CONFLICT DO NOTHING"  # noqa: S608
UPDATE = (
    f"UPDATE snapshot SET ({COLUMNS}) = ({marks(11)}) "  # noqa: S608
    "WHERE talk_id = ? AND user_id = ? AND sequence = ?"
)


class SqliteSnapshots:
    def __init__(self, db: Database) -> None:
        self._db = db

    def taken(self) -> bool:
        return bool(self._db.rows("SELECT 1 FROM snapshot_taken WHERE once = 1"))

    def take(self, at: datetime) -> None:
        with self._db.write():
            if not self.taken():
                self._db.run(FIRST, (to_ms(at),))
                self._db.run("INSERT INTO snapshot_taken VALUES (1, ?)", (to_ms(at),))

    def differing(self) -> Iterator[Pair]:
        return chain(self._pairs(CHANGED_TALKS), self._pairs(GONE))

    def pending(self) -> Iterator[Pair]:
        return self._pairs(PENDING)

    def all(self) -> Iterator[Entry]:
        return (pair.entry for pair in self._pairs(ALL) if pair.entry)

    def _pairs(self, sql: str) -> Iterator[Pair]:
        after = ("", "")
        while self.taken():
            page = self._db.rows(sql, (*after, PAGE))
            for row in page:
                pair = _pair(row)
                yield pair
            if len(page) < PAGE:
                return
            after = pair.key

    def advance(self, steps: Sequence[tuple[Entry | None, Entry]]) -> None:
        with self._db.write():
            for before, after in steps:
                if before is None:
                    self._db.run(INSERT, _row(after))
                else:
                    own = (before.talk_id, before.user_id, before.sequence)
                    self._db.run(UPDATE, (*_row(after), *own))


def _row(entry: Entry) -> Sequence[Any]:
    return (
        entry.talk_id,
        entry.user_id,
        *_values(entry.told),
        *_values(entry.seen),
        entry.pending,
        entry.sequence,
        to_ms(entry.at),
        entry.username,
        entry.thread_id,
    )


def _values(version: Version | None) -> tuple[str | None, str | None]:
    return (version.date.isoformat(), version.topic) if version else (None, None)


def _pair(row: Row) -> Pair:
    from speakerbot.domain.talk_changes import Pair  # other jobs need none

    entry, talk = row[: len(ENTRY)], row[len(ENTRY) :]
    return Pair(
        None if entry[0] is None else _entry(entry),
        None if talk[0] is None else to_talk(talk),
    )


def _entry(row: Row) -> Entry:
    from speakerbot.domain.talk_changes import Entry

    talk_id, user_id, told_date, told_topic, seen_date, seen_topic, *rest = row
    pending, sequence, at, username, thread_id = rest
    return Entry(
        talk_id=talk_id,
        user_id=user_id,
        told=_version(told_date, told_topic),
        seen=_version(seen_date, seen_topic),
        pending=bool(pending),
        sequence=sequence,
        at=from_ms(at),
        username=username,
        thread_id=thread_id,
    )


def _version(day: str | None, topic: str | None) -> Version | None:
    from speakerbot.domain.talk_changes import Version

    return None if day is None or topic is None else Version(date.fromisoformat(day), topic)
