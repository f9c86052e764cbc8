"""What the ``cron`` commands do: read, ask Fly, print. Each returns its exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from deploy import render
from deploy.apply import Result
from deploy.apply import apply as carry_out
from deploy.export import EXPORTERS
from deploy.fly import Fly, connect
from deploy.machines import Machine, Wanted, wanted_machines
from deploy.notices import lost_databases, open_occurrence, served_at_once
from deploy.plan import Note, Plan, make_plan
from deploy.registry import by_digest
from deploy.settings import Target, find_target
from deploy.status import Status, has_start, judge
from jobs import JOBS
from speakerbot import logs as our_logs
from speakerbot.durations import parse_duration
from speakerbot.errors import ConfigError, Unreachable, UsageError
from speakerbot.schedules import Schedules, read_schedules

T = TypeVar("T")
CHANGES = 2
"""Exit code: there is something left to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What all commands about machines are told."""

    schedules: Path
    app: str | None
    token: str | None
    timeout: float
    as_json: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What plan and apply are told. ``detailed``: exit 2 if changes are left to make."""

    image: str | None
    by_digest: bool
    prune: bool
    refresh: bool
    detailed: bool


def seconds(option: str, text: str) -> float:
    """A duration given as an option."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def plan(request: Request, change: Change) -> int:
    work = _Work(request)
    drawn = work.ask(lambda fly: work.plan(fly, change))
    if request.as_json:
        _print_json(render.plan_document(drawn.plan, drawn.notes, work.target.app))
    else:
        render.show(render.plan_lines(drawn.plan, drawn.notes), render.console())
    return CHANGES if change.detailed and drawn.plan.actions else 0


def apply(request: Request, change: Change, allow_mass_change: bool, wait_for_runs: str) -> int:
    work, limit = _Work(request), seconds("--wait-for-runs", wait_for_runs)
    screen = render.console(stderr=request.as_json)

    async def work_on(fly: Fly) -> tuple[Drawn, list[Result]]:
        drawn = await work.plan(fly, change)
        render.show(render.plan_lines(drawn.plan, drawn.notes), screen)
        if not allow_mass_change:
            drawn.plan.refuse_mass_destruction()
        actions, done = drawn.plan.actions, Progress(len(drawn.plan.actions))
        return drawn, await carry_out(
            actions, fly, wait_for_runs=limit, done=lambda result: done.show(result, screen)
        )

    drawn, results = work.ask(work_on)
    if results:
        render.show([(render.result_counts(results), "bold")], screen)
    if request.as_json:
        document = render.plan_document(drawn.plan, drawn.notes, work.target.app)
        _print_json({**document, "results": render.result_documents(results)})
    return _outcome(results, change.detailed)


def status(request: Request) -> int:
    work = _Work(request)
    rows, notes = work.ask(work.status)
    if request.as_json:
        _print_json(render.status_document(rows, notes, work.target.app))
    else:
        screen = render.console()
        render.status_table(rows, screen)
        render.show(render.status_lines(rows, notes), screen)
    return CHANGES if notes or any(row.problems for row in rows) else 0


def run(request: Request, name: str, *, dry_run: bool) -> None:
    """Starts the first machine of a schedule that is at rest."""
    work = _Work(request)
    schedule = work.schedules.get(name)
    occurrence = open_occurrence(schedule, datetime.now(UTC))
    if not schedule.enabled:
        say = f"{name} is disabled: the run will skip. `speakerbot run {schedule.job}` forces one"
    elif occurrence:
        say = f"{name}: {occurrence} is open: the run serves it, unless that has been done"
    else:
        say = (
            f"{name}: no occurrence is open: the run will skip. `speakerbot run {schedule.job}`, "
            "without a schedule, forces one"
        )
    screen = render.console()
    render.show([(say, "")], screen)
    if dry_run:
        return
    machine = work.ask(lambda fly: _start(fly, schedule.machine_names))
    render.show([(f"started {machine.name}: {_logs_command(work.target, machine)}", "")], screen)


def logs(request: Request, name: str) -> None:
    work = _Work(request)
    names = work.schedules.get(name).machine_names
    machines = work.ask(lambda fly: _ours(fly, names))
    for machine in machines:
        render.show([(_logs_command(work.target, machine), "")], render.console())


def export(schedules: Path, kind: str, image: str, app: str, output: Path | None) -> None:
    if kind not in EXPORTERS:
        raise UsageError(f"there is no export {kind!r}: there are {', '.join(EXPORTERS)}")
    read = read_schedules(schedules, JOBS)
    _warn(read)
    files = EXPORTERS[kind](read.schedules, image, app)
    for name, text in files.items():
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, "utf-8")
            render.show([(f"wrote {output / name}", "")], render.console(stderr=True))
        else:
            head = f"# ---- {name}\n" if len(files) > 1 else ""
            sys.stdout.write(head + text)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plan and everything a person should know with it."""

    plan: Plan
    notes: tuple[Note, ...]


class Progress:
    """Counts results as they come."""

    def __init__(self, total: int) -> None:
        self.total, self.number = total, 0

    def show(self, result: Result, screen: Any) -> None:
        self.number += 1
        render.show([render.result_line(result, self.number, self.total)], screen)


class _Work:
    """One command: its schedules, its app, its machines."""

    def __init__(self, request: Request) -> None:
        if not structlog.is_configured():
            our_logs.configure()
        self.schedules = read_schedules(request.schedules, JOBS)
        _warn(self.schedules)
        self.target: Target = find_target(request.app, request.token)
        self.wanted: list[Wanted] = list(wanted_machines(self.schedules, self.target.env))
        self.timeout = request.timeout

    def ask(self, question: Callable[[Fly], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with connect(self.target, self.timeout) as fly:
                return await question(fly)

        return asyncio.run(connected())

    async def plan(self, fly: Fly, change: Change) -> Drawn:
        image = change.image
        if image and change.by_digest:
            image = await by_digest(image, self.target, self.timeout)
        machines = await fly.machines()
        plan = make_plan(
            self.wanted, machines, image=image, prune=change.prune, refresh=change.refresh
        )
        more = (
            *served_at_once(plan, datetime.now(UTC)), *lost_databases(self.wanted, machines)
        )  # fmt: skip
        return Drawn(plan, (*plan.notes, *more))

    async def status(self, fly: Fly) -> tuple[list[Status], list[Note]]:
        machines = await fly.machines()
        ours = {machine.name: machine for machine in machines if machine.owned}
        for want in self.wanted:
            machine = ours.get(want.name)
            if machine and machine.reachable and not has_start(machine):
                ours[want.name] = machine.with_events(await fly.events(machine.id))
        rows = judge(self.wanted, ours, datetime.now(UTC))
        names = {want.name for want in self.wanted}
        plan = make_plan(self.wanted, machines, image="any")
        return rows, [
            note for note in plan.notes if note.name not in names or note.name not in ours
        ]


async def _ours(fly: Fly, names: tuple[str, ...]) -> list[Machine]:
    found = [m for m in await fly.machines() if m.owned and m.name in names]
    if not found:
        raise ConfigError(f"there is no machine {names[0]} yet: `cron apply` makes it")
    return found


async def _start(fly: Fly, names: tuple[str, ...]) -> Machine:
    machines = await _ours(fly, names)
    machine = next((m for m in machines if m.at_rest), None)
    if machine is None:
        raise ConfigError(f"{machines[0].name} runs already: `cron logs` says how to watch it")
    await fly.start(machine.id)
    return machine


def _logs_command(target: Target, machine: Machine) -> str:
    return f"fly logs --app {target.app} --machine {machine.id}"


def _outcome(results: list[Result], detailed: bool) -> int:
    failed = next((result for result in results if result.outcome == "failed"), None)
    if failed is not None:
        return failed.error.exit_code if failed.error else Unreachable.exit_code
    left = any(result.outcome == "skipped" for result in results)
    return CHANGES if detailed and left else 0


def _warn(schedules: Schedules) -> None:
    lines = [(f"warning: {warning}", "yellow") for warning in schedules.warnings]
    render.show(lines, render.console(stderr=True))


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
