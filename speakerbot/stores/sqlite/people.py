"""People and their preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speakerbot.domain.person import Person
from speakerbot.stores.nouns import person_of
from speakerbot.stores.reading import Reader
from speakerbot.stores.sqlite.connection import PAGE, Database, Row
from speakerbot.stores.sqlite.rows import from_json, placeholders, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
