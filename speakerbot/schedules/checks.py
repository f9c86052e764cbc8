"""Rules of ``schedules.json`` that a type cannot say. Each names the value and what to write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from speakerbot.domain.job_registry import JobDeclaration, JobRegistry
from speakerbot.durations import format_duration
from speakerbot.schedules.model import FileProblems
from speakerbot.schedules.regions import REGIONS
from speakerbot.schedules.schedule import LONGEST_NAME, MARGIN, Guest, Schedule
from speakerbot.text import did_you_mean

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GUEST_CPUS = {"shared": (1, 2, 4, 6, 8), "performance": (1, 2, 4, 6, 8, 10, 12, 14, 16)}
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE|CREDENTIAL|_URI$|_URLS?$")
_OURS = ("--schedule", "--cron", "--timezone", "--grace", "--wait", "--timeout", "--share", "--now")

ABOUT_OCCURRENCES = ("grace", "wait", "share")
"""Fields that mean nothing for a timed job."""


def looks_secret(variable: str) -> bool:
    """Whether a variable of that name usually holds what nobody else should see."""
    return _SECRET.search(variable.upper()) is not None


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: write small letters, digits and single hyphens")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"{name!r} is {len(name)} characters long: {LONGEST_NAME} at most")
    return name


def check_job(job: str, jobs: JobRegistry) -> JobDeclaration:
    if job not in jobs:
        raise ValueError(jobs.unknown(job))
    return jobs[job]


def check_region(region: str) -> str:
    if region not in REGIONS:
        hint = did_you_mean(region, list(REGIONS)) or f"; there are {', '.join(REGIONS)}"
        raise ValueError(f"{region!r} is not a region of Fly{hint}")
    return region


def check_guest(guest: Guest) -> Guest:
    """Fly's rules: the numbers of CPUs it sells; 256 to 2,048 MB for each shared CPU, 2,048 to
    8,192 for others."""
    sold = _GUEST_CPUS[guest.cpu_kind]
    if guest.cpus not in sold:
        numbers = ", ".join(map(str, sold))
        raise ValueError(f"cpus {guest.cpus}: Fly has {guest.cpu_kind} machines of {numbers} CPUs")
    step, least, most = (256, 256, 2048) if guest.cpu_kind == "shared" else (1024, 2048, 8192)
    memory = f"memory_mb {guest.memory_mb}"
    if guest.memory_mb % step:
        below = guest.memory_mb // step * step or step
        raise ValueError(
            f"{memory} is not a multiple of {step}: write {below} or {below + step}"
            if guest.memory_mb > step
            else f"{memory} is not a multiple of {step}: write {step}"
        )
    least, most = least * guest.cpus, most * guest.cpus
    if not least <= guest.memory_mb <= most:
        cpus = f"{guest.cpus} {guest.cpu_kind} CPU" + ("s" if guest.cpus > 1 else "")
        raise ValueError(f"{memory} does not fit {cpus}: from {least} to {most}")
    return guest


def check_timeout(timeout: timedelta) -> timedelta:
    if not timeout:
        raise ValueError("a run needs some time: write 10m")
    return timeout


def check_args(args: Sequence[str]) -> tuple[str, ...]:
    for arg in args:
        if (option := arg.split("=", 1)[0]) in _OURS:
            raise ValueError(f"{option} is given by the schedule itself: leave it out here")
    return tuple(args)


def check_env(env: Mapping[str, str], place: str, problems: FileProblems) -> dict[str, str]:
    for name in env:
        if not _VARIABLE.fullmatch(name):
            problems.add(place, f"{name!r} is not a variable's name")
        elif looks_secret(name):
            problems.warn(place, f"{name} looks like a secret: use `fly secrets set {name}=…`")
    return dict(env)


def check_together(schedules: Sequence[tuple[str, Schedule]], problems: FileProblems) -> None:
    """Names that clash, and schedules that cannot do what they seem to say."""
    names: dict[str, str] = {}
    for place, schedule in schedules:
        for machine in schedule.machine_names:
            if machine in names and names[machine] != place:
                problems.add(
                    f"{place}: name",
                    f"its machine would be called {machine}, as {names[machine]}'s",
                )
            names.setdefault(machine, place)
        _warn(place, schedule, problems)


def warn_of_occurrences(entry: Mapping[str, object], place: str, problems: FileProblems) -> None:
    """What a schedule of a timed job says itself and what has no effect on one. Defaults are for
    all schedules, and mean the others."""
    for name in ABOUT_OCCURRENCES:
        if name in entry:
            job = entry.get("job")
            problems.warn(
                f"{place}: {name}",
                f"has no effect: {job} has no occurrences, it looks at every tick; leave it out",
            )


def _warn(place: str, schedule: Schedule, problems: FileProblems) -> None:
    tick = schedule.tick
    if schedule.timed:
        _warn_of_horizon(place, schedule, problems)
        return
    if schedule.cron.fires_within(tick) and schedule.interval == "hourly":
        problems.warn(
            f"{place}: cron",
            f"{schedule.cron.expression!r} fires more often than its machine's hourly tick: "
            "of the occurrences between two ticks only the last is run",
        )
    if schedule.rules.whole_grace + schedule.wait < tick:
        problems.warn(
            f"{place}: grace",
            f"{format_duration(schedule.grace)} is less than the hour between two ticks of its "
            "machine: some occurrences will be missed",
        )


def _warn_of_horizon(place: str, schedule: Schedule, problems: FileProblems) -> None:
    """A run that sees less far than to the next tick, which may be late, leaves a gap in which
    no run is there to send."""
    horizon = schedule.options.horizon or timedelta()
    least = schedule.tick + MARGIN
    if horizon >= least:
        return
    says = f"--horizon {format_duration(horizon)}" if horizon else "no --horizon"
    problems.warn(
        f"{place}: args",
        f"{says}: its machine ticks {schedule.interval}, so what falls due between two ticks is "
        f"late or lost; write at least --horizon {format_duration(least)}",
    )
