"""``speakerbot``: the entry point. Command groups are imported only when they are called."""

from __future__ import annotations

import importlib
import sys
from io import TextIOWrapper
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from speakerbot import __version__
from speakerbot.errors import SpeakerbotError

GROUPS = {
    "run": "Run a job: send what is due, exactly once.",
    "talks": "Book, list, move, cancel, import and export talks.",
    "people": "Who wants which messages, when and how.",
    "guild": "The channel of the community's announcements.",
    "deliveries": "What was sent, what failed; try again.",
    "inbox": "What is in somebody's web inbox; mark it as read.",
    "runs": "What ran, when, and how it ended.",
    "store": "Where everything is kept, whose it is, what is forgotten when.",
    "preview": "Every message that will go out, day by day.",
    "explain": "Why a message was sent, was not, or will be.",
    "templates": "The wording of every message: see it, change it, check it.",
    "sandbox": "Run a job against a Discord inside this process; nothing real is touched.",
    "serve": "Answer /health over HTTP: can the store be reached?",
    "cron": "Make Fly Machines match deploy/schedules.json.",
}


class LazyGroups(TyperGroup):
    """Imports ``cli.<name>`` when its name is typed: a scheduled run pays for ``run`` only."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # click's signature
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # click's signature
        if cmd_name not in GROUPS:
            return None
        command = typer.main.get_command(importlib.import_module(f"cli.{cmd_name}").app)
        command.name = cmd_name
        command.help = GROUPS[cmd_name]
        return command


app = typer.Typer(cls=LazyGroups, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"speakerbot {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: speakerbot run reminders --dry-run")
def root(
    context: typer.Context,
    log_format: Annotated[
        Literal["json", "pretty"] | None,
        typer.Option(help="Default: pretty on a terminal, else json."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log more; show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001  # its callback answers
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Sends a community's reminders and announcements on Discord, exactly once."""
    from speakerbot import logs, process  # after --version and --help have had their say

    stderr = None
    if context.invoked_subcommand == "run":
        process.install_signals()
        stderr = process.Output.of(sys.stderr)
    logs.configure(log_format, debug=debug, stream=stderr)


def main() -> None:
    """Runs the command line; each of our errors ends as one line and its exit code."""
    arguments = global_options_first(sys.argv[1:])
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what it cannot show must not end a run
    try:
        app(arguments)
    except SpeakerbotError as error:
        if "--debug" in arguments:
            raise
        from speakerbot import logs

        logs.report(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (| head): nothing more to say, and nothing is wrong.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if "--debug" in arguments:
            raise
        from speakerbot import logs

        logs.report_bug(error)
        sys.exit(SpeakerbotError.exit_code)
    finally:
        if configured := sys.modules.get("speakerbot.logs"):
            configured.finish()
        if signals := sys.modules.get("speakerbot.process"):
            signals.over()


def global_options_first(arguments: list[str]) -> list[str]:
    """``--log-format`` and ``--debug`` may stand anywhere: people add them at the end."""
    front: list[str] = []
    rest: list[str] = []
    iterator = iter(arguments)
    for argument in iterator:
        if argument == "--":
            return [*front, *rest, argument, *iterator]
        if argument == "--log-format":
            front += [argument, next(iterator, "")]
        elif argument == "--debug" or argument.startswith("--log-format="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


if __name__ == "__main__":
    main()
