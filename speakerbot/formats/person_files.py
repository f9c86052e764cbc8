"""People as CSV and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from speakerbot.domain.person import Person
from speakerbot.formats.json_lines import documents, write_lines
from speakerbot.formats.person_fields import PersonEntry, columns_of, document_of, entry
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import rows, write_rows


def read(source: Source, refused: ImportProblems) -> Iterator[PersonEntry]:
    """Everyone whose fields are all in order. What is wrong with one person goes to ``refused``,
    what is wrong with the file to the source's own problems."""
    found = documents(source) if source.kind == "json" else rows(source, ())
    for place, given in found:
        before = len(refused.found)
        name = given.get("name")
        who = f"{place} ({name})" if isinstance(name, str) and name else place
        person = entry(who, given, partial(refused.add, who))
        if len(refused.found) == before:
            yield person


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
