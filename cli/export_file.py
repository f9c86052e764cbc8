"""Exports: to standard output, or to a file that is whole or untouched, never half written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from speakerbot.errors import UsageError

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", dir_okay=False, metavar="FILE", help="Default: standard output."
    ),
]


def write_export(pieces: Iterable[str], output: Path | None) -> None:
    """Writes UTF-8. Raises UsageError if the file cannot be written."""
    if output is None or str(output) == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece.encode())
        sys.stdout.flush()
        return
    try:
        _replace(output, pieces)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror})") from error


def _replace(output: Path, pieces: Iterable[str]) -> None:
    if output.exists() and not output.is_file():
        output.write_bytes("".join(pieces).encode())  # a pipe or a device
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines(piece.encode() for piece in pieces)
        if output.exists():
            shutil.copymode(output, part)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
