"""What importing people will change, decided before anything is written.

An import adds and corrects; it takes nothing away, least of all an opt-out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from speakerbot.domain.person import Person
from speakerbot.formats.person_fields import PersonEntry
from speakerbot.formats.problems import ImportProblems

_TELEGRAM = "telegram_user_id"


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
