"""The fields of a person in files: how they are named, read and written.

What check-ins keep (telegram_user_id, preferred_message_time, …) passes through as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from speakerbot.clock import read_zone
from speakerbot.config import parse_routes
from speakerbot.domain.person import Person, parse_opt_outs, parse_quiet_hours
from speakerbot.formats.extended import relaxed
from speakerbot.formats.ids import snowflake

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
    if len(text) > 100 or any(mark.isspace() or mark == "/" for mark in text) or text.isdigit():
        raise ValueError(
            f"{text[:60]!r} is not a person's id: no spaces, no slashes, not digits only"
        )
    return text


def _zone_name(text: str) -> str:
    return read_zone(text).key


READ: Mapping[str, Callable[[str], Any]] = {
    "id": _identifier,
    "name": str,
    "discord_user_id": snowflake,
    "timezone": _zone_name,
    "quiet_hours": parse_quiet_hours,
    "routes": parse_routes,
    "opted_out": parse_opt_outs,
}
IDENTIFYING = ("discord_user_id", "telegram_user_id", "name", "id")
LISTS = ("routes", "opted_out")


def read_entry(place: str, given: Mapping[str, Any], add: Callable[..., None]) -> PersonEntry:
    """The fields of one person, whatever file they come from; ``add`` is called with each
    problem."""
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    present = {name: value for name, value in given.items() if value not in (None, "", [])}
    for name, value in present.items():
        try:
            if read := READ.get(name):
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


def document_of(person: Person) -> dict[str, Any]:
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


def columns_of(people: Iterable[Person]) -> list[str]:
    """The columns a CSV of these people needs."""
    others = {name for person in people for name in person.extra} - set(CHECKIN_FIELDS)
    return [*READ, *CHECKIN_FIELDS, *sorted(others)]
