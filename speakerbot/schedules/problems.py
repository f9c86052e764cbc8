"""Collects everything that is wrong with a file, each with its place, before anything is said."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class FileProblems:
    """Problems and warnings of one file."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []
        self.warnings: list[str] = []

    def add(self, place: str, text: str) -> None:
        self.found.append(f"{self.source}: {place}: {text}" if place else f"{self.source}: {text}")

    def warn(self, place: str, text: str) -> None:
        self.warnings.append(f"{self.source}: {place}: {text}")

    def attempt(self, place: str, parse: Callable[[], T]) -> T | None:
        """What ``parse`` gives, or None where it raises ValueError, which becomes a problem."""
        try:
            return parse()
        except ValueError as error:
            self.add(place, str(error))
            return None


def read_fields(
    shape: type[msgspec.Struct],
    raw: object,
    place: str,
    problems: FileProblems,
    nested: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of ``raw`` that fit ``shape``, each checked by itself so that all that is wrong
    is found at once. Those named in ``nested`` are left to be read in their turn."""
    if not isinstance(raw, dict):
        problems.add(place, f"must be an object, not {json_type(raw)}")
        return {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    unknown_keys(raw, fields, place, problems)
    read = {}
    for key, field in fields.items():
        where = f"{place}: {key}" if place else key
        if key not in raw:
            if field.required:
                problems.add(place, f"{key} is missing")
            continue
        if key in nested or _fits(raw[key], field.type, where, problems):
            read[field.name] = raw[key]
    return read


def unknown_keys(
    raw: Mapping[str, object], known: Collection[str], place: str, problems: FileProblems
) -> None:
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
            problems.add(place, f"unknown key {key!r}{hint}")


def json_type(value: object) -> str:
    names: list[tuple[type, str]] = [
        (bool, "a boolean"), (str, "a string"), (int, "a number"), (float, "a number"),
        (list, "a list"), (dict, "an object"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _fits(value: object, kind: Any, where: str, problems: FileProblems) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error).replace("`", "").replace(" - at $", " at ")
        problems.add(where, f"{text[0].lower()}{text[1:]}")
        return False
    return True
