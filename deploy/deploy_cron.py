"""``speakerbot cron …``, and ``python deploy/deploy_cron.py …``: Fly Machines from schedules.json.

Only typer is imported here: everything else is imported by the command that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from deploy.commands import CronOptions

app = typer.Typer(
    name="cron",
    help="Makes Fly Machines equal to schedules.json, and shows what they do.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone would double its cost
)

Schedules = Annotated[
    Optional[Path],  # noqa: UP045 - typer evaluates it
    typer.Option(
        metavar="FILE",
        help="Which schedules.json to use. Default: SPEAKERBOT_SCHEDULES, else "
        "deploy/schedules.json.",
    ),
]
App = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--app", "-a", help="Fly app. Default: FLY_APP, else `app` in fly.toml."),
]
Image = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Image to run, best by digest. Default: each machine keeps its own, and a new one "
        "gets that of the others, or of the app."
    ),
]
ByDigest = Annotated[
    bool,
    typer.Option(
        "--by-digest", help="Ask Fly's registry for the digest of --image, and run exactly that."
    ),
]
Token = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Fly token. Default: FLY_ACCESS_TOKEN, FLY_API_TOKEN, or what `fly auth login` kept."
    ),
]
Timeout = Annotated[str, typer.Option(help="How long Fly may take for one answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Also destroy our machines that no schedule wants.")
]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh", help="Also update machines that do not differ: after `fly secrets set`."
    ),
]
Detailed = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit 2 if differences are left.")
]
MassChange = Annotated[
    bool, typer.Option("--allow-mass-change", help="Let --prune destroy more than 30 % of them.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule's name.")]


@app.callback(invoke_without_command=True)
def help_without_arguments(context: typer.Context) -> None:
    # Not no_args_is_help: below a command with rich help, typer would print nothing.
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def plan(
    schedules: Schedules = None,
    app_name: App = None,
    image: Image = None,
    by_digest: ByDigest = False,
    prune: Prune = False,
    refresh: Refresh = False,
    allow_mass_change: MassChange = False,
    detailed_exitcode: Detailed = False,
    access_token: Token = None,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Show what apply would change. Changes nothing."""
    from deploy.commands import PlanOptions, plan

    options = _options(schedules, app_name, access_token, timeout, as_json)
    planning = PlanOptions(image, by_digest, prune, refresh, allow_mass_change, detailed_exitcode)
    raise typer.Exit(plan(options, planning))


@app.command()
def apply(
    schedules: Schedules = None,
    app_name: App = None,
    image: Image = None,
    by_digest: ByDigest = False,
    prune: Prune = False,
    refresh: Refresh = False,
    allow_mass_change: MassChange = False,
    wait_for_runs: Annotated[
        str, typer.Option(help="How long to wait for jobs that run before skipping their machine.")
    ] = "10m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    detailed_exitcode: Detailed = False,
    access_token: Token = None,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Create, update and, with --prune, destroy machines. May be run again after any failure."""
    from deploy.commands import PlanOptions, apply, plan

    options = _options(schedules, app_name, access_token, timeout, as_json)
    planning = PlanOptions(image, by_digest, prune, refresh, allow_mass_change, detailed_exitcode)
    if dry_run:
        raise typer.Exit(plan(options, planning))
    raise typer.Exit(apply(options, planning, wait_for_runs))


@app.command()
def deploy(
    schedules: Schedules = None,
    app_name: App = None,
    access_token: Token = None,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Build and push the image of the jobs with `fly`, then apply it by its digest."""
    from deploy.commands import deploy

    raise typer.Exit(deploy(_options(schedules, app_name, access_token, timeout, as_json)))


@app.command()
def status(
    context: typer.Context,
    schedules: Schedules = None,
    app_name: App = None,
    access_token: Token = None,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Show each machine, its last run and its next. Exits 2 if something needs a person."""
    from deploy.commands import status

    options = _options(schedules, app_name, access_token, timeout, as_json)
    # What the store knows only `speakerbot cron` can ask: see cli.cron.
    raise typer.Exit(status(options, context.obj or (lambda _schedules: {})))


@app.command()
def run(
    name: Name,
    schedules: Schedules = None,
    app_name: App = None,
    access_token: Token = None,
    timeout: Timeout = "30s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
) -> None:
    """Start a schedule's machine now. It still runs only what is due."""
    from deploy.commands import run

    run(_options(schedules, app_name, access_token, timeout, False), name, dry_run=dry_run)


@app.command()
def logs(
    name: Name,
    schedules: Schedules = None,
    app_name: App = None,
    access_token: Token = None,
    timeout: Timeout = "30s",
) -> None:
    """Say the command that shows a schedule's logs."""
    from deploy.commands import logs

    logs(_options(schedules, app_name, access_token, timeout, False), name)


@app.command()
def export(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="crontab, systemd, kubernetes, github-actions or fly-cron-manager.",
        ),
    ],
    schedules: Schedules = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder to write the files into. Default: print them."),
    ] = None,
    image: Annotated[str, typer.Option(help="Image to name in it.")] = "speakerbot:latest",
    app_name: Annotated[str, typer.Option("--app", "-a", help="Fly app to name in it.")] = (
        "speakerbot"
    ),
) -> None:
    """Write the same schedules for another scheduler."""
    from deploy.commands import export
    from speakerbot.config import environment

    export(_schedules(schedules, environment()), kind, image, app_name, output)


def _options(
    schedules: Path | None, app_name: str | None, token: str | None, timeout: str, as_json: bool
) -> CronOptions:
    from deploy.commands import CronOptions, seconds
    from speakerbot.config import environment

    env, limit = environment(), seconds("--timeout", timeout)
    return CronOptions(_schedules(schedules, env), app_name, token, limit, as_json, env)


def _schedules(given: Path | None, env: Mapping[str, str]) -> Path:
    return given or Path(env.get("SPEAKERBOT_SCHEDULES") or "deploy/schedules.json")


def main() -> None:
    """The command by itself; each of our errors ends as one line and its exit code."""
    try:
        app()
    except Exception as error:
        from speakerbot import logs
        from speakerbot.errors import SpeakerbotError

        if not isinstance(error, SpeakerbotError):
            raise
        logs.report(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
