"""``speakerbot talks``: book, list, show, move, cancel, import and export."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from cli.deliveries import show_deliveries
from cli.documents import delivery_document, talk_document, with_answers
from cli.export_file import Output, form_of, write_export
from cli.imports import (
    File,
    Mapped,
    emit_import,
    kept_as_they_came,
    plan_import,
    say_notes,
    show_rows,
    summary,
    sync,
)
from cli.open_store import to_change, to_read
from cli.options import AsJson, DryRun, Now, decision_time, parse_date
from cli.output import emit_json, on_terminal, plain, say, table
from cli.talk_argument import (
    TOPIC_SHOWN,
    Clearable,
    CoSpeakers,
    Length,
    Link,
    Room,
    Start,
    Thread,
    Which,
    about,
    check_start,
    cleared,
    differences,
    filled,
    find_talk,
    link_of,
    minutes_of,
    no_talk,
    start_of,
    thread_id,
)
from cli.terminal import narrow, progress, show
from cli.user_argument import co_speakers, find_user, name_of, user_id_of
from speakerbot import logs
from speakerbot.domain.confirmation import in_words
from speakerbot.errors import DateTaken, UsageError
from speakerbot.text import shorten

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.domain.confirmation import Answers
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports.store import Store

NARROW_TOPIC = 24
COLUMNS = ("date", "start", "speaker", "topic", "state", "id", "room", "co-speakers", "answer")
"""Of `talks list` off a terminal."""

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command(
    epilog="Example: speakerbot talks sync https://pretalx.com/demo/schedule/export/schedule.json"
)(sync)

Day = Annotated[date, typer.Argument(parser=parse_date, metavar="DATE", help="YYYY-MM-DD")]


@app.command(
    epilog="Example: speakerbot talks add --user 802345678901234564 --name kaz "
    "--topic Agents --date 2026-11-27 --at 19:30 --speaker 802345678901234563=mira"
)
def add(
    user: Annotated[str, typer.Option(help="The speaker's Discord user id, or a person's id.")],
    name: Annotated[str, typer.Option(help="How messages call the speaker.")],
    topic: Annotated[str, typer.Option(help="What it is about.")],
    day: Annotated[date, typer.Option("--date", parser=parse_date, metavar="DATE")],
    at: Start = None,
    length: Length = None,
    room: Room = None,
    link: Link = None,
    thread: Thread = None,
    speaker: CoSpeakers = None,
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
            user_id=user_id_of("--user", find_user(store, user)),
            username=filled("--name", name),
            topic=filled("--topic", topic),
            date=day,
            booked_at=now,
            thread_id=thread_id(thread),
            starts_at=at,
            length=minutes_of(length),
            room=filled("--room", room) if room is not None else None,
            link=link_of(link),
            co_speakers=co_speakers(store, speaker or []),
        )
        _require_free(store, day)
        check_start(talk, settings.timezone)
        if not dry_run:
            booking.add(store, talk, now)
        if as_json:
            emit_json(talk_document(talk, settings.timezone))
            return
        done = "would add a talk" if dry_run else f"added talk {talk.id}"
        say(f"{done} on {_day(talk)}: {about(talk)}")
        _warn_if_over(talk, settings.timezone, now)


@app.command(epilog="Example: speakerbot talks edit 2026-11-27 --at 20:00 --clear room")
def edit(
    talk: Which,
    user: Annotated[str | None, typer.Option(help="Hand it over to this speaker.")] = None,
    name: Annotated[str | None, typer.Option(help="How messages call the speaker.")] = None,
    topic: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    at: Start = None,
    length: Length = None,
    room: Room = None,
    link: Link = None,
    thread: Thread = None,
    speaker: CoSpeakers = None,
    clear: Annotated[
        list[Clearable] | None,
        typer.Option("--clear", help="Take away what it has of this. May be repeated."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change a talk, but for its date (`talks reschedule`).

    --speaker replaces all of its co-speakers.
    """
    from dataclasses import replace

    from speakerbot import booking
    from speakerbot.clock import real_now

    given = {
        "topic": _filled("--topic", topic),
        "username": _filled("--name", name),
        "starts_at": at,
        "length": minutes_of(length),
        "room": _filled("--room", room),
        "link": link_of(link),
        "thread_id": thread_id(thread),
    }
    values: dict[str, Any] = {field: to for field, to in given.items() if to is not None}
    with to_change(dry_run=dry_run) as (store, settings):
        found = find_talk(store, talk)
        if user is not None:
            values |= _handed_over(store, user, name)
        if speaker:
            values["co_speakers"] = co_speakers(store, speaker)
        after = replace(found, **values, **cleared(clear or [], values))
        if at is not None:
            check_start(after, settings.timezone)
        changed = differences(found, after)
        if changed and not dry_run and not booking.edit(store, found, after, real_now()):
            raise no_talk(talk)
        if as_json:
            emit_json({**talk_document(after, settings.timezone), "changed": sorted(changed)})
            return
        _tell_of_edit(found, changed, dry_run=dry_run)


def _filled(option: str, text: str | None) -> str | None:
    """None where the option is not given."""
    return None if text is None else filled(option, text)


def _tell_of_edit(talk: Talk, changed: Mapping[str, tuple[str, str]], *, dry_run: bool) -> None:
    if not changed:
        say(f"nothing to change: talk {talk.id} is so already")
        return
    say(f"{'would change' if dry_run else 'changed'} talk {talk.id} on {_day(talk)}")
    for field, (was, to) in changed.items():
        say(f"  {field}: {plain(was or '(none)')} → {plain(to or '(none)')}")


def _handed_over(store: Store, user: str, name: str | None) -> dict[str, Any]:
    """``name``: what --name says."""
    found = find_user(store, user)
    user_id = user_id_of("--user", found)
    username = name or name_of(store, found)
    if not username:
        raise UsageError(f"--user {user}: it is not known how to call them; add --name")
    return {"user_id": user_id, "username": username}


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
        answered = with_answers(store, talks)
        if as_json:
            documents = [talk_document(talk, zone, answers) for talk, answers in answered]
            emit_json({"talks": documents})
            return
        empty = f"No talks to come in {store.describe()}; --all shows past ones."
        _list(answered, zone, empty=empty)


def _upcoming(store: Store, today: date) -> Iterator[Talk]:
    return (talk for talk in store.talks.between(today, date.max) if not talk.completed)


def _list(answered: Iterator[tuple[Talk, Answers]], zone: ZoneInfo, *, empty: str) -> None:
    if not on_terminal():
        rows = ((*_row(talk), in_words(talk, answers)) for talk, answers in answered)
        table(COLUMNS, rows, empty=empty)
        return
    shown, said = [], {}
    for talk, answers in answered:
        shown.append(talk)
        said[talk.id] = in_words(talk, answers)
    cells = {"when": _when, "speaker": _names, "topic": _brief}
    if any(said.values()):
        cells["answer"] = lambda talk: said[talk.id]
    if any(talk.room for talk in shown):
        cells["room"] = lambda talk: talk.room or ""
    if not narrow():
        cells["id"] = lambda talk: talk.id
    rows = (tuple(cell(talk) for cell in cells.values()) for talk in shown)
    table(tuple(cells), rows, empty=empty, title=f"Talks ({zone.key})", whole=("when", "id"))


def _row(talk: Talk) -> tuple[object, ...]:
    state = "completed" if talk.completed else ""
    others = ", ".join(each.username for each in talk.speakers[1:])
    main = (talk.date, start_of(talk), talk.username, talk.topic, state, talk.id)
    return (*main, talk.room or "", others)


def _brief(talk: Talk) -> str:
    return shorten(talk.topic, TOPIC_SHOWN) + (" (completed)" if talk.completed else "")


@app.command("show", epilog="Example: speakerbot talks show 2026-11-20")
def show_talk(talk: Which, now: Now = None, as_json: AsJson = False) -> None:
    """Show a talk and the messages sent for it."""
    with to_read() as (store, settings):
        found = find_talk(store, talk)
        answers = store.answers.about([found.id])
        document = talk_document(found, settings.timezone, answers)
        deliveries = list(store.ledger.find(f"talk:{found.id}"))
        if as_json:
            decided = decision_time(now)
            shown = [delivery_document(record, decided) for record in deliveries]
            emit_json({**document, "deliveries": shown})
            return
        document["speakers"] = ", ".join(f"{name} ({user})" for user, name in found.speakers)
        document["answer"] = in_words(found, answers)
        extra = document.pop("extra")
        show([*document.items(), *extra.items()])
        if on_terminal() or deliveries:
            say("")
            show_deliveries(deliveries, decision_time(now), empty="No messages for it so far.")


@app.command(epilog="Example: speakerbot talks reschedule 2026-11-27 2026-12-04")
def reschedule(talk: Which, day: Day, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Move a talk to another date; reminders of the new date are due again."""
    from dataclasses import replace

    from speakerbot import booking
    from speakerbot.clock import real_now

    with to_change(dry_run=dry_run) as (store, settings):
        found = find_talk(store, talk)
        after = replace(found, date=day)
        if found.date == day and not as_json:
            say(f"nothing to move: talk {found.id} is on {day} already")
            return
        now = real_now()
        if found.date != day:
            _require_free(store, day)
            if not dry_run and not booking.move(store, found, day, now):
                raise no_talk(talk)
        if as_json:
            changed = ["date"] if found.date != day else []
            emit_json({**talk_document(after, settings.timezone), "changed": changed})
            return
        done = "would move" if dry_run else "moved"
        say(f"{done} talk {found.id} ({about(found)}): {found.date} → {day}")
        _warn_if_over(after, settings.timezone, now)


@app.command(epilog="Example: speakerbot talks cancel 2026-11-27 --yes")
def cancel(
    talk: Which,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Cancel a talk: it is deleted, as the Node bot does it."""
    from speakerbot import booking
    from speakerbot.clock import real_now

    with to_change(dry_run=dry_run) as (store, settings):
        found = find_talk(store, talk)
        named = f"talk {found.id} on {found.date} ({about(found)})"
        if not dry_run and not yes and not _confirmed(named):
            say("nothing was cancelled")
            return
        if not dry_run and not booking.cancel(store, found, real_now()):
            raise no_talk(talk)
        if as_json:
            emit_json(talk_document(found, settings.timezone))
            return
        say(f"{'would cancel' if dry_run else 'cancelled'} {named}")


def _confirmed(named: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"cancelling {named} needs --yes where nobody can be asked")
    # Not typer.confirm: it writes a space to stdout even where it asks on stderr.
    sys.stderr.write(f"Cancel {named}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@app.command("import", epilog="Example: speakerbot talks import programme.xlsx --dry-run")
def import_talks(
    file: File,
    mapped: Mapped = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take in talks from a sheet (CSV, .xlsx) or a mongoexport: all of them, or none.

    Shows what is new, changed and unchanged before anything is written. What the file leaves out
    or empty stays as it is in the store. A sheet needs the columns Speaker, Discord ID, Title and
    Date; `speakerbot talks template` writes an empty one.
    """
    from speakerbot import booking
    from speakerbot.clock import real_now
    from speakerbot.formats import talk_files, talk_import
    from speakerbot.formats.source import read_source
    from speakerbot.formats.talk_fields import COLUMNS

    fields = COLUMNS.parse_map(mapped or [])
    source = read_source(file)
    with to_change(dry_run=dry_run) as (store, settings):
        now, zone = real_now(), settings.timezone
        read = talk_files.read(source, now.astimezone(zone).date(), settings.date_order, fields)
        entries = list(progress(read, source.line_count, "reading"))
        shown = change = plan_import(entries, source, store, now, zone)
        notes = [*source.notes, *kept_as_they_came(entries)]
        if not as_json:
            _show_import(shown)
            say_notes(notes)
        if not dry_run:
            with store.at_once():
                change = plan_import(entries, source, store, now, zone)
                booking.take_in(store, change, now)
    if as_json:
        emit_import(
            change,
            partial(talk_document, zone=zone),
            talk_import.differences,
            notes,
            dry_run=dry_run,
        )
        return
    if not change.same_as(shown):
        say("somebody changed the store meanwhile; this was written:")
        _show_import(change)
    say(summary(change, "talk" if len(change.rows) == 1 else "talks", dry_run=dry_run))


def _show_import(change: TalkImport) -> None:
    from speakerbot.formats import talk_import

    columns = ("when", "topic") if narrow() else ("when", "speaker", "topic")
    show_rows(change.rows, columns, _imported, talk_import.differences)


def _imported(talk: Talk) -> tuple[object, ...]:
    if narrow():
        return (_when(talk), shorten(talk.topic, NARROW_TOPIC))
    return (_when(talk), _names(talk), _brief(talk) if on_terminal() else talk.topic)


@app.command(epilog="Example: speakerbot talks template -o talks.xlsx")
def template(output: Output = None) -> None:
    """Write an empty sheet to fill in and import: CSV, or .xlsx where FILE ends so.

    Its example row is left out by import.
    """
    from speakerbot.formats import talk_files

    kind = form_of(None, output, {".csv": "csv", ".xlsx": "xlsx"}, "csv")
    pieces = [talk_files.template_workbook()] if kind == "xlsx" else talk_files.write_template()
    write_export(pieces, output)


TalkForm = Literal["jsonl", "csv", "ics"]
TALK_FORMS: dict[str, TalkForm] = {
    ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".ics": "ics",
}  # fmt: skip


@app.command("export", epilog="Example: speakerbot talks export -o talks.ics")
def export_talks(
    form: Annotated[
        TalkForm | None,
        typer.Option(
            "--format",
            help="jsonl (the default) keeps everything; csv for spreadsheets; ics. Else as FILE "
            "ends.",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Write all talks: as mongoexport does, as CSV, or as a calendar.

    CSV cells that a spreadsheet would run as formulas get an apostrophe in front; import takes
    it off again.
    """
    chosen = form_of(form, output, TALK_FORMS, "jsonl")
    with to_read() as (store, settings):
        write_export(_exported(chosen, store, settings), output)


def _exported(form: TalkForm, store: Store, settings: Settings) -> Iterator[str]:
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
        from speakerbot.formats import calendar_file

        shown = booking.current(store.calendar.all(), store.talks.all(), real_now())
        yield from calendar_file.write_calendar(shown, settings.timezone)


def _require_free(store: Store, day: date) -> None:
    if not store.talks.one_a_date:
        return
    if holder := next(store.talks.between(day, day), None):
        raise DateTaken(
            f"{day} is taken by talk {holder.id} ({about(holder)}). One talk a date, as the Node "
            "bot has it: choose another, or reschedule or cancel that talk first."
        )


def _day(talk: Talk) -> str:
    return f"{talk.date:%a %Y-%m-%d}"


def _when(talk: Talk) -> str:
    return f"{_day(talk)} {start_of(talk)}".rstrip()


def _names(talk: Talk) -> str:
    return ", ".join(each.username for each in talk.speakers)


def _warn_if_over(talk: Talk, zone: ZoneInfo, now: datetime) -> None:
    if talk.over(zone) <= now:
        say(f"note: {talk.date} is over, so no reminder will be sent")
