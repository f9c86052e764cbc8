"""From a ``run`` command's options to a run: opens what it needs, closes it whatever happens."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

from speakerbot import logs
from speakerbot.clock import Clock
from speakerbot.runs import bound

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.delivery.session import Connect
    from speakerbot.gated import Gating
    from speakerbot.outcomes import Sink
    from speakerbot.ports import Store
    from speakerbot.runner import Runner
    from speakerbot.runs import Run
    from speakerbot.tally import Waits


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
    timeout: timedelta = timedelta(minutes=10)
    share: bool = False
    edit_only: bool = False


def start(run: Options, sink: Sink | None = None) -> None:
    """Runs the job if it is its turn. Raises a SpeakerbotError that ends the process.

    Jobs and all they need are imported only then: most ticks find that nothing is due.
    """
    from speakerbot import bootstrap
    from speakerbot.config import load
    from speakerbot.runs import new_run

    settings = load()
    gating = _gating(run, settings)
    connect = None if run.dry_run else bootstrap.discord(settings)
    clock = Clock.at(run.now)
    record = new_run(run.job, clock)
    if not settings.runs(run.job) or (gating and not gating.enabled):
        _skip(record, "disabled", run, sink)
        return
    store = bootstrap.store(settings, read_only=run.dry_run)
    log = logs.get_logger()
    log.info("store_opened", store=store.describe())

    def work(record: Run) -> Waits | None:
        return _runner(run, record, settings, store, connect, clock, sink).run()

    try:
        if gating is None:
            work(record)
            return
        from speakerbot.gated import Turnstile

        turnstile = Turnstile(gating, store, clock, run.dry_run, bound(log, record))
        if reason := turnstile.serve(record, work):
            _skip(record, reason, run, sink)
    finally:
        store.close()


def _runner(
    run: Options,
    record: Run,
    settings: Settings,
    store: Store,
    connect: Connect | None,
    clock: Clock,
    sink: Sink | None,
) -> Runner:
    from cli.sinks import sink as chosen_sink
    from speakerbot import bootstrap
    from speakerbot.runner import Order, Runner

    return Runner(
        job=importlib.import_module(f"jobs.{run.job}").JOB,
        order=Order(run.dry_run, run.limit, _user(store, run.only), run.edit_only, run.timeout),
        store=store,
        settings=settings,
        templates=bootstrap.templates(settings),
        connect=connect,
        sink=sink or chosen_sink(as_json=run.as_json),
        log=logs.get_logger(),
        clock=clock,
        record=record,
    )


def _skip(record: Run, reason: str, run: Options, sink: Sink | None) -> None:
    """Says loudly that nothing was done, and why: it must never look like a success."""
    from cli.sinks import sink as chosen_sink
    from speakerbot.outcomes import Counts, Header, Summary

    level = "info" if reason in ("not_due", "already_done", "already_running") else "warning"
    getattr(bound(logs.get_logger(), record), level)("run_skipped", reason=reason)
    shown = sink or chosen_sink(as_json=run.as_json)
    shown.begin(Header(record.job, record.id, run.dry_run, record.now, record.occurrence))
    shown.end(Summary(Counts(), 0, reason))


def _gating(run: Options, settings: Settings) -> Gating | None:
    """The schedule the run belongs to. ``--cron`` needs no file: NAME then only names it."""
    if run.cron is None and run.schedule is None:
        return None
    from speakerbot.clock import read_zone
    from speakerbot.gate import Gate
    from speakerbot.gated import Gating
    from speakerbot.occurrences import Cron

    if run.cron is None:
        from speakerbot.schedules import read_schedules

        schedule = read_schedules(settings.schedules).get(run.schedule or "")
        if schedule.job != run.job:
            raise typer.BadParameter(
                f"schedule {schedule.name!r} runs {schedule.job}, not {run.job}",
                param_hint="--schedule",
            )
        return Gating(schedule.name, schedule.gate, schedule.timeout, schedule.enabled)
    try:
        cron = Cron(run.cron, read_zone(run.timezone))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--cron, --timezone") from error
    gate = Gate(cron, grace=run.grace, wait=run.wait, share=run.share)
    return Gating(run.schedule or run.job, gate, run.timeout)


def _user(store: Store, only: str | None) -> str | None:
    """The Discord id of ``--only``'s person."""
    if only is None or only.isdigit():
        return only
    person = store.people.get(only)
    return (person.discord_user_id if person else None) or only
