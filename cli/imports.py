"""Imports: the options they share, and what each row comes to; ``talks sync`` as a whole."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.open_store import all_or_nothing, to_change
from cli.options import AsJson, DryRun, Now, decision_time
from cli.output import amount, emit_json, on_terminal, plain, say, table
from cli.terminal import narrow
from speakerbot.text import shorten

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from speakerbot.config import Settings
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.import_rows import Difference, Import, Row
    from speakerbot.formats.programme_plan import SyncPlan, SyncRow, Unlinked
    from speakerbot.formats.sessions import Programme
    from speakerbot.formats.source import Source
    from speakerbot.formats.talk_fields import TalkEntry
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports.store import Store

T = TypeVar("T")

File = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        allow_dash=True,
        metavar="FILE",
        help="CSV, .xlsx, JSON lines or a JSON array; - is standard input.",
    ),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="What a column holds whose name does not say it; ignore leaves it out.",
    ),
]
MOST_DRAWN = 200
"""Rows of a drawn table; more are printed plainly, which takes a hundredth of the time."""
TOPIC_SHOWN = 60
UNLINKED_SHOWN = 30


def show_rows(
    rows: Sequence[Row[T]],
    columns: Sequence[str],
    cells: Callable[[T], Sequence[object]],
    differences: Callable[[Row[T]], Iterable[Difference]],
) -> None:
    """Each row with what it is now and, where it changes something, ``field: old → new``."""
    lines = (
        (row.place, row.change, *cells(row.after), "; ".join(_changes(differences(row))))
        for row in rows
    )
    header = ("row", "" if on_terminal() else "change", *columns, "changes")
    if on_terminal() and len(rows) > MOST_DRAWN:
        for line in lines:
            say("  ".join(plain(cell) for cell in line if cell != ""))
        return
    table(header, lines, empty="", whole=("row", "", "when"))


def _changes(differences: Iterable[Difference]) -> Iterator[str]:
    for name, old, new in differences:
        yield f"{name.replace('_', ' ')}: {old or '(none)'} → {new or '(none)'}"


def say_notes(notes: Iterable[str]) -> None:
    """What was understood of a file that people had better check."""
    for note in notes:
        say(plain(f"note: {note}"))


def emit_import(
    plan: Import[T],
    document: Callable[[T], dict[str, Any]],
    differences: Callable[[Row[T]], Iterable[Difference]],
    notes: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    """The same as one JSON document."""
    emit_json(
        {
            "dry_run": dry_run,
            "counts": counts(plan),
            "rows": [
                {
                    "row": row.place,
                    "change": row.change,
                    "changes": {
                        name: {"old": old or None, "new": new or None}
                        for name, old, new in differences(row)
                    },
                    **document(row.after),
                }
                for row in plan.rows
            ],
            "notes": list(notes),
        }
    )


def counts(plan: Import[T]) -> dict[str, int]:
    return {
        "new": len(plan.new),
        "changed": len(plan.updated),
        "unchanged": plan.unchanged,
    }


def summary(plan: Import[T], noun: str, *, dry_run: bool) -> str:
    """``imported 9 talks: 8 new, 1 changed, 0 unchanged``; ``noun`` fits the number."""
    each = ", ".join(f"{number:,} {change}" for change, number in counts(plan).items())
    return f"{'would import' if dry_run else 'imported'} {len(plan.rows):,} {noun}: {each}"


def plan_import(
    entries: list[TalkEntry], source: Source, store: Store, now: datetime, zone: ZoneInfo
) -> TalkImport:
    """What importing talks changes. Raises InputRefused with everything that is wrong, in the file
    and against the store."""
    from speakerbot.formats import talk_import

    change = talk_import.plan(
        entries, store.talks.all(), now, source.problems, zone, one_a_date=store.talks.one_a_date
    )
    if not entries and not source.problems.found:
        source.problems.add("", "there are no talks in it")
    source.problems.refuse()
    return change


def kept_as_they_came(entries: list[TalkEntry]) -> Iterator[str]:
    """A note on the fields of a file that nothing here uses."""
    if unknown := sorted({name for entry in entries for name in entry.extra}):
        yield f"kept as they came, though nothing uses them: {', '.join(unknown)}"


def sync(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file or an address: pretalx's schedule.json or API, a calendar (.ics), or a "
            "sheet (CSV, .xlsx).",
        ),
    ],
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Cancel talks that the programme does not name any more."),
    ] = False,
    allow_mass_change: Annotated[
        bool,
        typer.Option("--allow-mass-change", help="Even if they are more than half of the coming."),
    ] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also from an address of a private network.")
    ] = False,
    mapped: Mapped = None,
    now: Now = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the talks equal to a programme, again and again; a talk that moved there moves here.

    Sessions whose speakers have no known Discord id are listed, not booked. Nothing is cancelled
    without --prune. SPEAKERBOT_SYNC_TOKEN is shown to the source, over https only.
    """
    from speakerbot import booking
    from speakerbot.clock import real_now
    from speakerbot.config import load

    settings, at = load(), decision_time(now)
    programme, name = _programme(source, mapped or [], settings, at, allow_private=allow_private)
    with to_change(dry_run=dry_run) as (store, _), all_or_nothing(store, dry_run=dry_run):
        change = _sync_plan(programme, name, store, settings, at, prune=prune)
        if not allow_mass_change:
            change.refuse_mass_change(name)
        if not dry_run:
            booking.synchronise(store, change, real_now())
    if as_json:
        emit_json(_sync_document(change, programme, name, dry_run=dry_run))
    else:
        _show_sync(change, programme, dry_run=dry_run)


def _programme(
    source: str, mapped: list[str], settings: Settings, now: datetime, *, allow_private: bool
) -> tuple[Programme, str]:
    """With the name of its source, for people."""
    from speakerbot.formats import programmes, talk_files, web_source

    fields = talk_files.SESSION_COLUMNS.parse_map(mapped)
    access = web_source.Access(settings.sync_token, allow_private)
    documents = web_source.load(source, access)
    programme = programmes.read(
        documents, settings.timezone, now, order=settings.date_order, mapped=fields
    )
    return programme, documents[0].name


def _sync_plan(
    programme: Programme, name: str, store: Store, settings: Settings, now: datetime, *, prune: bool
) -> SyncPlan:
    """Raises InputRefused with everything in the programme that does not fit the store."""
    from speakerbot.formats.problems import ImportProblems
    from speakerbot.formats.programme_plan import plan

    problems = ImportProblems(name)
    change = plan(
        programme,
        store.talks.all(),
        store.people.all(),
        now,
        settings.timezone,
        problems,
        prune=prune,
        one_a_date=store.talks.one_a_date,
    )
    problems.refuse()
    return change


def _show_sync(change: SyncPlan, programme: Programme, *, dry_run: bool) -> None:
    """What becomes of each session, and how speakers are linked who are not known."""
    counts = change.counts
    rows = [row for row in change.rows if row.state not in ("unchanged", "over")]
    _show_sync_rows(rows, change)
    told = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    done = "would sync" if dry_run else "synced"
    say(f"{done} {amount(len(programme.sessions), 'session')}: {told or 'there are none'}")
    say_notes(programme.notes)
    kept = counts["gone"] + counts["called off"] - len(change.to_cancel)
    if kept and any(row.before for row in rows if row.state in ("gone", "called off")):
        say("talks that are gone or called off stay; --prune cancels them")
    if change.unlinked:
        say("speakers without a known Discord id, who are not booked:")
        for line in _how_to_link(change):
            say(f"  {line}")


def _show_sync_rows(rows: Sequence[SyncRow], change: SyncPlan) -> None:
    lines = (_cells(row, change) for row in rows)
    if on_terminal() and len(rows) > MOST_DRAWN:
        for line in lines:
            say("  ".join(plain(cell) for cell in line if cell != ""))
        return
    columns = ("state", "when", "speakers", "topic", "change", "session")
    shown = len(columns) - narrow()  # there is no room for the last one
    if rows:
        table(columns[:shown], (line[:shown] for line in lines), empty="", whole=("state", "when"))


def _cells(row: SyncRow, change: SyncPlan) -> tuple[object, ...]:
    shown = row.after or row.before
    topic = shown.topic if shown else row.session.topic if row.session else ""
    return (
        row.state,
        _when(row),
        ", ".join(_names(row)),
        shorten(topic, TOPIC_SHOWN) if on_terminal() else topic,
        "; ".join(_sync_changes(row, change)),
        row.session.id if row.session else shown.source_id if shown else "",
    )


def _when(row: SyncRow) -> str:
    talk: Talk | None = row.after or row.before
    day, start = None, None
    if talk is not None:
        day, start = talk.date, talk.starts_at
    elif row.session is not None:
        day, start = row.session.day, row.session.starts_at
    return " ".join(
        filter(None, (f"{day:%a %Y-%m-%d}" if day else "", f"{start:%H:%M}" if start else ""))
    )


def _names(row: SyncRow) -> Iterator[str]:
    if talk := row.after or row.before:
        yield from (each.username for each in talk.speakers)
    elif row.session is not None:
        yield from (guest.name for guest in row.session.guests)


def _sync_changes(row: SyncRow, change: SyncPlan) -> Iterator[str]:
    for name, old, new in row.differences:
        if name == "source_id":
            if not old:
                yield "booked by hand, now known by its session"
        else:
            yield f"{name.replace('_', ' ')}: {old or '(none)'} → {new or '(none)'}"
    if row.state in ("gone", "called off") and row.before:
        yield "cancelled" if change.prune else "kept"


def _how_to_link(change: SyncPlan) -> Iterator[str]:
    for unlinked in change.unlinked[:UNLINKED_SHOWN]:
        about = ", ".join(repr(shorten(topic, 40)) for topic in unlinked.topics[:2])
        yield plain(f"{unlinked.name} ({about}): {_link_command(unlinked)}")
    if (more := len(change.unlinked) - UNLINKED_SHOWN) > 0:
        yield f"… and {more:,} more; --json lists all"


def _link_command(unlinked: Unlinked) -> str:
    if unlinked.ambiguous:
        return "several people have this name: give their Discord ids in the programme"
    return f"speakerbot people link {shlex.quote(unlinked.name)} --discord ID"


def _sync_document(
    change: SyncPlan, programme: Programme, name: str, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "source": name,
        "source_id": programme.source,
        "dry_run": dry_run,
        "counts": change.counts,
        "cancelled": [talk.id for talk in change.to_cancel],
        "rows": [_row_document(row) for row in change.rows],
        "unlinked": [
            {
                "name": each.name,
                "handle": each.handle,
                "topics": list(each.topics),
                "how": _link_command(each),
            }
            for each in change.unlinked
        ],
        "notes": list(programme.notes),
    }


def _row_document(row: SyncRow) -> dict[str, Any]:
    talk, session = row.after or row.before, row.session
    day = talk.date if talk else session.day if session else None
    start = talk.starts_at if talk else session.starts_at if session else None
    return {
        "state": row.state.value,
        "session": session.id if session else None,
        "talk": talk.id if talk else None,
        "date": day.isoformat() if day else None,
        "starts_at": f"{start:%H:%M}" if start else None,
        "speakers": list(_names(row)),
        "topic": talk.topic if talk else session.topic if session else None,
        "changes": {
            name: {"old": old or None, "new": new or None} for name, old, new in row.differences
        },
    }
