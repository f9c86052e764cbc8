"""What machines did lately, and which of them need a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.diff import changed_fields
from deploy.machines import Machine, WantedMachine
from speakerbot.schedules.schedule import MARGIN

PATIENCE = 1.5
"""Intervals without a start before a machine is called overdue: Fly's ticks are fuzzy."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run. ``ended_at`` None: it is running. ``interrupted``: it was asked to stop."""

    started_at: datetime | None
    ended_at: datetime | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    interrupted: bool = False

    @property
    def duration(self) -> timedelta | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One line of the status table. ``problems`` need a person."""

    schedule: str
    machine: str
    region: str
    state: str
    last: LastRun | None
    next_tick: datetime | None
    next_occurrence: datetime | None
    overdue: bool
    drift: tuple[str, ...]
    problems: tuple[str, ...]


def last_run(events: Iterable[Mapping[str, Any]]) -> LastRun | None:
    """From a machine's events, in any order; None if it never ran as far as they reach back."""
    moments = [(when, event) for event in events if (when := _instant(event.get("timestamp")))]
    moments.sort(key=lambda pair: pair[0], reverse=True)
    exits = ((when, exit_data) for when, event in moments if (exit_data := _exit(event)))
    ended, data = next(exits, (None, {}))
    starts = [when for when, event in moments if event.get("type") == "start"]
    if starts and (ended is None or starts[0] > ended):
        return LastRun(starts[0])
    if ended is None:
        return None
    code = data.get("exit_code")
    return LastRun(
        next((start for start in starts if start <= ended), None),
        _instant(data.get("exited_at")) or ended,
        code if isinstance(code, int) else None,
        data.get("oom_killed") is True,
        data.get("requested_stop") is True,
    )


def has_start(machine: Machine) -> bool:
    """Whether the events that came with the list say when it last ran."""
    return any(event.get("type") == "start" for event in machine.events)


def judge(
    wanted: Sequence[WantedMachine],
    machines: Mapping[str, Machine],
    now: datetime,
    looks: Mapping[str, datetime],
) -> list[MachineStatus]:
    """The status of every wanted machine; ``machines`` have those names, and their events.
    ``looks``: when a run of each timed schedule last looked, as far as the store could be asked."""
    return [
        _judge(want, machines.get(want.name), now, looks.get(want.schedule.name)) for want in wanted
    ]


def _judge(
    want: WantedMachine, machine: Machine | None, now: datetime, looked_at: datetime | None
) -> MachineStatus:
    schedule = want.schedule
    has_next = schedule.enabled and not schedule.timed
    upcoming = schedule.cron.next(now) if has_next else None
    if machine is None:
        return _absent(want, "missing", upcoming, "there is no such machine: `cron apply` "
                       "creates it")  # fmt: skip
    if machine.reachable and not machine.owned:
        return _absent(want, "not ours", upcoming, "a machine of that name is not ours: remove it, "
                       "or rename the schedule")  # fmt: skip
    last = last_run(machine.events)
    tick = schedule.tick
    since = last.started_at if last and last.started_at else _instant(machine.created_at)
    overdue_since = _overdue_since(want, last, since, looked_at, now)
    drift = _drift(want, machine)
    return MachineStatus(
        schedule.name,
        machine.name,
        machine.region,
        _state(want, machine),
        last,
        since + tick if since and schedule.enabled else None,
        upcoming,
        overdue_since is not None,
        drift,
        tuple(_problems(machine, last, overdue_since, drift, timed=schedule.timed)),
    )


def _overdue_since(
    want: WantedMachine,
    last: LastRun | None,
    since: datetime | None,
    looked_at: datetime | None,
    now: datetime,
) -> datetime | None:
    """Since when it has done nothing, if that is too long. A timed job looks for as long as it
    runs, and stores that it does: one that hangs shows there."""
    schedule, patience = want.schedule, PATIENCE * want.schedule.tick
    if schedule.timed:
        runs = last is not None and last.ended_at is None
        since = looked_at or (now if runs else (last and last.ended_at) or since)
        patience = schedule.tick + MARGIN
    if schedule.enabled and since is not None and now - since > patience:
        return since
    return None


def _absent(
    want: WantedMachine, state: str, upcoming: datetime | None, problem: str
) -> MachineStatus:
    return MachineStatus(
        want.schedule.name, want.name, want.region, state, None, None, upcoming, False, (),
        (problem,),
    )  # fmt: skip


def _state(want: WantedMachine, machine: Machine) -> str:
    """Of an unreachable machine Fly knows only what it was."""
    if not machine.reachable:
        return machine.host_status
    return machine.state if want.schedule.enabled else f"{machine.state}, disabled"


def _drift(want: WantedMachine, machine: Machine) -> tuple[str, ...]:
    if not machine.reachable:
        return ()
    changes = changed_fields(want.with_image(machine.image).config, machine)
    moved = (f"region: {machine.region} → {want.region}",) if machine.region != want.region else ()
    return (*moved, *map(str, changes))


def _problems(
    machine: Machine,
    last: LastRun | None,
    overdue_since: datetime | None,
    drift: Sequence[str],
    *,
    timed: bool,
) -> Iterable[str]:
    if not machine.reachable:
        yield f"its host is {machine.host_status}"
    if overdue_since is not None:
        what = "look" if timed else "start"
        yield f"overdue: no {what} since {overdue_since:%Y-%m-%d %H:%M} UTC"
    if last and last.oom_killed:
        yield "its last run ran out of memory: raise guest.memory_mb"
    elif last and last.exit_code and not last.interrupted:
        yield f"its last run ended with exit code {last.exit_code}: see `cron logs`"
    if drift:
        fields = ", ".join(change.split(":")[0] for change in drift)
        yield f"differs from schedules.json ({fields}): `cron plan` shows how"


def _exit(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The exit data of an exit event, wherever Fly put it."""
    request = event.get("request")
    if event.get("type") != "exit":
        return {}
    request = request if isinstance(request, dict) else {}
    monitor = request.get("MonitorEvent")
    monitor = monitor if isinstance(monitor, dict) else {}
    found = monitor.get("exit_event") or request.get("exit_event")
    return found if isinstance(found, dict) and found else {"exit_code": None}


def _instant(value: object) -> datetime | None:
    """Milliseconds since 1970, or ISO 8601."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and value > 0:
            return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
