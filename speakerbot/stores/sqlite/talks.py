"""Talks, with the fields of the Node bot's documents."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from speakerbot.domain.talk import Talk
from speakerbot.errors import DateTaken
from speakerbot.stores.dates import as_date, date_taken
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, from_ms, marks, to_json, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from speakerbot.ports.store import FlagWrite

FLAGS = {"sentTminus1At": "sent_tminus1_at", "sentDayOfAt": "sent_day_of_at"}
COLUMNS = (
    "id, user_id, username, topic, date, booked_at, thread_id, completed, scheduler_user_id, "
    "scheduler_username, starts_at, sent_tminus1_at, sent_day_of_at, extra"
)


class SqliteTalks:
    def __init__(self, db: Database) -> None:
        self._db = db

    def between(self, first: date, last: date) -> Iterator[Talk]:
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS} FROM talks WHERE date BETWEEN ? AND ? ORDER BY date LIMIT ?",  # noqa: S608
                (first.isoformat(), last.isoformat(), PAGE),
            )
            talks = [to_talk(row) for row in page]
            yield from talks
            if len(talks) < PAGE or talks[-1].date >= last:
                return
            first = talks[-1].date + timedelta(days=1)

    def all(self) -> Iterator[Talk]:
        return self.between(date.min, date.max)

    def get(self, talk: str) -> Talk | None:
        found = self._one("id = ?", talk)
        if found is None and (day := as_date(talk)):
            found = self._one("date = ?", day.isoformat())
        return found

    def _one(self, where: str, value: str) -> Talk | None:
        rows = self._db.rows(f"SELECT {COLUMNS} FROM talks WHERE {where}", (value,))  # noqa: S608
        return to_talk(rows[0]) if rows else None

    def put(self, talks: Sequence[Talk]) -> None:
        latest = {talk.id: talk for talk in talks}
        with self._db.write():
            flags = self._flags(list(latest))
            # All away first: talks of one call may change dates with one another.
            for talk_id in latest:
                self._db.run("DELETE FROM talks WHERE id = ?", (talk_id,))
            for talk in latest.values():
                row = _row(talk, flags.get(talk.id))
                sql = f"INSERT INTO talks ({COLUMNS}) VALUES ({marks(len(row))})"  # noqa: S608
                if not self._db.run(f"{sql} ON CONFLICT (date) DO NOTHING", row):
                    raise self._taken(talk.date, talk.id)

    def _flags(self, talk_ids: Sequence[str]) -> dict[str, Sequence[int | None]]:
        """As they are stored, of those talks that are."""
        rows = self._db.rows_among(
            "SELECT id, sent_tminus1_at, sent_day_of_at FROM talks WHERE id IN", talk_ids
        )
        return {talk_id: flags for talk_id, *flags in rows}

    def reschedule(self, talk_id: str, to: date) -> bool:
        with self._db.write():
            if self._db.rows(
                "SELECT 1 FROM talks WHERE date = ? AND id <> ?", (to.isoformat(), talk_id)
            ):
                raise self._taken(to, talk_id)
            return bool(
                self._db.run("UPDATE talks SET date = ? WHERE id = ?", (to.isoformat(), talk_id))
            )

    def _taken(self, day: date, talk_id: str) -> DateTaken:
        [(holder,)] = self._db.rows("SELECT id FROM talks WHERE date = ?", (day.isoformat(),))
        return date_taken(day, holder, talk_id)

    def delete(self, talk_id: str) -> bool:
        with self._db.write():
            return bool(self._db.run("DELETE FROM talks WHERE id = ?", (talk_id,)))

    def write_flags(self, writes: Sequence[FlagWrite]) -> set[str]:
        with self._db.write():
            return {write.talk_id for write in writes if self._write_flag(write)}

    def _write_flag(self, write: FlagWrite) -> bool:
        column, seen, to = FLAGS[write.name], to_ms(write.seen), to_ms(write.to)
        sql = f"UPDATE talks SET {column} = ? WHERE id = ? AND ({column} IS ? OR {column} IS ?)"  # noqa: S608
        return bool(self._db.run(sql, (to, write.talk_id, seen, to)))


def _row(talk: Talk, flags: Sequence[int | None] | None) -> Sequence[Any]:
    given = to_ms(talk.sent_tminus1_at), to_ms(talk.sent_day_of_at)
    return (
        talk.id,
        talk.user_id,
        talk.username,
        talk.topic,
        talk.date.isoformat(),
        to_ms(talk.booked_at),
        talk.thread_id,
        talk.completed,
        talk.scheduler_user_id,
        talk.scheduler_username,
        talk.starts_at.isoformat("minutes") if talk.starts_at else None,
        *(given if flags is None else flags),
        to_json(talk.extra),
    )


def to_talk(row: Row) -> Talk:
    """From the columns of COLUMNS."""
    (
        talk_id, user_id, username, topic, day, booked_at, thread_id, completed,
        scheduler_user_id, scheduler_username, starts_at, sent_tminus1_at, sent_day_of_at, extra,
    ) = row  # fmt: skip
    return Talk(
        id=talk_id,
        user_id=user_id,
        username=username,
        topic=topic,
        date=date.fromisoformat(day),
        booked_at=from_ms(booked_at),
        thread_id=thread_id,
        completed=bool(completed),
        scheduler_user_id=scheduler_user_id,
        scheduler_username=scheduler_username,
        starts_at=None if starts_at is None else time.fromisoformat(starts_at),
        sent_tminus1_at=from_ms(sent_tminus1_at),
        sent_day_of_at=from_ms(sent_day_of_at),
        extra=from_json(extra),
    )
