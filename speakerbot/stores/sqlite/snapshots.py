"""What each speaker knows of their talk, compared with the talks by joins."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from speakerbot.domain.talk import FIRST_DAY, LAST_DAY
from speakerbot.stores.nouns import entry_of
from speakerbot.stores.reading import Reader
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import instant, placeholders, to_ms
from speakerbot.stores.sqlite.talks import COLUMNS as TALK_COLUMNS
from speakerbot.stores.sqlite.talks import to_talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date, datetime

    from speakerbot.domain.talk import Talk
    from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot, TalkVersion

COLUMNS = (
    "talk_id, user_id, told_date, told_topic, seen_date, seen_topic, pending, sequence, at, "
    "username, thread_id, told_start, seen_start"
)
NAMES = COLUMNS.split(", ")
ENTRY = [f"e.{name}" for name in NAMES]
PAIR = ", ".join([*ENTRY, *(f"t.{name}" for name in TALK_COLUMNS.split(", "))])
TALK_NAMES = TALK_COLUMNS.split(", ")
SEEN, T_ID, T_DATE = (
    NAMES.index("seen_date"),
    len(ENTRY) + TALK_NAMES.index("id"),
    len(ENTRY) + TALK_NAMES.index("date"),
)
"""Places in a row of PAIR."""
CHANGED_TALKS = f"""
    SELECT {PAIR} FROM talks t LEFT JOIN snapshot e ON e.talk_id = t.id AND e.user_id = t.user_id
    WHERE (t.date, t.id) > (?, ?) AND (
        e.talk_id IS NULL OR e.pending OR e.seen_date IS NOT t.date OR e.seen_topic IS NOT t.topic
        OR e.username IS NOT t.username OR e.thread_id IS NOT t.thread_id
        OR e.seen_start IS NOT ifnull(t.starts_at, ''))
    ORDER BY t.date, t.id LIMIT ?"""  # noqa: S608
"""As their main speakers know them."""
SHARED_TALKS = f"""
    SELECT {", ".join(TALK_NAMES)} FROM talks WHERE co_speakers IS NOT NULL AND (date, id) > (?, ?)
    ORDER BY date, id LIMIT ?"""  # noqa: S608
OF_TALKS = f"SELECT {COLUMNS} FROM snapshot WHERE talk_id IN"  # noqa: S608
ENTRIES = f"""
    SELECT {PAIR} FROM snapshot e LEFT JOIN talks t ON e.talk_id = t.id
    WHERE (e.talk_id, e.user_id) > (?, ?) AND %s
    ORDER BY e.talk_id, e.user_id LIMIT ?"""  # noqa: S608
PENDING = ENTRIES % "e.pending"
ALL = ENTRIES % "TRUE"
ELSEWHERE = f"""
    SELECT {PAIR} FROM snapshot e LEFT JOIN talks t ON e.talk_id = t.id
    WHERE (e.seen_date, e.talk_id, e.user_id) > (?, ?, ?) AND NOT e.pending
    AND (t.id IS NULL OR t.date < ? OR (t.user_id IS NOT e.user_id AND t.co_speakers IS NULL))
    ORDER BY e.seen_date, e.talk_id, e.user_id LIMIT ?"""  # noqa: S608
"""Entries dated so whose talks are gone, are not dated so, or are another's alone."""
FIRST = f"""
    INSERT INTO snapshot ({COLUMNS})
    SELECT id, user_id, date, topic, date, topic, FALSE, 1, ?1, username, thread_id, start, start
    FROM (
        SELECT *, CASE WHEN starts_at IS NULL THEN ''
            WHEN starts_at GLOB '[0-2][0-9]:[0-5][0-9]' THEN starts_at END AS start
        FROM talks
    )
    WHERE date BETWEEN '{FIRST_DAY}' AND '{LAST_DAY}' AND date(date) IS date
"""  # noqa: S608
"""As their main speakers know them."""
INSERT = (
    f"INSERT INTO snapshot ({COLUMNS}) VALUES ({placeholders(len(NAMES))}) ON CONFLICT DO NOTHING"  # noqa: S608
)
UPDATE = (
    f"UPDATE snapshot SET ({COLUMNS}) = ({placeholders(len(NAMES))}) "  # noqa: S608
    "WHERE talk_id = ? AND user_id = ? AND sequence = ?"
)


class SqliteSnapshots:
    def __init__(self, db: Database) -> None:
        self._db = db

    def taken(self) -> bool:
        return bool(self._db.rows("SELECT 1 FROM snapshot_taken WHERE once = 1"))

    def take(self, at: datetime) -> None:
        from speakerbot.domain.talk_changes import known_to  # other jobs need none

        with self._db.write():
            if not self.taken():
                self._db.run(FIRST, (to_ms(at),))
                for talk in self._shared(FIRST_DAY):
                    for each in talk.speakers[1:]:
                        self._db.run(INSERT, _row(known_to(talk, each, at)))
                self._db.run("INSERT INTO snapshot_taken VALUES (1, ?)", (to_ms(at),))

    def differing(self, since: date | None = None) -> Iterator[TalkPair]:
        day = max(since or FIRST_DAY, FIRST_DAY)
        first = day.isoformat()
        found = chain(
            self._pairs(self._rows(CHANGED_TALKS, (first, ""), (T_DATE, T_ID))),
            self._co_speakers_pairs(day),
            # What is pending and dated so has come already.
            (pair for pair in self.pending() if pair.talk is None or pair.talk.date < day),
            (
                pair
                for pair in self._pairs(self._rows(ELSEWHERE, (first, "", ""), (SEEN, 0, 1), first))
                if pair.talk is None or pair.talk.date < day
            ),
        )
        return (pair for pair in found if not pair.at_rest())

    def _co_speakers_pairs(self, first: date) -> Iterator[TalkPair]:
        """Of all talks from that day on that several give, but for their main speakers: those who
        speak, and those who have an entry and do not any more."""
        talks = self._shared(first) if self.taken() else iter(())
        while page := list(islice(talks, PAGE)):
            entries: dict[str, dict[str, TalkSnapshot | None]] = {talk.id: {} for talk in page}
            for row in self._db.rows_among(OF_TALKS, list(entries)):
                entries[row[0]][row[1]] = self._entry(row)
            for talk in page:
                yield from _of_co_speakers(talk, entries[talk.id])

    def _shared(self, first: date) -> Iterator[Talk]:
        after: Sequence[Any] = (first.isoformat(), "")
        while page := self._db.rows(SHARED_TALKS, (*after, PAGE)):
            for row in page:
                if (talk := to_talk(row, self._db.damage)) is not None:
                    yield talk
            after = [page[-1][TALK_NAMES.index(name)] for name in ("date", "id")]

    def pending(self) -> Iterator[TalkPair]:
        return self._pairs(self._rows(PENDING, ("", ""), (0, 1)))

    def all(self) -> Iterator[TalkSnapshot]:
        rows = (row[: len(ENTRY)] for row in self._rows(ALL, ("", ""), (0, 1)))
        return (entry for row in rows if (entry := self._entry(row)))

    def _pairs(self, rows: Iterable[Row]) -> Iterator[TalkPair]:
        from speakerbot.domain.talk_changes import TalkPair  # other jobs need none

        for row in rows:
            entry_row, talk_row = row[: len(ENTRY)], row[len(ENTRY) :]
            entry = None if entry_row[0] is None else self._entry(entry_row)
            talk = None if talk_row[0] is None else to_talk(talk_row, self._db.damage)
            # What is there and cannot be read is neither new nor gone.
            if (entry, talk).count(None) != (entry_row[0], talk_row[0]).count(None):
                continue
            theirs = talk.seen_by(entry.user_id) if talk and entry else talk
            if theirs or not talk or talk.speakers_known:
                yield TalkPair(entry, theirs)

    def _rows(
        self, sql: str, after: Sequence[Any], order: Sequence[int], *more: Any
    ) -> Iterator[Row]:
        """In pages, each row with the columns of ENTRY, then those of a talk; in the order of the
        columns at these places, from after these values on."""
        while self.taken():
            page = self._db.rows(sql, (*after, *more, PAGE))
            yield from page
            if len(page) < PAGE:
                return
            after = [page[-1][place] for place in order]

    def _entry(self, row: Row) -> TalkSnapshot | None:
        values = dict(zip(NAMES, row, strict=True))
        values["at"] = instant(values["at"])
        for name in ("told", "seen"):
            day, topic, start = (values[f"{name}_{part}"] for part in ("date", "topic", "start"))
            values[name] = None if day is None else {"date": day, "topic": topic, "start": start}
        talk, user = values["talk_id"], values["user_id"]
        return entry_of(values, Reader(self._db.damage, "snapshot", f"{talk}/{user}"))

    def advance(self, steps: Sequence[tuple[TalkSnapshot | None, TalkSnapshot]]) -> None:
        with self._db.write():
            for before, after in steps:
                if before is None:
                    self._db.run(INSERT, _row(after))
                else:
                    own = (before.talk_id, before.user_id, before.sequence)
                    self._db.run(UPDATE, (*_row(after), *own))


def _of_co_speakers(talk: Talk, known: dict[str, TalkSnapshot | None]) -> Iterator[TalkPair]:
    """``known``: the talk's entries by user, None for those that cannot be read."""
    from speakerbot.domain.talk_changes import TalkPair  # other jobs need none

    speakers = {each.user_id: None for each in talk.speakers[1:]}
    for user_id in {**speakers, **known}:
        if user_id == talk.user_id or (user_id in known and known[user_id] is None):
            continue
        view = talk.seen_by(user_id)
        entry = known.get(user_id)
        if view is not None or (talk.speakers_known and entry and not entry.pending):
            yield TalkPair(entry, view)


def _row(entry: TalkSnapshot) -> Sequence[Any]:
    return (
        entry.talk_id,
        entry.user_id,
        *_values(entry.told)[:2],
        *_values(entry.seen)[:2],
        entry.pending,
        entry.sequence,
        to_ms(entry.at),
        entry.username,
        entry.thread_id,
        *_values(entry.told)[2:],
        *_values(entry.seen)[2:],
    )


def _values(version: TalkVersion | None) -> tuple[str | None, ...]:
    return (version.date.isoformat(), version.topic, version.start) if version else (None,) * 3
