"""Tables with a header line, as people keep them: CSV of any country, and .xlsx.

A cell that begins with ``=``, ``+``, ``-`` or ``@`` would run as a formula where somebody opens
the file in a spreadsheet, and topics are typed by strangers: such a cell gets an apostrophe in
front, and loses it again when it is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from speakerbot.errors import UsageError
from speakerbot.formats.problems import Unreadable
from speakerbot.formats.source import Source
from speakerbot.formats.workbook import Line, Sheet, read_sheets
from speakerbot.text import closest, did_you_mean

IGNORE = "ignore"
"""In place of a field: the column is left out."""
HEADER_WITHIN = 10
"""Above the header there may be a title."""
SEPARATORS = ",;\t|"
MOST_LINES = 100_000
"""All are in memory until the last one has been read: a column is understood as a whole."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[ ,;\t]*(?:\r\n?|\n|$)", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\([^)]*\)|\[[^]]*\]")
Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """What a column may hold, and how people call it."""

    field: str
    title: str
    spellings: tuple[str, ...] = ()
    """Other names for it; case, spaces and punctuation do not matter."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    titles: Mapping[str, str]
    """What the file calls each field; an unknown column is its own field."""
    rows: Iterator[tuple[str, Cells]]
    """Each with its place, as the cells that are not empty, by field."""


class Columns:
    """The columns that one kind of file may have."""

    def __init__(self, columns: Sequence[Column], reserved: Collection[str] = ()) -> None:
        """A column that is not known is kept under its own name, which must not be ``reserved``."""
        self.all = tuple(columns)
        self.reserved = frozenset(map(_letters, reserved))
        self._fields = {
            _letters(name): column.field
            for column in columns
            for name in (column.field, column.title, *column.spellings)
        }
        self._titles = {column.field: column.title for column in columns}

    def field(self, name: str) -> str | None:
        """The field that a column of that name holds; what stands in brackets may be a remark."""
        if found := self._fields.get(_letters(name)):
            return found
        return self._fields.get(_letters(_IN_BRACKETS.sub("", name)))

    def title(self, field: str) -> str:
        """How people call it; an unknown column by its own name."""
        return self._titles.get(field, field)

    def guess(self, name: str) -> str | None:
        """The title that somebody may have meant."""
        found = closest(_letters(name), self._fields, cutoff=0.75)
        return self.title(self._fields[found]) if found else None

    def parse_map(self, options: Iterable[str]) -> dict[str, str]:
        """``COLUMN=FIELD`` by column. Raises UsageError naming all that make no sense."""
        mapped, problems = {}, []
        for option in options:
            column, equals, name = option.rpartition("=")
            field = IGNORE if name.strip().lower() == IGNORE else self.field(name)
            if not equals or not column.strip():
                problems.append(f"--map {option!r}: write COLUMN=FIELD, as 'Who=Speaker'")
            elif field is None:
                titles = [each.title for each in self.all]
                hint = did_you_mean(name, titles) or f"; choose from {', '.join(titles)}, {IGNORE}"
                problems.append(f"--map {option!r}: {name!r} is not a field{hint}")
            else:
                mapped[column.strip()] = field
        if problems:
            raise UsageError("\n".join(problems))
        return mapped

    def known(self, line: Sequence[str], mapped: Mapping[str, str]) -> int:
        """How many columns a header line has that are known."""
        return sum(1 for name in line if name.strip() in mapped or self.field(name))


def _letters(name: str) -> str:
    """``_id`` keeps its underscore: a column ID may hold anything, as the numbers of rows."""
    letters = "".join(mark for mark in name.casefold() if mark.isalnum())
    return f"_{letters}" if name.startswith("_") else letters


def read_table(source: Source, columns: Columns, mapped: Mapping[str, str] | None = None) -> Table:
    """The table in a file, whose header is its first line with names that are known. ``mapped``
    says which field a column holds, whatever it is called.

    What will not do becomes a problem of the source: then it has no rows."""
    mapped = mapped or {}
    try:
        lines = (
            _sheet(source, columns, mapped)
            if source.kind == "xlsx"
            else _csv(source, columns, mapped)
        )
        place, header, rest = _header(lines, columns, mapped)
    except Unreadable as problem:
        source.problems.add(problem.place, str(problem))
        return Table({}, iter(()))
    if not header:
        return Table({}, iter(()))
    fields = _Header(source, place, header, columns, mapped).fields()
    if fields is None:
        return Table({}, iter(()))
    titles = {field: name for field, name in zip(fields, header, strict=True) if field}
    return Table(titles, _rows(source, fields, rest))


def _header(
    lines: Iterator[Line], columns: Columns, mapped: Mapping[str, str]
) -> tuple[str, list[str], Iterator[Line]]:
    """The header with its place, and the lines after it; no names where it is empty."""
    first: list[Line] = []
    try:
        first.extend(islice(lines, HEADER_WITHIN))
    except Unreadable as problem:
        if not first:
            raise
        lines = _raised(problem)  # in its turn
    if not first:
        return "", [], iter(())
    best = max(range(len(first)), key=lambda at: columns.known(first[at][1], mapped))
    place, names = first[best]
    return place, [name.strip() for name in names], chain(first[best + 1 :], lines)


def _raised(problem: Unreadable) -> Iterator[Line]:
    yield from ()
    raise problem


class _Header:
    """Finds what each column of a header line holds."""

    def __init__(
        self,
        source: Source,
        place: str,
        names: Sequence[str],
        columns: Columns,
        mapped: Mapping[str, str],
    ) -> None:
        self.source, self.place, self.names = source, place, names
        self.columns, self.mapped = columns, mapped

    def fields(self) -> list[str] | None:
        """Of each column its field, or nothing where it is left out; None: it is refused."""
        before = len(self.source.problems.found)
        for name in self.mapped:
            if name not in self.names:
                self._add(f"--map: no column is called {name}; {self._all_names()}")
        fields = [self._field(name) for name in self.names]
        self._name_doubles(fields)
        self._name_missing(fields)
        return fields if len(self.source.problems.found) == before else None

    def _field(self, name: str) -> str:
        field = self.mapped.get(name) or self.columns.field(name)
        if field in self.mapped.values() and name not in self.mapped:
            self.source.notes.append(f"column {name} is left out: another was given in its place")
            return ""
        if field is not None:
            return "" if field == IGNORE else field
        if _letters(name) in self.columns.reserved or "." in name or name.startswith("$"):
            self._add(
                f"no such column as {name}, and nothing can be kept under that name; rename it, "
                f"or leave it out with --map '{name}={IGNORE}'"
            )
        elif guess := self.columns.guess(name):
            self.source.notes.append(
                f"column {name} is not known; did you mean {guess}? --map '{name}={guess}'"
            )
        return name

    def _name_doubles(self, fields: Sequence[str]) -> None:
        for field in sorted({field for field in fields if field and fields.count(field) > 1}):
            named = [name for name, each in zip(self.names, fields, strict=True) if each == field]
            which = f"two columns are called {field}"
            if len(set(named)) > 1:
                title = self.columns.title(field)
                which = f"{' and '.join(named)} both stand for {title}"
            self._add(f"{which}; leave one out with --map '{named[-1]}={IGNORE}'")

    def _name_missing(self, fields: Sequence[str]) -> None:
        missing = [
            column.title
            for column in self.columns.all
            if column.required and column.field not in fields
        ]
        if missing:
            hints = [
                f"did you mean {guess} by {name}? --map '{name}={guess}'"
                for name in self.names
                if name and not self.columns.field(name) and (guess := self.columns.guess(name))
            ]
            self._add("; ".join([f"no column {', '.join(missing)}", self._all_names(), *hints]))

    def _all_names(self) -> str:
        return f"the header names {', '.join(name or '(none)' for name in self.names)}"

    def _add(self, what: str) -> None:
        self.source.problems.add(self.place, what)


def _rows(
    source: Source, fields: Sequence[str], lines: Iterator[Line]
) -> Iterator[tuple[str, Cells]]:
    try:
        for number, (place, cells) in enumerate(lines, 1):
            if number > MOST_LINES:
                raise Unreadable(place, f"more than {MOST_LINES:,} rows; split the sheet")
            if any(cell.strip() for cell in cells[len(fields) :]):
                many = f"{len(cells)} cells, but the header names {len(fields)} columns"
                hint = "; put a text that holds the separator in quotes"
                source.problems.add(place, many + (hint if source.kind == "csv" else ""))
                continue
            named = zip(fields, map(unguarded, cells), strict=False)
            yield place, {field: cell for field, cell in named if field and cell.strip()}
    except Unreadable as problem:
        source.problems.add(problem.place, str(problem))


def _csv(source: Source, columns: Columns, mapped: Mapping[str, str]) -> Iterator[Line]:
    if match := _SEPARATOR_LINE.match(source.text):
        return _csv_lines(source.text[match.end() :], match[1], skipped=1)
    return _csv_lines(source.text, _separator(source.text, columns, mapped))


def _separator(text: str, columns: Columns, mapped: Mapping[str, str]) -> str:
    """The one that makes a header of one of the first lines; else the commonest in the first."""

    def score(separator: str) -> tuple[int, int]:
        known, cells = 0, 0
        try:
            for _, line in islice(_csv_lines(text, separator), HEADER_WITHIN):
                known, cells = max(known, columns.known(line, mapped)), cells or len(line)
        except Unreadable:
            pass  # the lines before it may be told apart all the same
        return known, cells

    return max(SEPARATORS, key=score)


def _csv_lines(text: str, separator: str, skipped: int = 0) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1 + skipped
    try:
        for cells in reader:
            place, start = f"line {start}", reader.line_num + 1 + skipped
            if any(cell.strip() for cell in cells):
                yield place, cells
    except csv.Error as error:
        raise Unreadable(f"line {start}", f"not CSV: {error}") from error


def _sheet(source: Source, columns: Columns, mapped: Mapping[str, str]) -> Iterator[Line]:
    """The lines of the first sheet with a header that is known, else of the first sheet."""
    sheets = read_sheets(source.data)
    if not sheets:
        raise Unreadable("", "it has no sheet")
    chosen = _with_header(sheets, columns, mapped)
    if others := ", ".join(sheet.title for sheet in sheets if sheet is not chosen):
        source.notes.append(f"read from its sheet {chosen.title}, not from {others}")
    return chosen.lines()


def _with_header(sheets: Sequence[Sheet], columns: Columns, mapped: Mapping[str, str]) -> Sheet:
    known = [
        max(
            (columns.known(cells, mapped) for _, cells in islice(sheet.lines(), HEADER_WITHIN)),
            default=0,
        )
        for sheet in sheets
    ]
    required = sum(1 for column in columns.all if column.required)
    for least in (max(required, 1), 1):
        for sheet, many in zip(sheets, known, strict=True):
            if many >= least:
                return sheet
    return sheets[0]


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
