"""``speakerbot runs``: what ran, when, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.open_store import to_read
from cli.options import AsJson
from cli.output import emit_json, on_terminal, say, table
from cli.terminal import narrow, show
from speakerbot.errors import NotFound

if TYPE_CHECKING:
    from speakerbot.domain.run import Run

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("list", epilog="Example: speakerbot runs list --job reminders")
def list_runs(
    job: Annotated[str | None, typer.Option(help="Only this job's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    with to_read() as (store, _):
        runs = store.runs.list(job=job, limit=limit)
        if as_json:
            emit_json({"runs": [run_document(run) for run in runs]})
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
