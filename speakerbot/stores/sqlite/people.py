"""People, their preferences, what is in their inboxes, and what speakers have answered."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from speakerbot.domain.person import Person
from speakerbot.stores.nouns import answer_of, inbox_message_of, person_of
from speakerbot.stores.reading import Reader, Unreadable
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, instant, placeholders, to_json, to_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from speakerbot.domain.confirmation import Answer, Answers
    from speakerbot.domain.inbox import InboxMessage

COLUMNS = "id, discord_user_id, name, timezone, opted_out, quiet_hours, routes, extra"
NAMES = COLUMNS.split(", ")
JSON = ("opted_out", "routes", "extra")


class SqlitePeople:
    def __init__(self, db: Database) -> None:
        self._db = db

    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        sql = f"SELECT {COLUMNS} FROM people WHERE discord_user_id IN"  # noqa: S608
        rows = self._db.rows_among(sql, user_ids)
        return {row[1]: self._person(row) for row in rows}

    def by_ids(self, ids: Sequence[str]) -> dict[str, Person]:
        rows = self._db.rows_among(f"SELECT {COLUMNS} FROM people WHERE id IN", ids)  # noqa: S608
        return {row[0]: self._person(row) for row in rows}

    def get(self, user: str) -> Person | None:
        for column in ("discord_user_id", "id"):
            rows = self._db.rows(
                f"SELECT {COLUMNS} FROM people WHERE {column} = ?",  # noqa: S608
                (user,),
            )
            if rows:
                return self._person(rows[0])
        return None

    def _person(self, row: Row) -> Person:
        values = dict(zip(NAMES, row, strict=True))
        for name in JSON:
            values[name] = from_json(values[name])
        return person_of(values, Reader(self._db.damage, "person", str(values["id"])))

    def all(self) -> Iterator[Person]:
        after = ""
        while True:
            page = self._db.rows(
                f"SELECT {COLUMNS} FROM people WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
                (after, PAGE),
            )
            yield from map(self._person, page)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def put(self, people: Sequence[Person]) -> None:
        with self._db.write():
            for person in people:
                row = _row(person)
                self._db.run(
                    f"INSERT OR REPLACE INTO people ({COLUMNS}) VALUES ({placeholders(len(row))})",  # noqa: S608
                    row,
                )

    def change(
        self, user: str, update: Callable[[Person], Person], newcomer: Callable[[], Person]
    ) -> tuple[Person, Person]:
        with self._db.write():
            before = self.get(user) or newcomer()
            after = update(before)
            if after != before:
                self.put([after])
        return before, after


def _row(person: Person) -> Sequence[Any]:
    return (
        person.id,
        person.discord_user_id,
        person.name,
        person.timezone,
        to_json(sorted(person.opted_out)),
        str(person.quiet_hours) if person.quiet_hours else None,
        to_json(person.routes),
        to_json(person.extra),
    )


INBOX_COLUMNS = "key, recipient, text, created_at, read_at"
INBOX_NAMES = INBOX_COLUMNS.split(", ")
PUT = (
    f"INSERT INTO inbox ({INBOX_COLUMNS}, id) VALUES (?, ?, ?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (key) DO NOTHING"
)
FORGET_MESSAGES = """
    DELETE FROM inbox WHERE rowid IN (
        SELECT rowid FROM inbox WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
ERASE_MESSAGES = """
    DELETE FROM inbox WHERE rowid IN (
        SELECT rowid FROM inbox WHERE recipient = ? ORDER BY created_at LIMIT ?)"""


class SqliteInbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, message: InboxMessage) -> bool:
        values = message.key, message.recipient, message.text
        at = to_ms(message.created_at), to_ms(message.read_at)
        with self._db.write():
            return self._db.run(PUT, (*values, *at, message.id)) > 0

    def get(self, keys: Sequence[str]) -> dict[str, InboxMessage]:
        rows = self._db.rows_among(f"SELECT {INBOX_COLUMNS} FROM inbox WHERE key IN", keys)  # noqa: S608
        return {message.key: message for message in map(self._read, rows) if message}

    def of(
        self, recipients: Sequence[str], *, unread_only: bool = False, limit: int = 100
    ) -> Iterator[InboxMessage]:
        # A walk along the index for each, merged: an IN would read and sort all there is.
        walks = (self._newest(recipient, unread_only) for recipient in dict.fromkeys(recipients))
        return islice(merge(*walks, key=attrgetter("created_at"), reverse=True), limit)

    def since(self, since: datetime, limit: int) -> Iterator[InboxMessage]:
        rows = self._db.rows(
            f"SELECT {INBOX_COLUMNS} FROM inbox WHERE created_at >= ? "  # noqa: S608
            "ORDER BY created_at DESC LIMIT ?",
            (to_ms(since), limit),
        )
        return filter(None, map(self._read, rows))

    def _newest(self, recipient: str, unread_only: bool) -> Iterator[InboxMessage]:
        unread = "AND read_at IS NULL " if unread_only else ""
        after: tuple[Any, int] = (2**62, 0)
        while True:
            page = self._db.rows(
                f"SELECT {INBOX_COLUMNS}, rowid FROM inbox WHERE recipient = ? {unread}"  # noqa: S608
                "AND (created_at, rowid) < (?, ?) ORDER BY created_at DESC, rowid DESC LIMIT ?",
                (recipient, *after, PAGE),
            )
            yield from filter(None, map(self._read, page))
            if len(page) < PAGE:
                return
            after = (page[-1][INBOX_NAMES.index("created_at")], page[-1][-1])

    def _read(self, row: Row) -> InboxMessage | None:
        """From the columns of INBOX_NAMES, whatever follows them."""
        values = dict(zip(INBOX_NAMES, row, strict=False))
        for name in ("created_at", "read_at"):
            values[name] = instant(values[name])
        try:
            reader = Reader(self._db.damage, "inbox message", str(values["key"]))
            return inbox_message_of(values, reader)
        except Unreadable:
            return None

    def mark_read(self, recipients: Sequence[str], message_id: str | None, at: datetime) -> int:
        one = "" if message_id is None else "AND id = ?"
        sql = f"UPDATE inbox SET read_at = ? WHERE recipient = ? AND read_at IS NULL {one}"  # noqa: S608
        which = () if message_id is None else (message_id,)
        with self._db.write():
            return sum(
                self._db.run(sql, (to_ms(at), recipient, *which))
                for recipient in dict.fromkeys(recipients)
            )

    def erase(self, recipients: Sequence[str]) -> int:
        with self._db.write():
            return sum(
                self._db.run_in_pages(ERASE_MESSAGES, (each,), None) for each in set(recipients)
            )

    def count_before(self, before: datetime) -> int:
        sql = "SELECT count(*) FROM inbox WHERE created_at < ?"
        [(count,)] = self._db.rows(sql, (to_ms(before),))
        return int(count)

    def forget_before(self, before: datetime, limit: int | None = None) -> int:
        return self._db.run_in_pages(FORGET_MESSAGES, (to_ms(before),), limit)


ANSWER_COLUMNS = "kind, talk_id, user_id, date, answer, at"
ANSWER_NAMES = ANSWER_COLUMNS.split(", ")
PUT_ANSWER = (
    f"INSERT INTO answers ({ANSWER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT DO UPDATE SET answer = excluded.answer, at = excluded.at "
    "WHERE answer <> 'no' AND (excluded.answer = 'no' OR answer <> 'yes')"
)
ERASE_ANSWERS = """
    DELETE FROM answers WHERE (talk_id, user_id, date, kind) IN (
        SELECT talk_id, user_id, date, kind FROM answers WHERE user_id = ? LIMIT ?)"""
FORGET_ANSWERS = """
    DELETE FROM answers WHERE (talk_id, user_id, date, kind) IN (
        SELECT talk_id, user_id, date, kind FROM answers WHERE date < ? ORDER BY date LIMIT ?)"""


class SqliteAnswers:
    def __init__(self, db: Database) -> None:
        self._db = db

    def about(self, talk_ids: Sequence[str]) -> Answers:
        sql = f"SELECT {ANSWER_COLUMNS} FROM answers WHERE talk_id IN"  # noqa: S608
        found = map(self._read, self._db.rows_among(sql, talk_ids) if talk_ids else ())
        return {answer.key: answer for answer in found if answer}

    def _read(self, row: Row) -> Answer | None:
        values = dict(zip(ANSWER_NAMES, row, strict=True))
        values["at"] = instant(values["at"])
        return answer_of(values, Reader(self._db.damage, "answer about talk", str(row[1])))

    def put(self, answers: Sequence[Answer]) -> None:
        with self._db.write():
            for each in answers:
                key = each.kind, each.talk_id, each.user_id, each.date.isoformat()
                self._db.run(PUT_ANSWER, (*key, each.answer, to_ms(each.at)))

    def erase(self, user_id: str) -> int:
        return self._db.run_in_pages(ERASE_ANSWERS, (user_id,), None)

    def count_before(self, before: date) -> int:
        sql = "SELECT count(*) FROM answers WHERE date < ?"
        [(count,)] = self._db.rows(sql, (before.isoformat(),))
        return int(count)

    def forget_before(self, before: date, limit: int | None = None) -> int:
        return self._db.run_in_pages(FORGET_ANSWERS, (before.isoformat(),), limit)
