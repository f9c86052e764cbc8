"""Copies our texts into a folder, where a community makes them its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speakerbot.errors import ConfigError
from speakerbot.templates import BUILT_IN, SUFFIX, Templates


@dataclass(frozen=True, slots=True)
class Ejected:
    """Files that were written, and those that were there already and were left as they are."""

    written: tuple[Path, ...]
    left: tuple[Path, ...]


def eject(folder: Path, *, dry_run: bool = False) -> Ejected:
    """Writes every text into the folder, made if missing. Overwrites nothing, whoever else writes
    there at the same time. Raises ConfigError where the folder cannot be written."""
    written: list[Path] = []
    left: list[Path] = []
    try:
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
        for name in Templates().names():
            path = folder / (name + SUFFIX)
            (written if _copied(name, path, dry_run=dry_run) else left).append(path)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return Ejected(tuple(written), tuple(left))


def _copied(name: str, path: Path, *, dry_run: bool) -> bool:
    if dry_run:
        return not path.exists()
    text = (BUILT_IN / (name + SUFFIX)).read_bytes()
    try:
        with path.open("xb") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
