"""Talks as CSV: the columns are named as the documents' fields, the start is ``starts_at``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from speakerbot.domain.talk import Talk
from speakerbot.formats.source import Source
from speakerbot.formats.spreadsheet import Cells, rows, write_rows
from speakerbot.formats.talk_fields import FIELDS, REQUIRED, Field, TalkEntry

_STARTS_AT = "speakerbot.startsAt"


def _column(field: Field) -> str:
    return "starts_at" if field.name == _STARTS_AT else field.name


COLUMNS = {_column(field): field for field in FIELDS}
_READ = COLUMNS | {_STARTS_AT: COLUMNS["starts_at"]}
"""mongoexport --type=csv writes the dotted name."""


def read(source: Source) -> Iterator[TalkEntry]:
    """Talks whose cells are all in order; every other problem becomes one of the source."""
    for place, cells in rows(source, REQUIRED):
        before = len(source.problems.found)
        entry = _entry(source, place, cells)
        if len(source.problems.found) == before:
            yield entry


def _entry(source: Source, place: str, cells: Cells) -> TalkEntry:
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, cell in cells.items():
        field = _READ.get(name)
        try:
            if field:
                values[field.attribute] = field.from_cell(cell)
            elif (name, cell.strip()) != ("__v", "0"):
                extra[_unknown(name)] = cell
        except ValueError as problem:
            source.problems.add(place, str(problem), field=name)
    for name in REQUIRED:
        if name not in cells:
            source.problems.add(place, "missing", field=name)
    return TalkEntry(place, values, extra)


def _unknown(name: str) -> str:
    if "." in name or name.startswith("$"):
        raise ValueError("no such column, and not a name under which it could be kept")
    return name


def write(talks: Iterable[Talk]) -> Iterator[str]:
    """The header and one row a talk. Unknown fields are left out."""
    return write_rows(tuple(COLUMNS), map(_cells, talks))


def _cells(talk: Talk) -> list[str]:
    values = ((field, getattr(talk, field.attribute)) for field in FIELDS)
    return ["" if value is None else field.to_cell(value) for field, value in values]


def left_out(talks: Iterable[Talk]) -> int:
    """How many of the talks have fields that CSV leaves out."""
    return sum(1 for talk in talks if talk.extra)
