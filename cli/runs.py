"""``speakerbot runs``: what ran, when, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.open_store import to_read
from cli.options import AsJson
from cli.output import emit_json, on_terminal, say, table
from cli.terminal import narrow, show
from speakerbot.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.domain.run import Run
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("list", epilog="Example: speakerbot runs list --job reminders")
def list_runs(
    job: Annotated[str | None, typer.Option(help="Only this job's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first; and of schedules that only look, when they last did."""
    with to_read() as (store, settings):
        runs = store.runs.list(job=job, limit=limit)
        timed = [each for each in _timed_schedules(store, settings) if job in (None, each.job)]
        if as_json:
            looks = [each._asdict() for each in timed]
            emit_json({"runs": [run_document(run) for run in runs], "timed": looks})
            return
        columns = ["run", "job", "started", "took", "outcome", "messages", "error"]
        if narrow():
            columns = ["run", "job", "outcome", "messages"]
        elif on_terminal():
            columns.remove("error")
        table(
            columns,
            ([_cells(run)[name] for name in columns] for run in runs),
            empty=f"No runs in {store.describe()}.",
            whole=("run", "job", "started", "took", "outcome"),
        )
        for each in timed:
            if on_terminal() or each.late:
                _tell(each)


class TimedSchedule(NamedTuple):
    """A schedule of a timed job, as it stands. ``late``: its last look was too long ago."""

    schedule: str
    job: str
    last_look: datetime | None
    late: bool


def _timed_schedules(store: Store, settings: Settings) -> list[TimedSchedule]:
    """Those of schedules.json that are enabled; none where that cannot be read."""
    from jobs import JOBS
    from speakerbot.clock import Clock
    from speakerbot.runs.timed_jobs import is_late, last_look
    from speakerbot.schedules.reading import read_schedules

    try:
        schedules = read_schedules(settings.schedules, JOBS)
    except ConfigError:
        return []  # whoever asks what ran may have no schedules
    now = Clock().real()
    found = []
    for each in schedules:
        if each.timed and each.enabled and settings.runs(each.job):
            at = last_look(store, each.name)
            found.append(TimedSchedule(each.name, each.job, at, is_late(at, each.tick, now)))
    return found


def _tell(timed: TimedSchedule) -> None:
    """On stderr: rows in a pipe stay rows."""
    at = f"last looked {timed.last_look:%Y-%m-%d %H:%M} UTC" if timed.last_look else "never looked"
    late = ": late, is its scheduler running?" if timed.late else ""
    typer.secho(f"schedule {timed.schedule} ({timed.job}) {at}{late}", err=True)


def _cells(run: Run) -> dict[str, object]:
    said = (f"{number:,} {name}" for name, number in _numbers(run.counts) if name != "planned")
    return {
        "run": run.id,
        "job": run.job,
        "started": run.started_at,
        "took": _took(run),
        "outcome": run.outcome,
        "messages": ", ".join(said) or "none",
        "error": run.error,
    }


def _took(run: Run) -> str:
    if run.finished_at is None:
        return ""
    return f"{(run.finished_at - run.started_at).total_seconds():,.1f} s"


def _numbers(counts: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What was counted and is not zero, with its reason or class."""
    for name, value in counts.items():
        word = name.replace("_", " ")
        if isinstance(value, Mapping):
            yield from ((f"{word} ({why.replace('_', ' ')})", value[why]) for why in value)
        elif value:
            yield word, value


@app.command("show", epilog="Example: speakerbot runs show 20261120T160500-1a2b3c4d")
def show_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id.")], as_json: AsJson = False
) -> None:
    """Show a run and its counts."""
    with to_read() as (store, _):
        found = store.runs.get(run)
        if found is None:
            raise NotFound(f"there is no run {run!r}; `speakerbot runs list` shows the newest")
        document = run_document(found)
        if as_json:
            emit_json(document)
            return
        del document["counts"]
        show(document.items())
        say("")
        table(("messages", "number"), _numbers(found.counts), empty="It handled no messages.")


def run_document(run: Run) -> dict[str, Any]:
    """A run as JSON shows it. ``now`` is the time it decided by."""
    return {
        "run_id": run.id,
        "job": run.job,
        "outcome": run.outcome,
        "now": run.now,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "schedule": run.schedule,
        "occurrence": run.occurrence,
        "error": run.error or None,
        "counts": dict(run.counts),
    }
