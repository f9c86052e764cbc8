"""``speakerbot templates``: the wording of every message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import AsJson, DryRun
from cli.output import emit_json, say, table
from speakerbot.errors import ConfigError, UsageError
from speakerbot.templates import USUAL, Templates, names

app = typer.Typer(no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `templates list` shows it.")]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Default: what SPEAKERBOT_TEMPLATES names."),
]


@app.command("list", epilog="Example: speakerbot templates list")
def list_templates(as_json: AsJson = False) -> None:
    """List the texts, whose wording is in effect, and what each can use."""
    templates = _templates()
    overridden = templates.overridden()
    if as_json:
        emit_json(
            {
                "templates": [
                    {
                        "name": name,
                        "overridden": name in overridden,
                        "file": str(templates.path(name)),
                        "variables": templates.variables(name),
                    }
                    for name in names()
                ]
            }
        )
        return
    rows = (
        (name, "yours" if name in overridden else "ours", ", ".join(templates.variables(name)))
        for name in names()
    )
    table(("name", "wording", "variables"), rows, empty="There are no texts.", whole=("name",))


@app.command(epilog="Example: speakerbot templates show reminder.day_of")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a text as it is in effect, what it can use, and how it comes out."""
    templates = _templates()
    path = templates.path(name)
    if as_json:
        emit_json(_document(templates, name))
        return
    say(templates.file(name).source.rstrip("\n"))
    say(f"\nFrom {path}")
    say("\nIt can use:")
    for variable, example in _examples(templates, name).items():
        say(f"  {{{{ {variable} }}}}  e.g. {example}")
    for text in _rendered(templates, name):
        say(f"\nComes out as:\n{text}")


def _document(templates: Templates, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "overridden": name in templates.overridden(),
        "file": str(templates.path(name)),
        "text": templates.file(name).source,
        "variables": _examples(templates, name),
        "examples": _rendered(templates, name),
    }


def _examples(templates: Templates, name: str) -> dict[str, Any]:
    """Each variable with a value it may have."""
    from speakerbot.templates.values import samples

    known = {key: value for values in samples().get(name, ()) for key, value in values.items()}
    return {variable: _shown(known.get(variable)) for variable in templates.variables(name)}


def _shown(value: Any) -> Any:
    """An example as Discord is given it."""
    from speakerbot.bootstrap import templates
    from speakerbot.domain.message import ReaderTime

    match value:
        case ReaderTime():
            return templates().channels[USUAL].reader_time(value)
        case dict():
            return {key: _shown(item) for key, item in value.items()}
        case list():
            return [_shown(item) for item in value]
    return value


def _rendered(templates: Templates, name: str) -> list[str]:
    from speakerbot.templates.values import samples

    return [templates.render(name, values) for values in samples().get(name, ())]


@app.command(epilog="Example: SPEAKERBOT_TEMPLATES=texts speakerbot templates check")
def check() -> None:
    """Try every text on examples. Names file and line of each problem; exit code 78."""
    from speakerbot.templates.overrides import problems, warnings

    templates = _templates()
    for warning in warnings(templates):
        say(f"warning: {warning}")
    if found := problems(templates, names()):
        raise ConfigError(*found)
    yours = len(templates.overridden())
    where = f" in {templates.overrides}" if yours else ""
    say(f"All {len(names())} texts are fine, {yours} of them yours{where}.")


@app.command(epilog="Example: speakerbot templates eject --folder texts")
def eject(folder: Folder = None, dry_run: DryRun = False) -> None:
    """Write every text into a folder, to be changed there. Never overwrites a file."""
    from speakerbot.config import environment
    from speakerbot.templates.overrides import eject as ejected

    # Only this one setting is read: the folder it names may be yet to be made.
    named = environment().get("SPEAKERBOT_TEMPLATES", "").strip()
    if folder is None and not named:
        raise UsageError("no folder is named: add --folder DIR, or set SPEAKERBOT_TEMPLATES")
    target = folder or Path(named)
    done = ejected(target, dry_run=dry_run)
    for path in done.written:
        say(f"{'would write' if dry_run else 'wrote'} {path}")
    for path in done.left:
        say(f"left {path} as it is")
    if not named or Path(named).resolve() != target.resolve():
        say(f"To use them, set SPEAKERBOT_TEMPLATES={target}")


def _templates() -> Templates:
    from speakerbot.bootstrap import templates
    from speakerbot.config import load

    return templates(load().templates)
