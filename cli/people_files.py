"""``speakerbot people import`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.export_file import Output, write_export
from cli.open_store import all_or_nothing, to_change, to_read
from cli.options import DryRun
from cli.output import amount, say
from cli.terminal import progress

if TYPE_CHECKING:
    from speakerbot.formats.person_import import PersonImport
    from speakerbot.formats.problems import ImportProblems


def register(app: typer.Typer) -> None:
    """Adds the two commands to the group."""
    app.command("import", epilog="Example: speakerbot people import people.csv --partial")(
        import_people
    )
    app.command("export", epilog="Example: speakerbot people export --format csv -o people.csv")(
        export_people
    )


def import_people(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            allow_dash=True,
            metavar="FILE",
            help="CSV or JSON lines; - is standard input.",
        ),
    ],
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out who has a mistake, take the others.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Take in people from a CSV or JSON lines file: all of them, or none.

    What the file leaves out or empty stays as it is, and nobody is opted in again.
    """
    from speakerbot.formats import person_files, person_import
    from speakerbot.formats.problems import ImportProblems
    from speakerbot.formats.source import read_source

    source = read_source(file)
    refused = ImportProblems(source.problems.source) if partial else source.problems
    with to_change(dry_run=dry_run) as (store, _):
        people = person_files.read(source, refused)
        entries = list(progress(people, source.line_count, "reading"))
        with all_or_nothing(store, dry_run=dry_run):
            change = person_import.plan(entries, store.people.all(), refused)
            if not entries and not refused.found:
                source.problems.add("", "there are no people in it")
            source.problems.refuse()
            if not dry_run:
                store.people.put([*change.new, *change.updated])
    _say(change, refused, dry_run=dry_run)


def _say(change: PersonImport, refused: ImportProblems, *, dry_run: bool) -> None:
    total = len(change.new) + len(change.updated) + change.unchanged
    people = f"{total:,} {'person' if total == 1 else 'people'}"
    counts = f"{len(change.new):,} new, {len(change.updated):,} updated"
    done = "would import" if dry_run else "imported"
    say(f"{done} {people}: {counts}, {change.unchanged:,} unchanged")
    if refused.found:
        say(f"left out, for {amount(len(refused.found), 'problem')}:")
        say("\n".join(f"  {problem}" for problem in refused.found))


def export_people(
    form: Annotated[
        Literal["jsonl", "csv"],
        typer.Option("--format", help="jsonl keeps everything; csv for spreadsheets."),
    ] = "jsonl",
    output: Output = None,
) -> None:
    """Write everybody who is known, in a form that import reads."""
    from speakerbot.formats import person_files

    with to_read() as (store, _):
        if form == "jsonl":
            write_export(person_files.write_json(store.people.all()), output)
        else:
            write_export(person_files.write_csv(list(store.people.all())), output)
