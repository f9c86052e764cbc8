"""CSV with a header line, as spreadsheets write and read it.

A cell that begins with ``=``, ``+``, ``-`` or ``@`` would run as a formula where somebody opens
the file in a spreadsheet, and topics are typed by strangers: such a cell gets an apostrophe in
front, and loses it again when it is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from speakerbot.formats.source import Source

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")

Cells = dict[str, str]


def rows(source: Source, required: Sequence[str]) -> Iterator[tuple[str, Cells]]:
    """Every row with its place, as the cells that are not empty, by column.

    A missing or doubled column, or what is not CSV, becomes a problem of the source."""
    reader = csv.reader(
        io.StringIO(source.text, newline=""), delimiter=_delimiter(source.text), strict=True
    )
    start = 1
    header: list[str] = []
    try:
        for cells in reader:
            place, start = f"line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header:
                yield from _row(source, place, header, cells)
                continue
            header = [cell.strip() for cell in cells]
            if not _usable(source, place, header, required):
                return
    except csv.Error as error:
        source.problems.add(f"line {start}", f"not CSV: {error}")


def _delimiter(text: str) -> str:
    """Spreadsheets of half the world write semicolons."""
    header = next((line for line in text.split("\n") if line.strip()), "")
    return max(",;\t", key=header.count)


def _usable(source: Source, place: str, header: list[str], required: Sequence[str]) -> bool:
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(name or "(none)" for name in header)
        source.problems.add(place, f"no column {', '.join(missing)}; the first line names {found}")
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if doubled:
        source.problems.add(place, f"two columns are called {', '.join(doubled)}")
    return not missing and not doubled


def _row(
    source: Source, place: str, header: list[str], cells: list[str]
) -> Iterator[tuple[str, Cells]]:
    beyond = [cell for cell in cells[len(header) :] if cell.strip()]
    if beyond:
        many = f"{len(cells)} cells, but the first line names {len(header)} columns"
        source.problems.add(place, f"{many}; put a text that holds the separator in quotes")
        return
    named = {name: unguarded(cell) for name, cell in zip(header, cells, strict=False) if name}
    yield place, {name: cell for name, cell in named.items() if cell.strip()}


def write_rows(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """The header and every row, guarded, ending in a line feed."""
    yield _written(columns)
    for cells in lines:
        yield _written([guarded(cell) for cell in cells])


def _written(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    # Not as its lineterminator: the writer would then leave a carriage return without quotes.
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def guarded(cell: str) -> str:
    """Safe to open in a spreadsheet; :func:`unguarded` gives the same text back."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell
