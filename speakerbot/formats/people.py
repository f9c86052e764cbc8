"""Files of people, CSV and JSON lines, and what importing one will change.

An import adds and corrects; it takes nothing away, least of all an opt-out. What it changes is
decided before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from speakerbot.domain.person import Person
from speakerbot.formats.json_lines import documents, write_lines
from speakerbot.formats.person_fields import PersonEntry, columns_of, document_of, read_entry
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import rows, write_rows

_TELEGRAM = "telegram_user_id"


def read(source: Source, refused: ImportProblems) -> Iterator[PersonEntry]:
    """Everyone whose fields are all in order. What is wrong with one person goes to ``refused``,
    what is wrong with the file to the source's own problems."""
    found = documents(source) if source.kind == "json" else rows(source, ())
    for place, given in found:
        before = len(refused.found)
        name = given.get("name")
        who = f"{place} ({name})" if isinstance(name, str) and name else place
        person = read_entry(who, given, partial(refused.add, who))
        if len(refused.found) == before:
            yield person


@dataclass(slots=True)
class PersonImport:
    """What the store has to write, and how many people it has already."""

    new: list[Person] = field(default_factory=list)
    updated: list[Person] = field(default_factory=list)
    unchanged: int = 0


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
    """The same for the same person, so that importing a file twice makes nobody twice."""
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
        if person is None:
            result.new.append(merged)
        elif merged != person:
            result.updated.append(merged)
        else:
            result.unchanged += 1
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
    return write_lines(map(document_of, people))


def write_csv(people: Sequence[Person]) -> Iterator[str]:
    """The header and one row a person."""
    columns = columns_of(people)
    return write_rows(columns, (_cells(document_of(person), columns) for person in people))


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
