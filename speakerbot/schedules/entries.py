"""One entry of ``schedules.json`` and the defaults it overrides, made into a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from speakerbot.clock import read_zone
from speakerbot.domain.cron import Cron
from speakerbot.domain.job_registry import JobRegistry, RunOptions
from speakerbot.durations import parse_duration
from speakerbot.schedules import checks
from speakerbot.schedules.model import GuestFields, ScheduleFields, SharedFields
from speakerbot.schedules.problems import FileProblems, read_fields
from speakerbot.schedules.schedule import Guest, Schedule

_DURATIONS = ("grace", "wait", "timeout")


@dataclass(frozen=True, slots=True)
class Defaults:
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


def read_defaults(fields: dict[str, Any], problems: FileProblems) -> Defaults:
    """The file's defaults; those that are wrong are reported and taken as not given."""
    built_in = Defaults()
    timezone = fields.get("timezone", built_in.timezone)
    if problems.attempt("timezone", partial(read_zone, timezone)) is None:
        timezone = built_in.timezone
    raw = fields.get("defaults", {})
    common = read_fields(SharedFields, raw, "defaults", problems, nested=("guest",))
    return Defaults(timezone, **_overridden(built_in, common, "defaults", problems))


def read_entry(
    raw: object, defaults: Defaults, jobs: JobRegistry, place: str, problems: FileProblems
) -> Schedule | None:
    """The schedule; None where something of it is wrong, which has then been reported."""
    before = len(problems.found)
    entry = read_fields(ScheduleFields, raw, place, problems, nested=("guest",))
    merged = _overridden(defaults, entry, place, problems)
    if "name" in entry:
        problems.attempt(f"{place}: name", partial(checks.check_name, entry["name"]))
    args = problems.attempt(f"{place}: args", partial(checks.check_args, entry.get("args", ())))
    options = _options(entry, jobs, args or (), place, problems)
    cron = _cron(entry, defaults, place, problems)
    regions = _spread(merged.pop("regions"), merged.pop("machines"), place, problems)
    if len(problems.found) > before or cron is None:
        return None
    return Schedule(
        name=entry["name"], job=entry["job"], cron=cron, args=args or (),
        options=options or RunOptions(), regions=regions,
        enabled=entry.get("enabled", True), **merged,
    )  # fmt: skip


def _options(
    entry: dict[str, Any],
    jobs: JobRegistry,
    args: Sequence[str],
    place: str,
    problems: FileProblems,
) -> RunOptions | None:
    """What the job makes of its arguments."""
    if "job" not in entry:
        return None
    job = problems.attempt(f"{place}: job", partial(checks.check_job, entry["job"], jobs))
    return problems.attempt(f"{place}: args", partial(job.read_args, args)) if job else None


def _overridden(
    defaults: Defaults, own: dict[str, Any], place: str, problems: FileProblems
) -> dict[str, Any]:
    """Every field of ``defaults`` but the time zone, with what ``own`` says instead."""
    merged = {name: getattr(defaults, name) for name in Defaults.__slots__ if name != "timezone"}
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
    entry: dict[str, Any], defaults: Defaults, place: str, problems: FileProblems
) -> Cron | None:
    zone = problems.attempt(
        f"{place}: timezone", partial(read_zone, entry.get("timezone", defaults.timezone))
    )
    if zone is None or "cron" not in entry:
        return None
    return problems.attempt(f"{place}: cron", partial(Cron, entry["cron"], zone))
