"""From a ``run`` command's options to a run: opens what it needs, closes it whatever happens."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

from speakerbot import logs
from speakerbot.clock import Clock
from speakerbot.domain.run import named

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.delivery.session import Connect
    from speakerbot.domain.run import Run
    from speakerbot.ports.store import Store
    from speakerbot.runs.occurrence_lock import Gating
    from speakerbot.runs.report import Sink, Waits
    from speakerbot.runs.runner import Order, Runner

TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one ``run`` command."""

    job: str
    dry_run: bool = False
    now: datetime | None = None
    limit: int | None = None
    only: str | None = None
    as_json: bool = False
    schedule: str | None = None
    cron: str | None = None
    timezone: str = "UTC"
    grace: timedelta = timedelta(hours=6)
    wait: timedelta = timedelta(0)
    timeout: timedelta | None = None
    """None: the schedule's, else ``TIMEOUT``."""
    share: bool = False
    edit_only: bool = False
    may_sleep: bool = True
    """False: a schedule's ``wait`` would keep others waiting."""


def start(run: Options, sink: Sink | None = None) -> str:
    """Runs the job if it is its turn. Returns why it ended early (sigterm, timeout, …), if it did.
    Raises a SpeakerbotError that ends the process.

    Jobs and all they need are imported only then: most ticks find that nothing is due.
    """
    from speakerbot import bootstrap
    from speakerbot.config import load
    from speakerbot.domain.run import new_run

    settings = load()
    gating, clock = _gating(run, settings), Clock.at(run.now)
    record = new_run(run.job, clock)
    logs.about(**named(record))
    if not settings.runs(run.job) or (gating and not gating.enabled):
        _skip(_at_occurrence(record, gating), "disabled", run, sink)
        return ""
    connect = None if run.dry_run else bootstrap.discord(settings)
    _warn(settings)
    store = bootstrap.store(settings, read_only=run.dry_run)
    logs.get_logger().info("store_opened", store=store.describe())
    timeout = gating.timeout if gating else run.timeout or TIMEOUT
    work = _Work(run, timeout, settings, store, connect, clock, sink)
    try:
        if gating is None:
            work(record)
            return work.stopped
        from speakerbot.runs.occurrence_lock import Turnstile

        turnstile = Turnstile(gating, store, clock, run.dry_run, logs.get_logger())
        if skipped := turnstile.serve(record, work):
            record = replace(record, schedule=gating.schedule, occurrence=skipped.occurrence)
            _skip(record, skipped.reason, run, sink)
        return work.stopped
    finally:
        store.close()


@dataclass(slots=True)
class _Work:
    """What is done once it is the run's turn."""

    run: Options
    timeout: timedelta
    settings: Settings
    store: Store
    connect: Connect | None
    clock: Clock
    sink: Sink | None
    stopped: str = ""

    def __call__(self, record: Run) -> Waits | None:
        from speakerbot.runs.runner import Order

        run = self.run
        logs.about(**named(record))
        only = None if run.only is None else _user(self.store, run.only)
        runner = self._runner(
            record, Order(run.dry_run, run.limit, only, run.edit_only, self.timeout)
        )
        waits = runner.run()
        self.stopped = runner.stopped
        return waits

    def _runner(self, record: Run, order: Order) -> Runner:
        from cli.sinks import sink as chosen_sink
        from speakerbot import bootstrap
        from speakerbot.runs.runner import Runner

        return Runner(
            job=importlib.import_module(f"jobs.{self.run.job}").JOB,
            order=order,
            store=self.store,
            settings=self.settings,
            templates=bootstrap.templates(self.settings),
            connect=self.connect,
            sink=self.sink or chosen_sink(as_json=self.run.as_json),
            log=logs.get_logger(),
            clock=self.clock,
            record=record,
        )


def _warn(settings: Settings) -> None:
    from speakerbot.config import SHORT_LEASE
    from speakerbot.durations import format_duration

    if settings.lease < SHORT_LEASE:
        logs.get_logger().warning(
            "lease_short",
            lease=format_duration(settings.lease),
            advised=format_duration(SHORT_LEASE),
            hint="SPEAKERBOT_LEASE does not cover the longest send with its retries",
        )


def _at_occurrence(record: Run, gating: Gating | None) -> Run:
    """The run as one of its schedule, before the store is asked about the occurrence."""
    if gating is None:
        return record
    occurrence = gating.gate.occurrence(record.now)
    return replace(record, schedule=gating.schedule, occurrence=occurrence)


def _skip(record: Run, reason: str, run: Options, sink: Sink | None) -> None:
    """Says loudly that nothing was done, and why: it must never look like a success."""
    from cli.sinks import sink as chosen_sink
    from speakerbot.runs.report import Counts, Header, Summary

    level = "info" if reason in ("not_due", "already_done", "already_running") else "warning"
    logs.about(**named(record))
    getattr(logs.get_logger(), level)("run_skipped", reason=reason)
    shown = sink or chosen_sink(as_json=run.as_json)
    shown.begin(Header(record.job, record.id, run.dry_run, record.now, record.occurrence))
    shown.end(Summary(Counts(), 0, reason))


def _gating(run: Options, settings: Settings) -> Gating | None:
    """The schedule the run belongs to. ``--cron`` needs no file: NAME then only names it."""
    if run.cron is None and run.schedule is None:
        return None
    from speakerbot.clock import read_zone
    from speakerbot.domain.cron import Cron
    from speakerbot.domain.occurrence import Gate
    from speakerbot.runs.occurrence_lock import Gating

    if run.cron is None:
        from speakerbot.schedules import read_schedules

        schedule = read_schedules(settings.schedules).get(run.schedule or "")
        if schedule.job != run.job:
            raise typer.BadParameter(
                f"schedule {schedule.name!r} runs {schedule.job}, not {run.job}",
                param_hint="--schedule",
            )
        gate = schedule.gate if run.may_sleep else replace(schedule.gate, wait=timedelta())
        timeout = run.timeout or schedule.timeout
        return Gating(schedule.name, gate, timeout, schedule.enabled)
    try:
        cron = Cron(run.cron, read_zone(run.timezone))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--cron, --timezone") from error
    gate = Gate(cron, grace=run.grace, wait=run.wait, share=run.share)
    return Gating(run.schedule or run.job, gate, run.timeout or TIMEOUT)


def _user(store: Store, only: str) -> str:
    """The Discord id of ``--only``'s person; a Discord id is one even if we do not know them."""
    person = store.people.get(only)
    if person is None and not only.isdigit():
        raise typer.BadParameter(
            f"{only!r} is nobody we know; give a Discord user id, or an id of `speakerbot people "
            "list`",
            param_hint="--only",
        )
    return (person.discord_user_id if person else None) or only
