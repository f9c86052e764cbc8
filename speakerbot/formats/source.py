"""A file that was given to us, as text: checked for its size and its encoding, line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speakerbot.errors import UsageError
from speakerbot.formats.problems import ImportProblems

MOST_BYTES = 64 * 1024 * 1024
LONGEST_LINE = 1024 * 1024
"""Characters. MongoDB's documents end at 16 MB; a talk or a person is a few hundred bytes."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Kind = Literal["json", "csv"]


@dataclass(frozen=True, slots=True)
class Source:
    text: str
    kind: Kind
    problems: ImportProblems

    @property
    def line_count(self) -> int:
        return self.text.count("\n") + 1

    def lines(self) -> Iterator[tuple[int, str]]:
        """Lines that hold something, with their numbers from 1; too long ones become problems."""
        # Not splitlines(): it also splits at characters that JSON allows inside a text.
        for number, line in enumerate(self.text.split("\n"), 1):
            if len(line) > LONGEST_LINE:
                self.problems.add(f"line {number}", f"longer than {LONGEST_LINE:,} characters")
            elif line.strip():
                yield number, line


def read_source(file: Path) -> Source:
    """Reads a file whole; ``-`` is standard input. Bytes that are not UTF-8 become problems.

    Raises UsageError if it cannot be read, InputRefused if it is empty, too big or in UTF-16.
    """
    name = "standard input" if str(file) == "-" else str(file)
    problems = ImportProblems(name)
    try:
        data = _read(file)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from error
    if len(data) > MOST_BYTES:
        problems.add("", f"more than {MOST_BYTES // 1024**2} MB; split it into smaller files")
    elif data.startswith(_UTF16):
        problems.add("", "it is in UTF-16; save it as UTF-8")
    elif not data.strip():
        problems.add("", "it is empty")
    problems.refuse()
    text = _decoded(data.removeprefix(b"\xef\xbb\xbf"), problems)
    return Source(text, _kind(file, text), problems)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with file.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def _decoded(data: bytes, problems: ImportProblems) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            problems.add(f"line {number}", f"{byte} is not UTF-8; save the file as UTF-8")
    return data.decode(errors="replace")


def _kind(file: Path, text: str) -> Kind:
    match file.suffix.lower():
        case ".json" | ".jsonl" | ".ndjson":
            return "json"
        case ".csv" | ".tsv":
            return "csv"
    return "json" if text.lstrip()[:1] in ("{", "[") else "csv"
