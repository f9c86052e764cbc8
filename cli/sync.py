"""``speakerbot talks sync``: makes the talks equal to a programme that somebody else keeps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.open_store import all_or_nothing, to_change
from cli.options import AsJson, DryRun, Now, decision_time
from cli.output import amount, emit_json, on_terminal, plain, say, table
from speakerbot.text import shorten

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.config import Settings
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.programme_plan import SyncPlan, SyncRow, Unlinked
    from speakerbot.formats.sessions import Programme
    from speakerbot.ports.store import Store

TOPIC_SHOWN = 60
UNLINKED_SHOWN = 30


def sync(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file or an address: pretalx's schedule.json or API, or a calendar (.ics).",
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
    from speakerbot.formats import programmes, web_source

    settings, at = load(), decision_time(now)
    access = web_source.Access(settings.sync_token, allow_private)
    documents = web_source.load(source, access)
    programme = programmes.read(documents, settings.timezone, at)
    name = documents[0].name
    with (
        to_change(dry_run=dry_run) as (store, _),
        all_or_nothing(store, dry_run=dry_run),
    ):
        change = _plan(programme, name, store, settings, at, prune=prune)
        if not allow_mass_change:
            change.refuse_mass_change(name)
        if not dry_run:
            booking.synchronise(store, change, real_now())
    if as_json:
        emit_json(_document(change, programme, name, dry_run=dry_run))
    else:
        _show(change, programme, dry_run=dry_run)


def _plan(
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


def _show(change: SyncPlan, programme: Programme, *, dry_run: bool) -> None:
    counts = change.counts
    quiet = ("unchanged", "over")
    rows = [row for row in change.rows if row.state not in quiet]
    columns = ("state", "when", "speakers", "topic", "change", "session")
    lines = (_cells(row, change) for row in rows)
    if rows:
        table(columns, lines, empty="", whole=("state", "when"))
    told = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    done = "would sync" if dry_run else "synced"
    say(f"{done} {amount(len(programme.sessions), 'session')}: {told or 'there are none'}")
    for note in programme.notes:
        say(f"note: {note}")
    kept = counts["gone"] + counts["called off"] - len(change.to_cancel)
    if kept and any(row.before for row in rows if row.state in ("gone", "called off")):
        say("talks that are gone or called off stay; --prune cancels them")
    if change.unlinked:
        say("speakers without a known Discord id, who are not booked:")
        for line in _how_to_link(change):
            say(f"  {line}")


def _cells(row: SyncRow, change: SyncPlan) -> tuple[object, ...]:
    shown = row.after or row.before
    topic = shown.topic if shown else row.session.topic if row.session else ""
    return (
        row.state,
        _when(row),
        ", ".join(_names(row)),
        shorten(topic, TOPIC_SHOWN) if on_terminal() else topic,
        "; ".join(_changes(row, change)),
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


def _changes(row: SyncRow, change: SyncPlan) -> Iterator[str]:
    for name, old, new in row.differences:
        if name == "source_id":
            if not old:
                yield "booked by hand, now known by its session"
        else:
            yield f"{name.replace('_', ' ')}: {old or 'none'} → {new or 'none'}"
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


def _document(
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
        "changes": [
            {"field": field, "old": old or None, "new": new or None}
            for field, old, new in row.differences
        ],
    }
