"""Workbooks (.xlsx), through openpyxl: an extra, imported where it is used.

All cells become texts, those that a CSV would hold: dates and times in ISO 8601, and a number that
was rounded looks rounded. What a stranger's file unpacks to is bounded.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from speakerbot.errors import UsageError
from speakerbot.formats.problems import Unreadable

if TYPE_CHECKING:
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

MOST_COLUMNS, MOST_ROWS = 256, 1_048_576
MOST_UNPACKED = 64 * 1024 * 1024
"""Bytes of the sheets and their texts; of each other part, which is read whole:"""
MOST_OF_OTHER_PARTS = 4 * 1024 * 1024
EXACT_DIGITS = 15
"""A spreadsheet keeps so many of a number, and zeros for the others."""
_STREAMED = re.compile(r"xl/(worksheets/[^/]+|sharedStrings)\.xml", re.IGNORECASE)
_READ_WHOLE = (".xml", ".rels")

Line = tuple[str, list[str]]
"""The cells of a row, with its place: ``row 4``."""


class Sheet(NamedTuple):
    title: str
    lines: Callable[[], Iterator[Line]]
    """Those that hold something, read again by each call. Raises Unreadable."""


def read_sheets(data: bytes) -> list[Sheet]:
    """The sheets of an .xlsx that are not hidden. Raises Unreadable for a file that is damaged or
    needs too much memory, UsageError where openpyxl is not installed."""
    try:
        import openpyxl
    except ImportError:
        raise UsageError(
            f"reading .xlsx needs openpyxl: {_INSTALL}; or save the sheet as CSV"
        ) from None
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            _refuse_big(archive)
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Unreadable("", f"it is a damaged .xlsx ({error}); save it again") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            workbook = openpyxl.load_workbook(
                io.BytesIO(data), read_only=True, data_only=True, keep_links=False
            )
    except Exception as error:  # whatever strangers' XML makes openpyxl raise
        why = f"it cannot be read as .xlsx ({_reason(error)}); save it again"
        raise Unreadable("", why) from error
    visible = (sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible")
    return [Sheet(sheet.title, partial(_lines, sheet)) for sheet in visible]


_INSTALL = f"{sys.executable} -m pip install openpyxl"


def _refuse_big(archive: ZipFile) -> None:
    """By the sizes that it names: they are the most that is ever unpacked."""
    parts = [(part.filename, part.file_size) for part in archive.infolist()]
    streamed = sum(size for name, size in parts if _STREAMED.fullmatch(name))
    if streamed > MOST_UNPACKED:
        what = f"it unpacks to {streamed / 1024**2:,.0f} MB; import its rows in smaller files"
        raise Unreadable("", what)
    for name, size in parts:
        whole = name.lower().endswith(_READ_WHOLE) and not _STREAMED.fullmatch(name)
        if whole and size > MOST_OF_OTHER_PARTS:
            what = f"its part {name} unpacks to {size / 1024**2:,.0f} MB; save the sheet as CSV"
            raise Unreadable("", what)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _lines(sheet: ReadOnlyWorksheet) -> Iterator[Line]:
    sheet.reset_dimensions()  # what a file says of its own size need not be true
    number = 0
    rows: Iterator[tuple[Any, ...]] = sheet.iter_rows(  # type: ignore[misc]  # its stub borrows it
        max_col=MOST_COLUMNS, max_row=MOST_ROWS, values_only=True
    )
    try:
        for number, values in enumerate(rows, 1):
            cells = [_text_of(value) for value in values]
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                yield f"row {number}", cells
    except Exception as error:  # whatever strangers' XML makes openpyxl raise
        why = f"cannot be read ({_reason(error)}); save the sheet again, or as CSV"
        raise Unreadable(f"row {number + 1}", why) from error


def _text_of(value: Any) -> str:
    """A cell as the text that somebody would have typed into a CSV."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() | float():
            return _number(value)
        case datetime():
            return value.date().isoformat() if value.time() == time() else str(value)
        case date():
            return value.isoformat()
        case time():
            return value.strftime("%H:%M:%S").removesuffix(":00")
        case timedelta():
            minutes, seconds = divmod(round(value.total_seconds()), 60)
            return f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
    return str(value)


def _number(value: int | float) -> str:
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    digits = str(int(value))
    rounded = isinstance(value, float) or not digits.lstrip("-")[EXACT_DIGITS:].strip("0")
    if len(digits.lstrip("-")) > EXACT_DIGITS and rounded:
        return f"{value:.{EXACT_DIGITS - 1}E}"
    return digits


def write_workbook(
    columns: Sequence[str], lines: Iterable[Sequence[str]], formats: Mapping[str, str]
) -> bytes:
    """An .xlsx of one sheet, all cells texts; ``formats`` are for what is typed into a column.

    Raises UsageError where openpyxl is not installed."""
    try:
        import openpyxl
    except ImportError:
        raise UsageError(f"writing .xlsx needs openpyxl: {_INSTALL}") from None
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    sheet.title = "Talks"
    sheet.freeze_panes = "A2"
    sheet.append(list(columns))
    for cells in lines:
        sheet.append(list(cells))
    for number, column in enumerate(columns, 1):
        sheet.cell(1, number).font = Font(bold=True)
        letter = get_column_letter(number)
        sheet.column_dimensions[letter].width = 24
        sheet.column_dimensions[letter].number_format = formats.get(column, "General")
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()
