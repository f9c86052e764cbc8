"""``speakerbot talks``: book, list, show, move, cancel, import and export."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from cli.deliveries import show_deliveries
from cli.documents import delivery_document, talk_document
from cli.export_file import Output, write_export
from cli.open_store import all_or_nothing, to_change, to_read
from cli.options import AsJson, DryRun, Now, decision_time, parse_clock, parse_date
from cli.output import amount, emit_json, on_terminal, say, table
from cli.talk_argument import TOPIC_SHOWN, Which, about, find_talk, no_talk
from cli.terminal import narrow, progress, show
from cli.user_argument import find_user
from speakerbot import logs
from speakerbot.errors import DateTaken, NotFound, UsageError
from speakerbot.text import shorten

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.source import Source
    from speakerbot.formats.talk_fields import TalkEntry
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

Day = Annotated[date, typer.Argument(parser=parse_date, metavar="DATE", help="YYYY-MM-DD")]
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


@app.command(
    epilog="Example: speakerbot talks add --user 802345678901234564 --name kaz "
    "--topic Agents --date 2026-11-27 --at 19:30"
)
def add(
    user: Annotated[str, typer.Option(help="The speaker's Discord user id, or a person's id.")],
    name: Annotated[str, typer.Option(help="How messages call the speaker.")],
    topic: Annotated[str, typer.Option(help="What it is about.")],
    day: Annotated[date, typer.Option("--date", parser=parse_date, metavar="DATE")],
    at: Annotated[
        time | None,
        typer.Option(parser=parse_clock, metavar="HH:MM", help="Start, in the community's zone."),
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="The sign-up thread.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Book a talk. Prints its id."""
    from speakerbot import booking
    from speakerbot.clock import real_now
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.ids import new_talk_id

    with to_change(dry_run=dry_run) as (store, settings):
        now = real_now()
        talk = Talk(
            id=new_talk_id(now),
            user_id=_speaker(store, user),
            username=_filled("--name", name),
            topic=_filled("--topic", topic),
            date=day,
            booked_at=now,
            thread_id=_thread(thread),
            starts_at=at,
        )
        _require_free(store, day)
        if not dry_run:
            booking.add(store, talk, now)
        if as_json:
            emit_json(talk_document(talk, settings.timezone))
            return
        done = "would add a talk" if dry_run else f"added talk {talk.id}"
        say(f"{done} on {_when(talk)}: {about(talk)}")
        _warn_if_over(talk, settings.timezone, now)


@app.command("list", epilog="Example: speakerbot talks list --all")
def list_talks(
    all_talks: Annotated[bool, typer.Option("--all", help="Past and completed ones too.")] = False,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """List the talks to come."""
    with to_read() as (store, settings):
        zone = settings.timezone
        today = decision_time(now).astimezone(zone).date()
        talks = store.talks.all() if all_talks else _upcoming(store, today)
        if as_json:
            emit_json({"talks": [talk_document(talk, zone) for talk in talks]})
            return
        _list(talks, zone, empty=f"No talks to come in {store.describe()}; --all shows past ones.")


def _upcoming(store: Store, today: date) -> Iterator[Talk]:
    return (talk for talk in store.talks.between(today, date.max) if not talk.completed)


def _list(talks: Iterator[Talk], zone: ZoneInfo, *, empty: str) -> None:
    columns: tuple[str, ...]
    if not on_terminal():
        columns = ("date", "start", "speaker", "topic", "state", "id")
        table(columns, map(_row, talks), empty=empty)
        return
    columns = ("when", "speaker", "topic") if narrow() else ("when", "speaker", "topic", "id")
    rows = ((_when(talk), talk.username, _brief(talk), talk.id)[: len(columns)] for talk in talks)
    table(columns, rows, empty=empty, title=f"Talks ({zone.key})", whole=("when", "id"))


def _row(talk: Talk) -> tuple[object, ...]:
    state = "completed" if talk.completed else ""
    return (talk.date, _start(talk), talk.username, talk.topic, state, talk.id)


def _brief(talk: Talk) -> str:
    return shorten(talk.topic, TOPIC_SHOWN) + (" (completed)" if talk.completed else "")


@app.command("show", epilog="Example: speakerbot talks show 2026-11-20")
def show_talk(talk: Which, now: Now = None, as_json: AsJson = False) -> None:
    """Show a talk and the messages sent for it."""
    with to_read() as (store, settings):
        found = find_talk(store, talk)
        document = talk_document(found, settings.timezone)
        deliveries = list(store.ledger.find(f"talk:{found.id}"))
        if as_json:
            decided = decision_time(now)
            shown = [delivery_document(record, decided) for record in deliveries]
            emit_json({**document, "deliveries": shown})
            return
        extra = document.pop("extra")
        show([*document.items(), *extra.items()])
        if on_terminal() or deliveries:
            say("")
            show_deliveries(deliveries, decision_time(now), empty="No messages for it so far.")


@app.command(epilog="Example: speakerbot talks reschedule 2026-11-27 2026-12-04")
def reschedule(talk: Which, day: Day, dry_run: DryRun = False) -> None:
    """Move a talk to another date; reminders of the new date are due again."""
    from dataclasses import replace

    from speakerbot import booking
    from speakerbot.clock import real_now

    with to_change(dry_run=dry_run) as (store, settings):
        found = find_talk(store, talk)
        if found.date == day:
            say(f"nothing to move: talk {found.id} is on {day} already")
            return
        _require_free(store, day)
        now = real_now()
        if not dry_run and not booking.move(store, found, day, now):
            raise no_talk(talk)
        done = "would move" if dry_run else "moved"
        say(f"{done} talk {found.id} ({about(found)}): {found.date} → {day}")
        _warn_if_over(replace(found, date=day), settings.timezone, now)


@app.command(epilog="Example: speakerbot talks cancel 2026-11-27 --yes")
def cancel(
    talk: Which,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Cancel a talk: it is deleted, as the Node bot does it."""
    from speakerbot import booking
    from speakerbot.clock import real_now

    with to_change(dry_run=dry_run) as (store, _):
        found = find_talk(store, talk)
        named = f"talk {found.id} on {found.date} ({about(found)})"
        if dry_run:
            say(f"would cancel {named}")
            return
        if not yes and not _confirmed(named):
            say("nothing was cancelled")
            return
        if not booking.cancel(store, found, real_now()):
            raise no_talk(talk)
        say(f"cancelled {named}")


def _confirmed(named: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"cancelling {named} needs --yes where nobody can be asked")
    # Not typer.confirm: it writes a space to stdout even where it asks on stderr.
    sys.stderr.write(f"Cancel {named}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@app.command("import", epilog="Example: speakerbot talks import scheduledspeakers.jsonl")
def import_talks(file: File, dry_run: DryRun = False) -> None:
    """Take in talks from a mongoexport (JSON lines) or a CSV file: all of them, or none.

    What the file leaves out or empty stays as it is in the store.
    """
    from speakerbot import booking
    from speakerbot.clock import real_now
    from speakerbot.formats import talk_files
    from speakerbot.formats.source import read_source

    source = read_source(file)
    with to_change(dry_run=dry_run) as (store, _):
        entries = list(progress(talk_files.read(source), source.line_count, "reading"))
        with all_or_nothing(store, dry_run=dry_run):
            change = _plan(entries, source, store)
            if not dry_run:
                booking.take_in(store, change, real_now())
    total = len(change.new) + len(change.updated) + change.unchanged
    counts = f"{len(change.new):,} new, {len(change.updated):,} updated"
    done = "would import" if dry_run else "imported"
    say(f"{done} {amount(total, 'talk')}: {counts}, {change.unchanged:,} unchanged")
    _name_unknown(entries)


def _plan(entries: list[TalkEntry], source: Source, store: Store) -> TalkImport:
    """Raises InputRefused with everything that is wrong, in the file and against the store."""
    from speakerbot.clock import real_now
    from speakerbot.formats import talk_import

    change = talk_import.plan(
        entries,
        store.talks.all(),
        real_now(),
        source.problems,
        one_a_date=store.talks.one_a_date,
    )
    if not entries and not source.problems.found:
        source.problems.add("", "there are no talks in it")
    source.problems.refuse()
    return change


def _name_unknown(entries: list[TalkEntry]) -> None:
    if unknown := sorted({name for entry in entries for name in entry.extra}):
        say(f"kept as they came: fields this product does not know ({', '.join(unknown)})")


@app.command("export", epilog="Example: speakerbot talks export --format ics -o talks.ics")
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
    from speakerbot.formats import talk_files

    if form == "jsonl":
        yield from talk_files.write_json(store.talks.all())
    elif form == "csv":
        talks = list(store.talks.all())
        yield from talk_files.write_csv(talks)
        if left_out := talk_files.left_out(talks):
            logs.get_logger().warning(
                "fields_left_out", talks=left_out, hint="--format jsonl keeps every field"
            )
    else:
        from speakerbot import booking
        from speakerbot.clock import real_now

        shown = booking.current(store.calendar.all(), store.talks.all(), real_now())
        yield talk_files.write_calendar(shown, settings.timezone)


def _require_free(store: Store, day: date) -> None:
    if not store.talks.one_a_date:
        return
    if holder := next(store.talks.between(day, day), None):
        raise DateTaken(
            f"{day} is taken by talk {holder.id} ({about(holder)}). One talk a date, as the Node "
            "bot has it: choose another, or reschedule or cancel that talk first."
        )


def _speaker(store: Store, user: str) -> str:
    speaker = find_user(store, user)
    if speaker.user_id is None:
        raise NotFound(f"--user: {speaker} has no Discord id; `people list` shows who has one")
    return speaker.user_id


def _thread(thread: str | None) -> str | None:
    from speakerbot.formats.ids import snowflake

    try:
        return snowflake(thread) if thread is not None else None
    except ValueError as problem:
        raise UsageError(f"--thread: {problem}") from problem


def _filled(option: str, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{option} is empty")
    return text


def _start(talk: Talk) -> str:
    return f"{talk.starts_at:%H:%M}" if talk.starts_at else ""


def _when(talk: Talk) -> str:
    return f"{talk.date:%a %Y-%m-%d} {_start(talk)}".rstrip()


def _warn_if_over(talk: Talk, zone: ZoneInfo, now: datetime) -> None:
    if talk.over(zone) <= now:
        say(f"note: {talk.date} is over, so no reminder will be sent")
