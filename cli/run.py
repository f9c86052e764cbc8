"""``speakerbot run <job>``: what the scheduler starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.options import AsJson, DryRun, Now, parse_length, parse_some_time
from cli.running import Options, start

JOBS = {
    "reminders": "Remind speakers of their talks.",
    "changes": "Tell speakers that their talk was booked, moved or cancelled.",
    "weekly": "Post the coming week's talks; keep the post true.",
    "engagement": "Ask for speakers when no talk is coming.",
    "digest": "Tell the organisers what was sent and what is coming.",
}
"""Every job of ``jobs``, with its help."""

Limit = Annotated[
    int | None, typer.Option("--limit", min=0, metavar="N", help="Send at most N messages.")
]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="USER", help="Only this person: a Discord user id, or ours."),
]
_SCHEDULED = "Under a scheduler"
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Run only if an occurrence of this schedule is due (schedules.json, or --cron).",
        rich_help_panel=_SCHEDULED,
    ),
]
Cron = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="EXPR",
        help="The schedule itself: five fields, or @hourly, @daily …",
        rich_help_panel=_SCHEDULED,
    ),
]
Timezone = Annotated[
    str,
    typer.Option("--timezone", metavar="TZ", help="Of --cron.", rich_help_panel=_SCHEDULED),
]


def _length(name: str, about: str) -> Any:
    return typer.Option(
        name, parser=parse_length, metavar="D", help=about, rich_help_panel=_SCHEDULED
    )


Grace = Annotated[timedelta, _length("--grace", "How late an occurrence may still run.")]
Wait = Annotated[timedelta, _length("--wait", "Sleep up to this long for an occurrence to come.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        parser=parse_some_time,
        metavar="D",
        help="End the run in order after this long. Default: the schedule's, else 10m.",
        rich_help_panel=_SCHEDULED,
    ),
]
Share = Annotated[
    bool,
    typer.Option(
        "--share", help="Several runs may share an occurrence.", rich_help_panel=_SCHEDULED
    ),
]


EditOnly = Annotated[
    bool,
    typer.Option(
        "--edit-only",
        help="Keep this week's post true, post nothing new (SPEAKERBOT_WEEKLY_MODE=edit).",
    ),
]
OWN = {"edit_only": "weekly"}
"""Options that only one job has."""


class JobGroup(TyperGroup):
    """Builds the command of the job that is called, and no other: most runs find nothing due, and
    must cost next to nothing."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # click's signature
        return [*JOBS, "due"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # click's signature
        return _made(cmd_name) if cmd_name in self.list_commands(ctx) else None


def _made(name: str) -> Any:
    one = typer.Typer(add_completion=False)
    if name == "due":
        one.command(name="due", epilog="Example: */10 * * * * speakerbot run due")(due)
    else:
        one.command(name=name, epilog=_example(name))(_command(name))
    made = typer.main.get_command(one)
    made.params = [p for p in made.params if OWN.get(p.name or "", name) == name]
    return made


def read_options(job: str, args: Sequence[str]) -> dict[str, Any]:
    """The options that ``run JOB`` would be called with. Raises what the command line raises."""
    values: dict[str, Any] = _made(job).make_context(job, list(args)).params
    return values


app = typer.Typer(cls=JobGroup, no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """A group, although its commands are made when they are called."""


def _command(job: str) -> Callable[..., None]:
    def command(
        dry_run: DryRun = False,
        now: Now = None,
        limit: Limit = None,
        only: Only = None,
        as_json: AsJson = False,
        schedule: Schedule = None,
        cron: Cron = None,
        timezone: Timezone = "UTC",
        grace: Grace = timedelta(hours=6),
        wait: Wait = timedelta(0),
        timeout: Timeout = None,
        share: Share = False,
        edit_only: EditOnly = False,
    ) -> None:
        start(
            Options(
                job=job,
                dry_run=dry_run,
                now=now,
                limit=limit,
                only=only,
                as_json=as_json,
                schedule=schedule,
                cron=cron,
                timezone=timezone,
                grace=grace,
                wait=wait,
                timeout=timeout,
                share=share,
                edit_only=edit_only,
            )
        )

    command.__doc__ = JOBS[job]
    return command


def _example(job: str) -> str:
    return f"Example: speakerbot run {job} --dry-run --now 2026-11-20T16:05:00Z"


def due(dry_run: DryRun = False, now: Now = None, as_json: AsJson = False) -> None:
    """Run every schedule of schedules.json that is due, in its order: for one-machine set-ups."""
    from cli.running_due import start_due

    start_due(dry_run=dry_run, now=now, as_json=as_json)
