"""Reads ``schedules.json``: everything that is wrong is said at once, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from speakerbot.clock import read_zone
from speakerbot.domain.cron import Cron
from speakerbot.domain.job_registry import JobDeclaration, JobRegistry, RunOptions
from speakerbot.durations import parse_duration
from speakerbot.errors import ConfigError, UsageError
from speakerbot.schedules import checks
from speakerbot.schedules.model import (
    FileProblems,
    GuestFields,
    ScheduleFields,
    ScheduleFile,
    SharedFields,
    read_fields,
)
from speakerbot.schedules.schedule import Guest, Schedule

_DURATIONS = ("grace", "wait", "timeout")


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of one file, in its order; never none."""

    source: str
    schedules: tuple[Schedule, ...]
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self.schedules)

    def get(self, name: str, job: str | None = None) -> Schedule:
        """The schedule of that name. Raises ConfigError naming those there are, and UsageError
        where it does not run ``job``."""
        for schedule in self:
            if schedule.name == name:
                if job not in (None, schedule.job):
                    text = f"--schedule: schedule {name!r} runs {schedule.job}, not {job}"
                    raise UsageError(text)
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
    defaults = _read_defaults(fields, problems)
    placed = list(_entries(fields.get("schedules"), defaults, jobs, problems))
    checks.check_together(placed, problems)
    if problems.found:
        raise ConfigError(*problems.found)
    return Schedules(source, tuple(schedule for _, schedule in placed), tuple(problems.warnings))


def _entries(
    raw: object, defaults: _Defaults, jobs: JobRegistry, problems: FileProblems
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
        elif schedule := _read_entry(entry, defaults, jobs, place, problems):
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


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What a schedule gets where it says nothing: built in, overridden by the file's own."""

    timezone: str = "UTC"
    grace: timedelta = timedelta(hours=6)
    wait: timedelta = timedelta()
    timeout: timedelta = timedelta(minutes=10)
    regions: tuple[str, ...] = ("iad",)
    machines: int | None = None
    share: bool = False
    guest: Guest = field(default_factory=Guest)
    env: dict[str, str] = field(default_factory=dict)


def _read_defaults(fields: dict[str, Any], problems: FileProblems) -> _Defaults:
    """The file's defaults; those that are wrong are reported and taken as not given."""
    built_in = _Defaults()
    timezone = fields.get("timezone", built_in.timezone)
    if problems.attempt("timezone", partial(read_zone, timezone)) is None:
        timezone = built_in.timezone
    raw = fields.get("defaults", {})
    common = read_fields(SharedFields, raw, "defaults", problems, nested=("guest",))
    return _Defaults(timezone, **_overridden(built_in, common, "defaults", problems))


def _read_entry(
    raw: object, defaults: _Defaults, jobs: JobRegistry, place: str, problems: FileProblems
) -> Schedule | None:
    """The schedule; None where something of it is wrong, which has then been reported."""
    before = len(problems.found)
    entry = read_fields(ScheduleFields, raw, place, problems, nested=("guest",))
    merged = _overridden(defaults, entry, place, problems)
    if "name" in entry:
        problems.attempt(f"{place}: name", partial(checks.check_name, entry["name"]))
    args = problems.attempt(f"{place}: args", partial(checks.check_args, entry.get("args", ())))
    job = _job(entry, jobs, place, problems)
    options = _options(job, args or (), place, problems)
    timed = job is not None and job.timed
    if timed:
        checks.warn_of_occurrences(entry, place, problems)
    cron = _cron(entry, defaults, place, problems)
    regions = _spread(merged.pop("regions"), merged.pop("machines"), place, problems)
    if len(problems.found) > before or cron is None:
        return None
    return Schedule(
        name=entry["name"], job=entry["job"], cron=cron, args=args or (),
        options=options or RunOptions(), regions=regions, timed=timed,
        enabled=entry.get("enabled", True), **merged,
    )  # fmt: skip


def _job(
    entry: dict[str, Any], jobs: JobRegistry, place: str, problems: FileProblems
) -> JobDeclaration | None:
    if "job" not in entry:
        return None
    return problems.attempt(f"{place}: job", partial(checks.check_job, entry["job"], jobs))


def _options(
    job: JobDeclaration | None, args: Sequence[str], place: str, problems: FileProblems
) -> RunOptions | None:
    """What the job makes of its arguments."""
    return problems.attempt(f"{place}: args", partial(job.read_args, args)) if job else None


def _overridden(
    defaults: _Defaults, own: dict[str, Any], place: str, problems: FileProblems
) -> dict[str, Any]:
    """Every field of ``defaults`` but the time zone, with what ``own`` says instead."""
    merged = {name: getattr(defaults, name) for name in _Defaults.__slots__ if name != "timezone"}
    for name in _DURATIONS:
        if name in own:
            length = problems.attempt(f"{place}: {name}", partial(parse_duration, own[name]))
            merged[name] = merged[name] if length is None else length
    if merged["timeout"] is not defaults.timeout:
        problems.attempt(f"{place}: timeout", partial(checks.check_timeout, merged["timeout"]))
    merged["share"] = own.get("share", merged["share"])
    own_env = checks.check_env(own.get("env", {}), f"{place}: env", problems)
    merged["env"] = {**merged["env"], **own_env}
    if "guest" in own:
        merged["guest"] = _guest(own["guest"], defaults.guest, f"{place}: guest", problems)
    return merged | _places(own, place, problems)


def _places(own: dict[str, Any], place: str, problems: FileProblems) -> dict[str, Any]:
    """Where the machines are, as far as ``own`` says it. Its own regions void the default count."""
    if "region" in own and "regions" in own:
        problems.add(f"{place}: region", "region and regions are both given: write only regions")
    regions = own.get("regions") or ([own["region"]] if "region" in own else [])
    key = "regions" if "regions" in own else "region"
    for region in regions:
        problems.attempt(f"{place}: {key}", partial(checks.check_region, region))
    said: dict[str, Any] = {"regions": tuple(regions)} if regions else {}
    if "machines" in own or "regions" in own:
        said["machines"] = own.get("machines")
    return said


def _spread(
    regions: tuple[str, ...], machines: int | None, place: str, problems: FileProblems
) -> tuple[str, ...]:
    """One region a machine, in turn."""
    count = len(regions) if machines is None else machines
    if count < len(regions):
        problems.add(f"{place}: regions", f"names {len(regions)} regions for {count} machines")
    return tuple(regions[number % len(regions)] for number in range(count))


def _guest(raw: object, default: Guest, place: str, problems: FileProblems) -> Guest:
    guest = Guest(**{**asdict(default), **read_fields(GuestFields, raw, place, problems)})
    return problems.attempt(place, partial(checks.check_guest, guest)) or default


def _cron(
    entry: dict[str, Any], defaults: _Defaults, place: str, problems: FileProblems
) -> Cron | None:
    zone = problems.attempt(
        f"{place}: timezone", partial(read_zone, entry.get("timezone", defaults.timezone))
    )
    if zone is None or "cron" not in entry:
        return None
    return problems.attempt(f"{place}: cron", partial(Cron, entry["cron"], zone))
