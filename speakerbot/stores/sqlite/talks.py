"""Talks, with the fields of the Node bot's documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speakerbot.domain.talk import FIRST_DAY, LAST_DAY, Talk, by_start
from speakerbot.stores.nouns import speakers_document, talk_fields_of
from speakerbot.stores.reading import (
    CLOCK_TIME,
    FIELDS,
    FIRST_INSTANT,
    IDENTIFIER,
    INSTANT,
    LAST_INSTANT,
    SNOWFLAKE,
    TEXT,
    TRUTH,
    WORDS,
    Damage,
    Reader,
    Unreadable,
)
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, instant, placeholders, to_json, to_ms
from speakerbot.stores.talk_dates import DATE_TEXT, HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from speakerbot.ports.store import FlagWrite

FLAGS = {"sentTminus1At": "sent_tminus1_at", "sentDayOfAt": "sent_day_of_at"}
COLUMNS = (
    "id, user_id, username, topic, date, booked_at, thread_id, completed, scheduler_user_id, "
    "scheduler_username, starts_at, sent_tminus1_at, sent_day_of_at, extra, length, room, link, "
    "co_speakers, source_id"
)
NAMES = COLUMNS.split(", ")
DATE, SOURCE = NAMES.index("date"), NAMES.index("source_id")
BETWEEN = f"""
    SELECT {COLUMNS} FROM talks WHERE (date, id) > (?, ?) AND date <= ?
    ORDER BY date, id LIMIT ?"""  # noqa: S608
FROM_SOURCE = f"""
    SELECT {COLUMNS} FROM talks WHERE (source_id, id) > (?, ?) AND source_id < ?
    ORDER BY source_id, id LIMIT ?"""  # noqa: S608
AFTER_ANY = "\U0010ffff"
"""Ends a text that is greater than any that begins as it does."""
DATE_UNREADABLE = f"SELECT {COLUMNS} FROM talks WHERE date < ? OR date > ? LIMIT ?"  # noqa: S608
WRITE_FLAG = f"""
    UPDATE talks SET {{0}} = ?1 WHERE id = ?2 AND ({{0}} IS ?3 OR {{0}} IS ?4 OR (?3 IS NULL AND
    ({{0}} < {to_ms(FIRST_INSTANT)} OR {{0}} >= {to_ms(LAST_INSTANT)})))"""  # noqa: S608
"""What cannot be read is read as None; a text is greater than any number."""
HIDDEN_NAMED = 100
"""So many talks whose dates cannot be read are named; whoever has more has another problem."""


class SqliteTalks:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._hidden_named = False

    @property
    def one_a_date(self) -> bool:
        return False

    def between(self, first: date, last: date) -> Iterator[Talk]:
        self._name_hidden()
        first, last = max(first, FIRST_DAY), min(last, LAST_DAY)
        pages = self._pages(BETWEEN, (first.isoformat(), ""), (DATE, 0), last.isoformat())
        return by_start(self._talks(pages))

    def _pages(
        self, sql: str, after: Sequence[Any], order: Sequence[int], until: str
    ) -> Iterator[Row]:
        """In the order of the columns at these places, from after these values on."""
        while True:
            page = self._db.rows(sql, (*after, until, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after = [page[-1][place] for place in order]

    def _talks(self, rows: Iterable[Row]) -> Iterator[Talk]:
        talks = (to_talk(row, self._db.damage) for row in rows)
        return (talk for talk in talks if talk is not None)

    def _name_hidden(self) -> None:
        """Warns, once, of the talks that no query for days finds."""
        if not self._hidden_named:
            self._hidden_named = True
            days = (FIRST_DAY.isoformat(), LAST_DAY.isoformat())
            list(self._talks(self._db.rows(DATE_UNREADABLE, (*days, HIDDEN_NAMED))))

    def all(self) -> Iterator[Talk]:
        return self.between(FIRST_DAY, LAST_DAY)

    def get(self, talk_id: str) -> Talk | None:
        rows = self._db.rows(f"SELECT {COLUMNS} FROM talks WHERE id = ?", (talk_id,))  # noqa: S608
        return next(self._talks(rows), None)

    def why_hidden(self, talk_id: str) -> str | None:
        sql = f"SELECT {COLUMNS} FROM talks WHERE id = ?"  # noqa: S608
        try:
            for row in self._db.rows(sql, (talk_id,)):
                read_talk(row, self._db.damage)
        except Unreadable as problem:
            return str(problem)
        return None

    def by_ids(self, ids: Sequence[str]) -> dict[str, Talk]:
        rows = self._db.rows_among(f"SELECT {COLUMNS} FROM talks WHERE id IN", ids)  # noqa: S608
        return {talk.id: talk for talk in self._talks(rows)}

    def by_source(self, prefix: str) -> Iterator[Talk]:
        rows = self._pages(FROM_SOURCE, (prefix, ""), (SOURCE, 0), prefix + AFTER_ANY)
        return self._talks(rows)

    def put(self, talks: Sequence[Talk]) -> None:
        latest = {talk.id: talk for talk in talks}
        with self._db.write():
            flags = self._flags(list(latest))
            for talk in latest.values():
                row = _row(talk, flags.get(talk.id))
                values = placeholders(len(row))
                self._db.run(f"INSERT OR REPLACE INTO talks ({COLUMNS}) VALUES ({values})", row)  # noqa: S608

    def _flags(self, talk_ids: Sequence[str]) -> dict[str, Sequence[int | None]]:
        """As they are stored, of those talks that are."""
        rows = self._db.rows_among(
            "SELECT id, sent_tminus1_at, sent_day_of_at FROM talks WHERE id IN", talk_ids
        )
        return {talk_id: flags for talk_id, *flags in rows}

    def edit(self, before: Talk, after: Talk) -> bool:
        rows = zip(NAMES, _row(before, (None, None)), _row(after, (None, None)), strict=True)
        changed = {name: to for name, was, to in rows if to != was and name != "date"}
        settings = ", ".join(f"{name} = ?" for name in changed) or "id = id"
        with self._db.write():
            sql = f"UPDATE talks SET {settings} WHERE id = ?"  # noqa: S608
            return bool(self._db.run(sql, (*changed.values(), before.id)))

    def reschedule(self, talk_id: str, to: date) -> bool:
        with self._db.write():
            move = "UPDATE talks SET date = ? WHERE id = ?"
            return bool(self._db.run(move, (to.isoformat(), talk_id)))

    def delete(self, talk_id: str) -> bool:
        with self._db.write():
            return bool(self._db.run("DELETE FROM talks WHERE id = ?", (talk_id,)))

    def write_flags(self, writes: Sequence[FlagWrite]) -> set[str]:
        with self._db.write():
            return {write.talk_id for write in writes if self._write_flag(write)}

    def _write_flag(self, write: FlagWrite) -> bool:
        sql = WRITE_FLAG.format(FLAGS[write.name])
        seen, to = to_ms(write.seen), to_ms(write.to)
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
        talk.length,
        talk.room,
        talk.link,
        to_json(speakers_document(talk.co_speakers)) if talk.co_speakers else None,
        talk.source_id,
    )


def to_talk(row: Row, damage: Damage) -> Talk | None:
    """As :func:`read_talk`, but None for what it cannot read."""
    try:
        return read_talk(row, damage)
    except Unreadable:
        return None


def read_talk(row: Row, damage: Damage) -> Talk:
    """From the columns of COLUMNS. Raises Unreadable where its date cannot be read."""
    values = dict(zip(NAMES, row, strict=True))
    reader = Reader(damage, "talk", str(values["id"]))
    read = reader.read
    reader.need("id", values["id"], TEXT, HIDDEN)
    day = reader.need("date", values["date"], DATE_TEXT, HIDDEN)
    flags: dict[str, Any] = {
        name: read(name, instant(values[name]), INSTANT, None, "taken as not sent")
        for name in FLAGS.values()
    }
    user_id = read("user_id", values["user_id"], IDENTIFIER, "")
    return Talk(
        id=reader.id,
        user_id=user_id,
        username=read("username", values["username"], WORDS, ""),
        topic=read("topic", values["topic"], WORDS, ""),
        date=day,
        booked_at=read("booked_at", instant(values["booked_at"]), INSTANT, None),
        thread_id=read("thread_id", values["thread_id"], SNOWFLAKE, None, "no thread"),
        completed=read("completed", values["completed"], TRUTH, False),
        scheduler_user_id=read("scheduler_user_id", values["scheduler_user_id"], IDENTIFIER, None),
        scheduler_username=read("scheduler_username", values["scheduler_username"], WORDS, None),
        starts_at=read("starts_at", values["starts_at"], CLOCK_TIME, None),
        extra=read("extra", from_json(values["extra"]), FIELDS, {}),
        **flags,
        **talk_fields_of(_ours(values), reader, user_id),
    )


def _ours(values: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the Node bot's fields, by the names that documents have."""
    speakers = values["co_speakers"]
    return {
        "length": values["length"],
        "room": values["room"],
        "link": values["link"],
        "speakers": from_json(speakers) if speakers is not None else None,
        "sourceId": values["source_id"],
    }
