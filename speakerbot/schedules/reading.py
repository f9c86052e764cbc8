"""Reads ``schedules.json``: everything that is wrong is said at once, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speakerbot.domain.job_registry import JobRegistry
from speakerbot.errors import ConfigError
from speakerbot.schedules import checks
from speakerbot.schedules.entries import Defaults, read_defaults, read_entry
from speakerbot.schedules.model import ScheduleFile
from speakerbot.schedules.problems import FileProblems, read_fields
from speakerbot.schedules.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of one file, in its order; never none."""

    source: str
    schedules: tuple[Schedule, ...]
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self.schedules)

    def get(self, name: str) -> Schedule:
        """The schedule of that name. Raises ConfigError naming those there are."""
        for schedule in self:
            if schedule.name == name:
                return schedule
        names = ", ".join(schedule.name for schedule in self)
        raise ConfigError(f"{self.source}: there is no schedule {name!r}; there are {names}")


def read_schedules(path: Path, jobs: JobRegistry) -> Schedules:
    """The schedules of a file. Raises ConfigError naming file, entry and field of each problem;
    a file that is missing, empty or cut off is one. ``jobs`` are those it may name."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file; --schedules or SPEAKERBOT_SCHEDULES names another"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_schedules(text, str(path), jobs)


def parse_schedules(text: str, source: str, jobs: JobRegistry) -> Schedules:
    """As :func:`read_schedules`, of a text; ``source`` names it in messages."""
    problems = FileProblems(source)
    raw = _read_json(text, problems)
    fields = read_fields(ScheduleFile, raw, "", problems, nested=("schedules", "defaults"))
    defaults = read_defaults(fields, problems)
    placed = list(_entries(fields.get("schedules"), defaults, jobs, problems))
    checks.check_together(placed, problems)
    if problems.found:
        raise ConfigError(*problems.found)
    return Schedules(source, tuple(schedule for _, schedule in placed), tuple(problems.warnings))


def _entries(
    raw: object, defaults: Defaults, jobs: JobRegistry, problems: FileProblems
) -> Iterator[tuple[str, Schedule]]:
    if not isinstance(raw, list):
        if raw is not None:
            problems.add("schedules", "must be a list")
        return
    if not raw:
        problems.add("schedules", "the list is empty: nothing would run, so nothing is changed")
    seen: dict[str, str] = {}
    for index, entry in enumerate(raw):
        name = entry.get("name") if isinstance(entry, dict) else None
        place = f'schedules[{index}] "{name}"' if isinstance(name, str) else f"schedules[{index}]"
        if isinstance(name, str) and (first := seen.setdefault(name, place)) != place:
            problems.add(f"{place}: name", f"{first} has the same name")
        elif schedule := read_entry(entry, defaults, jobs, place, problems):
            yield place, schedule


def _read_json(text: str, problems: FileProblems) -> Any:
    """The document; refuses an empty or cut-off one with line and column."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        for key in read:
            if sum(name == key for name, _ in pairs) > 1:
                problems.add("", f"the key {key!r} is written twice in one object")
        return read

    if not text.strip():
        raise ConfigError(f"{problems.source}: the file is empty; nothing was changed")
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        message = f"{problems.source}: no JSON at {where}: {error.msg}; nothing was changed"
        raise ConfigError(message) from error
    except RecursionError as error:
        raise ConfigError(f"{problems.source}: is nested too deeply") from error
