"""A community's own texts: copied from ours into its folder, and checked before any is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speakerbot.errors import ConfigError, TemplateError
from speakerbot.templates import BUILT_IN, SUFFIX, Templates, names
from speakerbot.templates.values import samples
from speakerbot.text import did_you_mean, mentions_all


@dataclass(frozen=True, slots=True)
class Ejected:
    """Files that were written, and those that were there already and were left as they are."""

    written: tuple[Path, ...]
    left: tuple[Path, ...]


def eject(folder: Path, *, dry_run: bool = False) -> Ejected:
    """Writes every text into the folder, which is made if missing. Overwrites nothing, whoever
    else writes there at the same time. Raises ConfigError where the folder cannot be written."""
    written: list[Path] = []
    left: list[Path] = []
    try:
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
        for name in names():
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


def problems(templates: Templates, chosen: Iterable[str]) -> list[str]:
    """Everything wrong with these texts, each named with file and line: what no text may say, in
    any branch, and what goes wrong with its examples."""
    return [problem for name in chosen for problem in _problems_of(templates, name)]


def _problems_of(templates: Templates, name: str) -> tuple[str, ...]:
    try:
        templates.file(name).compile()
        for values in samples().get(name, ()):
            templates.render(name, values)
    except TemplateError as error:
        return error.problems
    return ()


def warnings(templates: Templates) -> list[str]:
    """What is not wrong, but does not do what somebody may think it does."""
    return [*_files_without_effect(templates), *_mentions_without_effect(templates)]


def _files_without_effect(templates: Templates) -> Iterator[str]:
    if templates.overrides is None:
        return
    known = [templates.path(name).name for name in names()]
    for path in sorted(templates.overrides.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            hint = did_you_mean(path.name, known)
            yield f"{path} has no effect: there is no text of that name{hint}"


def _mentions_without_effect(templates: Templates) -> Iterator[str]:
    for name in templates.overridden():
        if mentions_all(templates.file(name).source):
            path = templates.path(name)
            yield f"{path} names @everyone or @here: it is shown, but nobody is notified"
