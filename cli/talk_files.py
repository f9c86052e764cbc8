"""``speakerbot talks import`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.export_file import Output, write_export
from cli.open_store import all_or_nothing, to_change, to_read
from cli.options import DryRun
from cli.output import amount, say
from cli.terminal import progress
from speakerbot import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from speakerbot.config import Settings
    from speakerbot.formats.source import Source
    from speakerbot.formats.talk_fields import TalkEntry
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports.store import Store

File = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        allow_dash=True,
        metavar="FILE",
        help="JSON lines, a JSON array or CSV; - is standard input.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the two commands to the group."""
    app.command("import", epilog="Example: speakerbot talks import scheduledspeakers.jsonl")(
        import_talks
    )
    app.command("export", epilog="Example: speakerbot talks export --format ics -o talks.ics")(
        export_talks
    )


def import_talks(file: File, dry_run: DryRun = False) -> None:
    """Take in talks from a mongoexport (JSON lines) or a CSV file: all of them, or none.

    What the file leaves out or empty stays as it is in the store.
    """
    from speakerbot import booking
    from speakerbot.clock import real_now
    from speakerbot.formats.source import read_source

    source = read_source(file)
    with to_change(dry_run=dry_run) as (store, _):
        entries = list(progress(_entries(source), source.line_count, "reading"))
        with all_or_nothing(store, dry_run=dry_run):
            change = _plan(entries, source, store)
            if not dry_run:
                booking.take_in(store, change, real_now())
    total = len(change.new) + len(change.updated) + change.unchanged
    counts = f"{len(change.new):,} new, {len(change.updated):,} updated"
    done = "would import" if dry_run else "imported"
    say(f"{done} {amount(total, 'talk')}: {counts}, {change.unchanged:,} unchanged")
    _name_unknown(entries)


def _entries(source: Source) -> Iterator[TalkEntry]:
    if source.kind == "json":
        from speakerbot.formats import talk_json

        return talk_json.read(source)
    from speakerbot.formats import talk_csv

    return talk_csv.read(source)


def _plan(entries: list[TalkEntry], source: Source, store: Store) -> TalkImport:
    """Raises InputRefused with everything that is wrong, in the file and against the store."""
    from speakerbot.clock import real_now
    from speakerbot.formats import talk_import

    change = talk_import.plan(entries, store.talks.all(), real_now(), source.problems)
    if not entries and not source.problems.found:
        source.problems.add("", "there are no talks in it")
    source.problems.refuse()
    return change


def _name_unknown(entries: list[TalkEntry]) -> None:
    if unknown := sorted({name for entry in entries for name in entry.extra}):
        say(f"kept as they came: fields this product does not know ({', '.join(unknown)})")


def export_talks(
    form: Annotated[
        Literal["jsonl", "csv", "ics"],
        typer.Option("--format", help="jsonl keeps everything; csv for spreadsheets; ics."),
    ] = "jsonl",
    output: Output = None,
) -> None:
    """Write all talks: as mongoexport does, as CSV, or as a calendar.

    CSV cells that a spreadsheet would run as formulas get an apostrophe in front; import takes
    it off again.
    """
    with to_read() as (store, settings):
        write_export(_exported(form, store, settings), output)


def _exported(form: str, store: Store, settings: Settings) -> Iterator[str]:
    if form == "jsonl":
        from speakerbot.formats import talk_json

        yield from talk_json.write(store.talks.all())
    elif form == "csv":
        from speakerbot.formats import talk_csv

        talks = list(store.talks.all())
        yield from talk_csv.write(talks)
        if left_out := talk_csv.left_out(talks):
            logs.get_logger().warning(
                "fields_left_out", talks=left_out, hint="--format jsonl keeps every field"
            )
    else:
        from speakerbot import booking
        from speakerbot.clock import real_now
        from speakerbot.formats import talk_calendar

        shown = booking.current(store.calendar.all(), store.talks.all(), real_now())
        yield talk_calendar.write(shown, settings.timezone)
