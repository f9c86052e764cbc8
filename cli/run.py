"""``speakerbot run <job>``: what the scheduler starts."""

from __future__ import annotations

import importlib
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import AsJson, DryRun, Now
from speakerbot import logs
from speakerbot.clock import Clock

if TYPE_CHECKING:
    from speakerbot.ports import Store

app = typer.Typer(no_args_is_help=True)

Limit = Annotated[
    int | None, typer.Option("--limit", min=0, metavar="N", help="Send at most N messages.")
]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="USER", help="Only this person: a Discord user id, or ours."),
]

JOBS = {"reminders": "Remind speakers of their talks."}


def _command(job: str, about: str) -> None:
    def command(
        dry_run: DryRun = False,
        now: Now = None,
        limit: Limit = None,
        only: Only = None,
        as_json: AsJson = False,
    ) -> None:
        start(job, dry_run=dry_run, now=now, limit=limit, only=only, as_json=as_json)

    command.__doc__ = about
    example = f"Example: speakerbot run {job} --dry-run --now 2026-11-20T16:05:00Z"
    app.command(name=job, epilog=example)(command)


for _job, _about in JOBS.items():
    _command(_job, _about)


@app.callback()
def _group() -> None:
    """Keeps ``run`` a group while it has one job only."""


def start(
    job: str,
    *,
    dry_run: bool,
    now: datetime | None,
    limit: int | None,
    only: str | None,
    as_json: bool,
) -> None:
    """Opens what a run needs and runs it. Raises a SpeakerbotError that ends the process."""
    from cli.sinks import sink
    from speakerbot import bootstrap
    from speakerbot.config import load
    from speakerbot.runner import Order, Runner

    settings = load()
    connect = None if dry_run else bootstrap.discord(settings)
    store = bootstrap.store(settings, read_only=dry_run)
    log = logs.get_logger()
    log.info("store_opened", store=store.describe())
    try:
        Runner(
            job=importlib.import_module(f"jobs.{job}").JOB,
            order=Order(dry_run, limit, _user(store, only)),
            store=store,
            settings=settings,
            templates=bootstrap.templates(settings),
            connect=connect,
            sink=sink(as_json=as_json),
            log=log,
            clock=Clock.at(now),
        ).run()
    finally:
        store.close()


def _user(store: Store, only: str | None) -> str | None:
    """The Discord id of ``--only``'s person."""
    if only is None or only.isdigit():
        return only
    person = store.people.get(only)
    return (person.discord_user_id if person else None) or only
