"""Finds what is wrong with texts before any of them is sent."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError
from speakerbot.templates.files import samples

if TYPE_CHECKING:
    from speakerbot.templates import Templates


def problems(templates: Templates, names: Iterable[str]) -> list[str]:
    """Everything wrong with these texts, each named with file and line. Looks at every branch for
    unknown variables and renders each of its examples."""
    return [problem for name in names for problem in _of_one(templates, name)]


def _of_one(templates: Templates, name: str) -> list[str]:
    try:
        if unknown := _unknown_variables(templates, name):
            return unknown
        for values in samples().get(name, ()):
            templates.render(name, values)
    except ConfigError as error:
        return list(error.problems)
    return []


def _unknown_variables(templates: Templates, name: str) -> list[str]:
    known = templates.variables(name)
    return [
        f"template {templates.path(name)}, line {line}: {variable!r} is unknown"
        f"{did_you_mean(variable, known)}; there are {', '.join(known)}"
        for variable, line in templates.file(name).variables().items()
        if variable not in known
    ]


def strangers(templates: Templates) -> list[str]:
    """Files of the overrides folder that are no text of ours, and so have no effect."""
    if templates.overrides is None:
        return []
    known = [templates.path(name).name for name in templates.names()]
    return [
        f"{path}: has no effect: no text has that name{did_you_mean(path.name, known)}"
        for path in sorted(Path(templates.overrides).iterdir())
        if path.name not in known and not path.name.startswith(".")
    ]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
