"""What the ``cron`` commands do: read, ask Fly, print. Each returns its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from deploy import render
from deploy.api_errors import Conflict
from deploy.apply import ActionResult, ApplyEvent, ApplyReport
from deploy.apply import apply as carry_out
from deploy.export import exporter
from deploy.fly import Fly, by_digest, connect
from deploy.machines import GONE, Machine, WantedMachine, wanted_machines
from deploy.plan import (
    EMPTY,
    MachinePlan,
    PlanNote,
    lost_databases,
    make_plan,
    open_occurrence,
    served_at_once,
    short_windows,
)
from deploy.settings import FlyTarget, find_target
from deploy.status import MachineStatus, has_start, judge
from jobs import JOBS
from speakerbot import logs as our_logs
from speakerbot.durations import parse_duration
from speakerbot.errors import ConfigError, SpeakerbotError, Unreachable, UsageError
from speakerbot.schedules.reading import Schedules, read_schedules

T = TypeVar("T")
CHANGES = 2
"""Exit code: there is something left to do."""
_LOOKS, _LOOK_EVERY = 10, 3.0
"""How often, and how many seconds apart, a machine that Fly is changing is looked at."""
_IMAGE_CONFIG = "fly.cron.toml"


@dataclass(frozen=True, slots=True)
class CronOptions:
    """The options of every command about machines. ``timeout`` in seconds, of one request;
    ``env``: the environment, over what ``.env`` says."""

    schedules: Path
    app: str | None
    token: str | None
    timeout: float
    as_json: bool
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of plan and apply. ``detailed``: exit 2 if differences are left."""

    image: str | None
    by_digest: bool
    prune: bool
    refresh: bool
    allow_mass_change: bool
    detailed: bool


def seconds(option: str, text: str) -> float:
    """A duration given as an option."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def plan(options: CronOptions, planning: PlanOptions) -> int:
    """Shows the plan; raises ConfigError where apply would refuse it."""
    work = _CronCommand(options)
    noted = work.ask(lambda fly: work.plan(fly, planning))
    if options.as_json:
        _print_json(render.plan_document(noted.plan, noted.notes, work.target.app))
    else:
        render.show(render.plan_lines(noted.plan, noted.notes), render.console())
    if not planning.allow_mass_change:
        noted.plan.refuse_mass_destruction()
    return CHANGES if planning.detailed and (noted.plan.actions or noted.plan.left) else 0


def apply(options: CronOptions, planning: PlanOptions, wait_for_runs: str) -> int:
    """Ends with what was done, however it ends; with --json as one complete document."""
    command = _Apply(options, planning)
    try:
        code = command.run(seconds("--wait-for-runs", wait_for_runs))
    except _Stopped as stopped:
        return command.end(stopped.exit_code, f"stopped by {stopped.name}")
    except KeyboardInterrupt:  # before there was anything to wind up
        return command.end(_Stopped(signal.SIGINT).exit_code, "stopped by SIGINT")
    except SpeakerbotError as error:
        command.end(error.exit_code, str(error))
        raise
    except Exception as bug:
        command.end(SpeakerbotError.exit_code, repr(bug))
        raise
    return command.end(code)


class _Stopped(Exception):
    """The process was asked to end."""

    def __init__(self, number: signal.Signals) -> None:
        self.name, self.exit_code = number.name, 128 + number


class _Apply:
    """One ``cron apply``, and what can be said of it at any moment."""

    def __init__(self, options: CronOptions, planning: PlanOptions) -> None:
        self.options, self.planning = options, planning
        self.console = render.console(stderr=options.as_json)
        self.screen = render.ApplyScreen(self.console)
        self.stream = render.JsonStream(sys.stdout) if options.as_json else None
        self.report = ApplyReport(())

    def run(self, wait_for_runs: float) -> int:
        work = _CronCommand(self.options)
        return work.ask(lambda fly: _stoppable(self._work(work, fly, wait_for_runs)))

    async def _work(self, work: _CronCommand, fly: Fly, wait_for_runs: float) -> int:
        noted = await work.plan(fly, self.planning)
        self._begin(noted, work.target.app)
        self.report = ApplyReport(noted.plan.actions, self._show)
        if not self.planning.allow_mass_change:
            noted.plan.refuse_mass_destruction()
        self.screen.begin(self.report)
        await carry_out(fly, self.report, wait_for_runs=wait_for_runs)
        return _exit_code(self.report.results, noted.plan.left, detailed=self.planning.detailed)

    def _begin(self, noted: NotedPlan, app: str) -> None:
        with _whoever_reads():
            render.show(render.plan_lines(noted.plan, noted.notes), self.console)
        if self.stream:
            with _whoever_reads():
                self.stream.begin(render.plan_document(noted.plan, noted.notes, app))

    def _show(self, event: ApplyEvent) -> None:
        with _whoever_reads():
            self.screen.show(event)
        if self.stream:
            with _whoever_reads():
                self.stream.add(event)

    def end(self, exit_code: int, error: str | None = None) -> int:
        with _whoever_reads():
            self.screen.end()
        if self.stream:
            with _whoever_reads():
                self._complete(self.stream, exit_code, error)
        return exit_code

    def _complete(self, stream: render.JsonStream, exit_code: int, error: str | None) -> None:
        if not stream.begun:
            stream.begin(render.plan_document(EMPTY, (), self.options.app))
        results = render.result_documents(self.report.results)
        stream.end({"results": results, "error": error, "exit_code": exit_code})


@contextmanager
def _whoever_reads() -> Iterator[None]:
    """A reader who has gone (``| head``) does not end an apply half-way: the rest goes nowhere."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # rich makes the one of the other
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Ctrl-C and SIGTERM end the work in order, the first of them; raises _Stopped then."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    asked: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        asked.append(number)
        if len(asked) == 1:  # what is wound up now must not be cut off by the next one
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if asked:
            raise _Stopped(asked[0]) from None
        raise


def deploy(options: CronOptions) -> int:
    """Builds and pushes the image of the jobs, then makes the machines run exactly that."""
    _CronCommand(options)  # what is wrong with the schedules is said before minutes of building
    target = find_target(options.app, options.token, options.env)
    token = {"FLY_ACCESS_TOKEN": options.token} if options.token else {}
    image = _build_and_push(target, {**options.env, **token}, folder=Path())
    planning = PlanOptions(
        image, by_digest=True, prune=False, refresh=False, allow_mass_change=False, detailed=False
    )
    return apply(options, planning, wait_for_runs="10m")


LastLooks = Callable[[Iterable[str]], Mapping[str, datetime]]
"""From names of schedules to when a run of each last looked, as far as that is known."""


def status(options: CronOptions, last_looks: LastLooks) -> int:
    work = _CronCommand(options)
    timed = [schedule.name for schedule in work.schedules if schedule.timed and schedule.enabled]
    looks = last_looks(timed) if timed else {}
    rows, notes = work.ask(lambda fly: work.status(fly, looks))
    if options.as_json:
        _print_json(render.status_document(rows, notes, work.target.app))
    else:
        screen = render.console()
        render.status_table(rows, screen)
        render.show(render.status_lines(rows, notes), screen)
    return CHANGES if notes or any(row.problems for row in rows) else 0


def run(options: CronOptions, name: str, *, dry_run: bool) -> None:
    """Starts the first machine of a schedule that is at rest."""
    work = _CronCommand(options)
    schedule = work.schedules.get(name)
    occurrence = open_occurrence(schedule, datetime.now(UTC))
    if not schedule.enabled:
        text = f"{name} is disabled: the run will skip. `speakerbot run {schedule.job}` forces one"
    elif schedule.timed:
        text = f"{name}: the run looks what is due, and stays for what falls due"
    elif occurrence:
        text = f"{name}: {occurrence} is open: the run serves it, unless another run has"
    else:
        text = (
            f"{name}: no occurrence is open: the run will skip. `speakerbot run {schedule.job}`, "
            "without a schedule, forces one"
        )
    screen = render.console()
    render.show([(text, "")], screen)
    if dry_run:
        return
    machine = work.ask(lambda fly: _start(fly, schedule.machine_names))
    render.show([(f"started {machine.name}: {_logs_command(work.target, machine)}", "")], screen)


def logs(options: CronOptions, name: str) -> None:
    work = _CronCommand(options)
    names = work.schedules.get(name).machine_names
    machines = work.ask(lambda fly: _ours(fly, names))
    for machine in machines:
        render.show([(_logs_command(work.target, machine), "")], render.console())


def export(schedules: Path, kind: str, image: str, app: str, output: Path | None) -> None:
    write = exporter(kind)
    read = read_schedules(schedules, JOBS)
    _warn(read)
    files = write(read.schedules, image, app)
    for name, text in files.items():
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, "utf-8")
            render.show([(f"wrote {output / name}", "")], render.console(stderr=True))
        else:
            head = f"# ---- {name}\n" if len(files) > 1 else ""
            sys.stdout.write(head + text)


@dataclass(frozen=True, slots=True)
class NotedPlan:
    """A plan, and everything a person should know about it."""

    plan: MachinePlan
    notes: tuple[PlanNote, ...]


class _CronCommand:
    """One command: its schedules, its app, its machines."""

    def __init__(self, options: CronOptions) -> None:
        if not structlog.is_configured():
            our_logs.configure()
        self.env = options.env
        self.schedules = read_schedules(options.schedules, JOBS)
        _warn(self.schedules)
        self.target: FlyTarget = find_target(options.app, options.token, options.env)
        self.wanted: list[WantedMachine] = list(wanted_machines(self.schedules, self.target.env))
        self.timeout = options.timeout

    def ask(self, question: Callable[[Fly], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with connect(self.target, self.timeout, tell=_say_retry) as fly:
                return await question(fly)

        return asyncio.run(connected())

    async def plan(self, fly: Fly, planning: PlanOptions) -> NotedPlan:
        image = planning.image
        if image and planning.by_digest:
            image = await by_digest(image, self.target, self.timeout)
        machines = await fly.machines()
        plan = make_plan(
            self.wanted, machines, image=image, prune=planning.prune, refresh=planning.refresh
        )
        more = (
            *served_at_once(plan, datetime.now(UTC)),
            *lost_databases(self.wanted, machines),
            *short_windows(self.wanted, JOBS, self.env),
        )
        return NotedPlan(plan, (*plan.notes, *more))

    async def status(
        self, fly: Fly, looks: Mapping[str, datetime]
    ) -> tuple[list[MachineStatus], list[PlanNote]]:
        machines = await fly.machines()
        named = {machine.name: machine for machine in machines if machine.state not in GONE}
        for want in self.wanted:
            machine = named.get(want.name)
            if machine and machine.owned and machine.reachable and not has_start(machine):
                named[want.name] = machine.with_events(await fly.events(machine.id))
        rows = judge(self.wanted, named, datetime.now(UTC), looks)
        names = {want.name for want in self.wanted}
        plan = make_plan(self.wanted, machines, image="any")
        return rows, [note for note in plan.notes if note.name not in names]


async def _ours(fly: Fly, names: tuple[str, ...]) -> list[Machine]:
    named = [machine for machine in await fly.machines() if machine.name in names]
    found = [machine for machine in named if machine.owned or not machine.reachable]
    if not found:
        raise ConfigError(f"there is no machine {names[0]} yet: `cron apply` creates it")
    return found


async def _start(fly: Fly, names: tuple[str, ...]) -> Machine:
    """Starts one that is at rest; one that Fly is changing is waited for."""
    for _ in range(_LOOKS):
        machines = await _ours(fly, names)
        for machine in machines:
            if machine.at_rest and machine.reachable:
                try:
                    await fly.start(machine.id)
                except Conflict:
                    continue  # it has started meanwhile, or is being changed
                return machine
        if not any(machine.changing and machine.reachable for machine in machines):
            break
        await fly.transport.rate_limit.sleep(_LOOK_EVERY)
    error = ConfigError if all(machine.running for machine in machines) else Unreachable
    raise error(f"nothing was started: {'; '.join(map(_why_not, machines))}")


def _why_not(machine: Machine) -> str:
    """Why a machine cannot be started."""
    if not machine.reachable:
        return f"{machine.name}: its host is {machine.host_status}"
    if machine.running:
        return f"{machine.name} is running already: `cron logs` says how to watch it"
    return f"{machine.name} is {machine.state}: Fly is changing it, try again in a minute"


def _logs_command(target: FlyTarget, machine: Machine) -> str:
    return f"fly logs --app {target.app} --machine {machine.id}"


def _exit_code(results: Sequence[ActionResult], left: int, *, detailed: bool) -> int:
    failed = next((result for result in results if result.outcome == "failed"), None)
    if failed is not None:
        return failed.error.exit_code if failed.error else Unreachable.exit_code
    unfinished = left or any(result.outcome != "done" for result in results)
    return CHANGES if detailed and unfinished else 0


def _say_retry(text: str) -> None:
    render.show([(f"… {text}", "dim")], render.console(stderr=True))


def _warn(schedules: Schedules) -> None:
    lines = [(f"warning: {warning}", "yellow") for warning in schedules.warnings]
    render.show(lines, render.console(stderr=True))


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _build_and_push(target: FlyTarget, env: Mapping[str, str], folder: Path) -> str:
    """The image of the jobs, with a tag that no earlier one has.

    `fly` gets the process's environment and what ``env`` says about Fly; what it prints goes to
    stderr, since stdout is for results. Raises ConfigError where something is missing here, and
    Unreachable where `fly` failed: it has said why.
    """
    if not (folder / _IMAGE_CONFIG).is_file():
        raise ConfigError(f"there is no {_IMAGE_CONFIG} here: run this in a clone of speakerbot")
    path = env.get("PATH")
    fly = shutil.which("fly", path=path) or shutil.which("flyctl", path=path)
    if fly is None:
        raise ConfigError(
            "`fly` is not installed, and the image is built with it: install it as "
            "https://fly.io/docs/flyctl/install/ says, then run this again. To use an image built "
            "elsewhere: speakerbot cron apply --image REF"
        )
    label = _label(folder)
    words = ["deploy", "-c", _IMAGE_CONFIG, "--app", target.app]
    words += ["--build-only", "--push", "--image-label", label]
    code = subprocess.run(  # noqa: S603 - our own words
        [fly, *words],
        cwd=folder,
        env={**os.environ, **{name: env[name] for name in env if name.startswith("FLY_")}},
        stdout=sys.stderr,
        check=False,
    ).returncode
    if code:
        raise Unreachable(
            f"`fly {' '.join(words)}` ended with {code}: no machine was touched. Run this again"
        )
    return f"{target.registry}/{target.app}:{label}"


def _label(folder: Path) -> str:
    """When it was built and, in a clone, from which commit."""
    now = f"{datetime.now(UTC):%Y%m%dt%H%M%S}"
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - the one on the PATH
            cwd=folder, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return now
    return f"{now}-{commit}"
