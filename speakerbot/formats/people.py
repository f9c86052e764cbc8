"""Files of people, CSV and JSON lines, and what importing one will change.

What check-ins keep (telegram_user_id, preferred_message_time, …) passes through as it came.

An import adds and corrects; it takes nothing away, least of all an opt-out. What it changes is
decided before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from speakerbot.clock import read_zone
from speakerbot.config import parse_routes
from speakerbot.domain.person import Person, parse_opt_outs, parse_quiet_hours
from speakerbot.formats.extended import relaxed
from speakerbot.formats.ids import discord_id, rounded_ids, why_rounded
from speakerbot.formats.import_rows import Difference, Import, Row, differing
from speakerbot.formats.json_lines import documents, write_lines
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import Column, Columns, read_table, write_rows

LONGEST_NAME = 500
LONGEST_ID = 2000
"""The id of somebody who is only known by name is made of it, case-folded: up to thrice as long."""
_TELEGRAM = "telegram_user_id"
CHECKIN_FIELDS = (
    "telegram_user_id",
    "preferred_message_time",
    "flexibility",
    "support_style",
    "location",
    "onboarded",
    "paused",
)


@dataclass(frozen=True, slots=True)
class PersonEntry:
    """One person as a file gives them; what it leaves out or empty is not among ``values``."""

    place: str
    values: Mapping[str, Any]
    """By the names of :class:`speakerbot.domain.person.Person`."""
    extra: Mapping[str, Any] = field(default_factory=dict)


def _identifier(text: str) -> str:
    if len(text) > LONGEST_ID or set(text) & set("\0\t\r\n") or text.isdigit():
        raise ValueError(
            f"{text[:60]!r} is not the id of a person: a text on one line, not digits only"
        )
    return text


def _name(text: str) -> str:
    if len(text) > LONGEST_NAME or "\0" in text:
        raise ValueError(f"longer than {LONGEST_NAME} characters, or it holds a zero byte")
    return text


def _zone_name(text: str) -> str:
    return read_zone(text).key


FIELDS: Mapping[str, Callable[[str], Any]] = {
    "id": _identifier,
    "name": _name,
    "discord_user_id": discord_id,
    "timezone": _zone_name,
    "quiet_hours": parse_quiet_hours,
    "routes": parse_routes,
    "opted_out": parse_opt_outs,
}
COLUMNS = Columns(
    [
        Column("id", "Person ID"),
        Column("name", "Name", ("speaker", "speaker name", "username", "discord name")),
        Column(
            "discord_user_id",
            "Discord ID",
            ("discord", "user id", "discord user", "speaker id", "snowflake"),
        ),
        Column("timezone", "Time zone", ("zone", "tz")),
        Column("quiet_hours", "Quiet hours", ("quiet",)),
        Column("routes", "Routes"),
        Column("opted_out", "Opted out", ("opt out", "opt outs")),
        *(Column(name, name.replace("_", " ").capitalize()) for name in CHECKIN_FIELDS),
    ]
)
IDENTIFYING = ("discord_user_id", "telegram_user_id", "name", "id")
LISTS = ("routes", "opted_out")


def _read_entry(place: str, given: Mapping[str, Any], add: Callable[..., None]) -> PersonEntry:
    """The fields of one person, whatever file they come from; ``add`` is called with each
    problem."""
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    present = {name: value for name, value in given.items() if value not in (None, "", [])}
    for name, value in present.items():
        try:
            if name == "discord_user_id":
                values[name] = discord_id(value)
            elif read := FIELDS.get(name):
                values[name] = read(_text(name, value))
            else:
                extra[name] = relaxed(value)
        except ValueError as problem:
            add(str(problem), field=name)
    if not present.keys() & IDENTIFYING:
        add(f"identifies no one: give {', '.join(IDENTIFYING)}")
    return PersonEntry(place, values, extra)


def _text(name: str, value: Any) -> str:
    if name in LISTS and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return ",".join(value)
    if isinstance(value, str):
        return value.strip()
    raise ValueError(f"must be a {'list of texts' if name in LISTS else 'text'}, not {value!r}")


def read(
    source: Source, refused: ImportProblems, mapped: Mapping[str, str] | None = None
) -> Iterator[PersonEntry]:
    """Everyone whose fields are all in order. What is wrong with one person goes to ``refused``,
    what is wrong with the file to the source's own problems. ``mapped`` as
    :meth:`Columns.parse_map` returns it."""
    given: Iterable[tuple[str, Mapping[str, Any]]]
    rounded: set[str] = set()
    if source.kind == "json":
        given = documents(source)
    else:
        given = list(read_table(source, COLUMNS, mapped).rows)
        rounded = rounded_ids(
            [str(c["discord_user_id"]) for _, c in given if "discord_user_id" in c]
        )
    for place, fields in given:
        before = len(refused.found)
        name = fields.get("name")
        who = f"{place} ({name})" if isinstance(name, str) and name else place
        person = _read_entry(who, fields, partial(refused.add, who))
        if (cell := fields.get("discord_user_id")) in rounded and isinstance(cell, str):
            refused.add(who, why_rounded(cell), field="discord_user_id")
        if len(refused.found) == before:
            yield person


PersonImport = Import[Person]


def differences(row: Row[Person]) -> Iterator[Difference]:
    """What a row changes of the person in the store."""
    if row.before is not None:
        yield from differing(*(_shown_document(person) for person in (row.before, row.after)))


def _shown_document(person: Person) -> dict[str, str]:
    return {name: _cell(value) for name, value in _document_of(person).items()}


class Register:
    """Finds people by what identifies them, in this order: id, Discord id, Telegram id, name.

    A name only tells people apart who have neither of the others."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._known: dict[str, Person] = {}
        for person in people:
            self.add(person)

    def add(self, person: Person) -> None:
        telegram = person.extra.get(_TELEGRAM)
        marks = [f"id {person.id}"]
        if person.discord_user_id:
            marks.append(f"discord {person.discord_user_id}")
        if telegram:
            marks.append(f"telegram {telegram}")
        for mark in marks:
            self._known.setdefault(mark, person)

    def holder(self, user_id: str) -> Person | None:
        """Whose Discord id it is."""
        return self._known.get(f"discord {user_id}")

    def find(self, entry: PersonEntry) -> Person | None:
        for name, value in (
            ("id", entry.values.get("id")),
            ("discord", entry.values.get("discord_user_id")),
            ("telegram", entry.extra.get(_TELEGRAM)),
        ):
            if value and (person := self._known.get(f"{name} {value}")):
                return person
        return self._known.get(f"id {new_id(entry)}")


def new_id(entry: PersonEntry) -> str:
    """The same for the same person, so that importing a file twice duplicates no one."""
    if given := entry.values.get("id"):
        return str(given)
    if user_id := entry.values.get("discord_user_id"):
        return f"discord-{user_id}"
    if telegram := entry.extra.get(_TELEGRAM):
        return f"telegram-{telegram}"
    return "name-" + "-".join(str(entry.values["name"]).casefold().replace("/", " ").split())


def plan(
    entries: Iterable[PersonEntry], stored: Iterable[Person], refused: ImportProblems
) -> PersonImport:
    """What the file's people change. Someone who is there twice is refused the second time."""
    known = Register(stored)
    places: dict[str, str] = {}
    result = PersonImport()
    for entry in entries:
        person = known.find(entry)
        identifier = person.id if person else new_id(entry)
        if (first := places.setdefault(identifier, entry.place)) != entry.place:
            refused.add(entry.place, f"the same person as {first} ({identifier})")
            continue
        holder = known.holder(entry.values.get("discord_user_id", ""))
        if holder and person and holder.id != person.id:
            refused.add(entry.place, f"it is {holder.id}'s", field="discord_user_id")
            continue
        merged = merge(person, entry) if person else _new(entry)
        known.add(merged)
        result.rows.append(Row(entry.place, person, merged))
    return result


def _new(entry: PersonEntry) -> Person:
    values: dict[str, Any] = {"id": new_id(entry), **entry.values}
    return Person(**values, extra=entry.extra)


def merge(person: Person, entry: PersonEntry) -> Person:
    """The stored person with what the file gives; opt-outs add up."""
    given = {name: value for name, value in entry.values.items() if name != "id"}
    if "opted_out" in given:
        given["opted_out"] = person.opted_out | given["opted_out"]
    return replace(person, **given, extra={**person.extra, **entry.extra})


def write_json(people: Iterable[Person]) -> Iterator[str]:
    """One document a line, with all that is known."""
    return write_lines(map(_document_of, people))


def write_csv(people: Sequence[Person]) -> Iterator[str]:
    """The header and one row a person."""
    columns = _columns_of(people)
    return write_rows(columns, (_cells(_document_of(person), columns) for person in people))


def _cells(document: dict[str, Any], columns: Sequence[str]) -> list[str]:
    return [_cell(document.get(name)) for name in columns]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    return json.dumps(value, ensure_ascii=False)


def _document_of(person: Person) -> dict[str, Any]:
    """The person as a JSON document: what is not set is left out."""
    made = {
        "id": person.id,
        "name": person.name,
        "discord_user_id": person.discord_user_id,
        "timezone": person.timezone,
        "quiet_hours": str(person.quiet_hours) if person.quiet_hours else None,
        "routes": list(person.routes) or None,
        "opted_out": sorted(person.opted_out) or None,
    }
    return {name: value for name, value in made.items() if value is not None} | dict(person.extra)


def _columns_of(people: Iterable[Person]) -> list[str]:
    """The columns a CSV of these people needs."""
    others = {name for person in people for name in person.extra} - set(CHECKIN_FIELDS)
    return [*FIELDS, *CHECKIN_FIELDS, *sorted(others)]
