"""Finds what is wrong with texts before any of them is sent."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError
from speakerbot.templates.files import samples
from speakerbot.text import mentions_all

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


def warnings(templates: Templates) -> list[str]:
    """What is not wrong, but does not do what somebody may think it does."""
    return [*_strangers(templates), *_vain_mentions(templates)]


def _strangers(templates: Templates) -> Iterator[str]:
    if templates.overrides is None:
        return
    known = [templates.path(name).name for name in templates.names()]
    for path in sorted(templates.overrides.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            hint = did_you_mean(path.name, known)
            yield f"{path} has no effect: there is no text of that name{hint}"


def _vain_mentions(templates: Templates) -> Iterator[str]:
    for name in templates.overridden():
        if mentions_all(templates.file(name).source):
            path = templates.path(name)
            yield f"{path} names @everyone or @here: it is shown, but nobody is notified"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
