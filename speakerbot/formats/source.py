"""A file that was given to us: of which kind it is, its size and encoding checked."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speakerbot.errors import UsageError
from speakerbot.formats.problems import ImportProblems

MOST_BYTES = 64 * 1024 * 1024
LONGEST_LINE = 1024 * 1024
"""Characters. MongoDB's documents end at 16 MB; a talk or a person is a few hundred bytes."""
UTF8_MARK = codecs.BOM_UTF8
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
XLSX_PARTS = (b"[Content_Types].xml", b"xl/")
"""What the parts of an .xlsx are called, which stands in it uncompressed."""
_LINE_END = re.compile(r"\r\n?|\n")
_DOCUMENTS = re.compile(r"\s*\[?\s*\{\s*\"")
_FOREIGN_WORD = re.compile(r"\S*[^\x00-\x7f]\S*")

Kind = Literal["json", "csv", "xlsx"]


@dataclass(frozen=True, slots=True)
class Source:
    text: str
    kind: Kind
    problems: ImportProblems
    notes: list[str] = field(default_factory=list)
    """What was understood of it that people had better check."""
    data: bytes = b""
    """Of an .xlsx file, which has no ``text``."""

    @property
    def line_count(self) -> int:
        return self.text.count("\n") + 1

    def lines(self) -> Iterator[tuple[int, str]]:
        """Lines that hold something, with their numbers from 1; too long ones become problems."""
        # Not splitlines(): it also splits at characters that JSON allows inside a text.
        for number, line in enumerate(_LINE_END.split(self.text), 1):
            if len(line) > LONGEST_LINE:
                self.problems.add(f"line {number}", f"longer than {LONGEST_LINE:,} characters")
            elif line.strip():
                yield number, line


def read_source(file: Path) -> Source:
    """Reads a file whole; ``-`` is standard input. Bytes that are not text become problems.

    Raises UsageError if it cannot be read; InputRefused if it is empty, too big or of a kind that
    no import reads.
    """
    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = _read(file)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from error
    return source_of(data, name, file.suffix)


def source_of(data: bytes, name: str, suffix: str = "") -> Source:
    """What was read from somewhere; ``name`` is how problems call it. Raises InputRefused."""
    problems = ImportProblems(name)
    if refused := _refused(data):
        problems.add("", refused)
    problems.refuse()
    if data.startswith(b"PK"):
        return Source("", "xlsx", problems, data=data)
    notes: list[str] = []
    may_be_csv = suffix.lower() not in (".json", ".jsonl", ".ndjson")
    text = _decoded(
        data, problems, notes if may_be_csv and data.lstrip()[:1] not in b"{[" else None
    )
    return Source(text, _kind(suffix, text), problems, notes)


def _refused(data: bytes) -> str:
    """Why nothing of it can be read; empty where it may be."""
    head = data[:1000].removeprefix(UTF8_MARK).lstrip().lower()
    if len(data) > MOST_BYTES:
        return f"more than {MOST_BYTES // 1024**2} MB; split it into smaller files"
    if not data.strip():
        return "it is empty"
    if data.startswith(b"PK"):
        if all(part in data for part in XLSX_PARTS):
            return ""
        return "it is a ZIP archive, but not an .xlsx; save the sheet as .xlsx or CSV"
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return (
            "it is an .xls of before 2007, or has a password; save it as .xlsx or CSV, without one"
        )
    if head.startswith(b"begin:vcalendar"):
        return (
            "it is a calendar, which names no Discord ids; `speakerbot talks sync` reads calendars "
            "and says how to link their speakers"
        )
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is a web page; download the sheet itself, as .xlsx or CSV"
    if not data.startswith(UTF16_MARKS) and b"\0" in data and not _is_utf8(data):
        return "it is neither text nor .xlsx; save the sheet as .xlsx or CSV"
    return ""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with file.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def _decoded(data: bytes, problems: ImportProblems, notes: list[str] | None) -> str:
    """UTF-8 or UTF-16 by its mark; with ``notes``, also Windows-1252 as spreadsheets write it."""
    if data.startswith(UTF16_MARKS):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            problems.add("", f"it is damaged UTF-16, at byte {error.start + 1}; save it as UTF-8")
            problems.refuse()
    data = data.removeprefix(UTF8_MARK)
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    if notes is not None:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            pass
        else:
            word = _FOREIGN_WORD.search(text)
            notes.append(
                f"it is not UTF-8, so it was read as Windows-1252 ({word[0] if word else ''}); if "
                "letters are wrong, save it as UTF-8"
            )
            return text
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            problems.add(f"line {number}", f"{byte} is not UTF-8; save the file as UTF-8")
    return data.decode(errors="replace")


def _kind(suffix: str, text: str) -> Kind:
    match suffix.lower():
        case ".json" | ".jsonl" | ".ndjson":
            return "json"
        case (
            ".csv" | ".tsv"
        ):  # where a shell has put JSON lines into it, they are JSON all the same
            return "json" if _DOCUMENTS.match(text) else "csv"
    return "json" if text.lstrip()[:1] in ("{", "[") else "csv"
