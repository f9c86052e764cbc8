"""``speakerbot run <job>``: what the scheduler starts."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from cli.options import Parsed, parse_length, parse_now, parse_some_time
from jobs import JOBS
from speakerbot.domain.job_registry import AS_JSON, DRY_RUN, JobDeclaration, JobOption

_SCHEDULED = "Under a scheduler"
EXAMPLE = "Example: speakerbot run {} --dry-run --now 2026-11-20T16:05:00Z"


class JobGroup(TyperGroup):
    """Builds the command of the job that is called, and no other: most runs find nothing due, and
    must cost next to nothing."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # click's signature
        return [*JOBS.names, "due"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # click's signature
        if cmd_name == "due":
            return _due_command()
        return _command(JOBS[cmd_name])  # of one that does not exist it says which are meant


app = typer.Typer(cls=JobGroup, no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """A group, although its commands are made when they are called."""


def _command(job: JobDeclaration) -> TyperCommand:
    def run(**given: Any) -> None:
        _run(job, given)

    return TyperCommand(
        job.name,
        callback=run,
        params=[
            *(_declared(option) for option in job.options),
            _now(),
            *(_of_timed_job() if job.timed else _of_occurrences()),
            _scheduled("timeout", "D", "End the run in order after this long. Default: the "
                       "schedule's, else 10m.", parse_some_time),
        ],
        help=job.help,
        epilog=EXAMPLE.format(job.name),
        rich_markup_mode=None,
    )  # fmt: skip


def _of_occurrences() -> list[TyperOption]:
    return [
        _scheduled("schedule", "NAME", "Run only if an occurrence of this schedule is due "
                   "(schedules.json, or --cron)."),
        _scheduled("cron", "EXPR", "The schedule itself: five fields, or @hourly, @daily …"),
        _scheduled("timezone", "TZ", "Of --cron.", default="UTC"),
        _scheduled("grace", "D", "How late an occurrence may still run.", parse_length,
                   default=timedelta(hours=6)),
        _scheduled("wait", "D", "Sleep up to this long for an occurrence to come.",
                   parse_length, default=timedelta(0)),
        _share("Several runs may share an occurrence."),
    ]  # fmt: skip


def _of_timed_job() -> list[TyperOption]:
    none = "Has no effect: this job has no occurrences."
    return [
        _scheduled("schedule", "NAME", "The schedule whose run this is. It looks at every tick."),
        _scheduled("cron", "EXPR", "When that ticks; it is not read."),
        _scheduled("timezone", "TZ", "Of --cron.", default="UTC"),
        _scheduled("grace", "D", none, parse_length),
        _scheduled("wait", "D", none, parse_length),
        _share(none),
    ]


def _share(about: str) -> TyperOption:
    return TyperOption(
        param_decls=["--share"],
        is_flag=True,
        default=False,
        help=about,
        rich_help_panel=_SCHEDULED,
    )


def _due_command() -> TyperCommand:
    return TyperCommand(
        "due",
        callback=due,
        params=[_declared(DRY_RUN), _now(), _declared(AS_JSON)],
        help=due.__doc__,
        epilog="Example: */10 * * * * speakerbot run due",
        rich_markup_mode=None,
    )


def _declared(option: JobOption) -> TyperOption:
    """A job's own option, read by the code that reads a schedule's."""
    if option.read is None:
        return TyperOption(
            param_decls=[option.name, option.field], is_flag=True, default=False, help=option.help
        )
    return TyperOption(
        param_decls=[option.name, option.field],
        type=Parsed(option.read),
        metavar=option.metavar,
        help=option.help,
    )


def _now() -> TyperOption:
    return TyperOption(
        param_decls=["--now"],
        type=Parsed(parse_now),
        metavar="ISO",
        help="Decide as if it were this time (UTC unless it names an offset).",
    )


def _scheduled(
    name: str, metavar: str, about: str, parse: Any = str, default: Any = None
) -> TyperOption:
    return TyperOption(
        param_decls=[f"--{name}"],
        type=Parsed(parse),
        metavar=metavar,
        default=default,
        help=about,
        rich_help_panel=_SCHEDULED,
    )


def _run(job: JobDeclaration, given: dict[str, Any]) -> None:
    from cli.run_output import run_observers, stdout
    from speakerbot.bootstrap import settings_for_run
    from speakerbot.domain.job_registry import RunOptions
    from speakerbot.process import STALLED
    from speakerbot.runs.service import TIMEOUT, RunRequest, RunService, Scheduling

    if job.timed:
        _drop_about_occurrences(job, given)
    now, timeout = given.pop("now"), given.pop("timeout")
    options = RunOptions(**{option.field: given.pop(option.field) for option in job.options})
    request = RunRequest(job.name, options, Scheduling(**given), now, timeout)
    in_file = request.scheduling.schedule if request.scheduling.cron is None else None
    settings = settings_for_run(JOBS, job.name, schedule=in_file, dry_run=options.dry_run)
    with stdout() as output:
        output.patience = None if options.dry_run else TIMEOUT.total_seconds()
        observers = run_observers(output, as_json=options.as_json)
        end = RunService(settings, JOBS).run(request, observers)
        if not options.dry_run:
            output.patience = max(end.seconds_left, STALLED)


def _drop_about_occurrences(job: JobDeclaration, given: dict[str, Any]) -> None:
    """A scheduler that gives a timed job what it gives to all must not fail for that."""
    dropped = {name: given.pop(name) for name in ("grace", "wait", "share")}
    without_effect = [f"--{name}" for name, value in dropped.items() if value not in (None, False)]
    if without_effect:
        from speakerbot.logs import get_logger

        get_logger().warning(
            "options_without_effect",
            options=", ".join(without_effect),
            hint=f"{job.name} has no occurrences, it looks whenever it runs: leave them out",
        )


def due(dry_run: bool, now: Any, as_json: bool) -> None:
    """Run every schedule of schedules.json that is due, in its order: for one-machine set-ups."""
    from cli.run_output import document_of_runs, run_observers, stdout
    from speakerbot.bootstrap import settings_for_run
    from speakerbot.runs.service import TIMEOUT, RunService
    from speakerbot.schedules.reading import read_schedules

    settings = settings_for_run(JOBS, None, dry_run=dry_run)
    schedules = read_schedules(settings.schedules, JOBS)
    service = RunService(settings, JOBS)
    with stdout() as output:
        output.patience = None if dry_run else TIMEOUT.total_seconds()
        if as_json:
            with document_of_runs(output) as observer:
                exit_code = service.run_due(
                    schedules, dry_run=dry_run, now=now, observers=lambda: (observer,)
                )
        else:
            exit_code = service.run_due(
                schedules,
                dry_run=dry_run,
                now=now,
                observers=lambda: run_observers(output, as_json=False, quiet=True),
            )
    if exit_code:
        sys.exit(exit_code)
