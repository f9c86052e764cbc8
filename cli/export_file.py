"""Exports: to standard output, or to a file that is whole or untouched, never half written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from speakerbot.errors import UsageError

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", dir_okay=False, metavar="FILE", help="Default: standard output."
    ),
]


F = TypeVar("F", bound=str)


def form_of(form: F | None, output: Path | None, forms: Mapping[str, F], default: F) -> F:
    """The form that is asked for, else the one that the file's suffix names. Raises UsageError
    where the suffix names none."""
    if form is not None or output is None or not output.suffix:
        return form or default
    if named := forms.get(output.suffix.lower()):
        return named
    raise UsageError(
        f"{output}: cannot tell from {output.suffix} what to write; give a name that ends in "
        f"{' or '.join(forms)}"
    )


def write_export(pieces: Iterable[str | bytes], output: Path | None) -> None:
    """Writes texts as UTF-8. Raises UsageError if the file cannot be written."""
    if output is None or str(output) == "-":
        for piece in pieces:
            sys.stdout.buffer.write(_bytes(piece))
        sys.stdout.flush()
        return
    try:
        _replace(output, pieces)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror})") from error


def _bytes(piece: str | bytes) -> bytes:
    return piece.encode() if isinstance(piece, str) else piece


def _replace(output: Path, pieces: Iterable[str | bytes]) -> None:
    if output.exists() and not output.is_file():
        output.write_bytes(b"".join(map(_bytes, pieces)))  # a pipe or a device
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines(map(_bytes, pieces))
        if output.exists():
            shutil.copymode(output, part)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
