"""How our own commands change talks: together with what calendars are told of it.

Each is all or nothing where the store has transactions. Elsewhere the talk is noted as it was, then
changed, then noted again: whatever a crash leaves out, :func:`follow` finds by comparing.

Calendar programs are told of a SEQUENCE that grows, and of cancelled talks. A program takes a
change in, and a talk off its pages, only where the SEQUENCE has grown; nothing tells it of a talk
that merely went missing. So we keep an entry per talk as it was last shown, also
of those that are gone. Our own commands note their changes with :func:`note`, in the same write;
what others did, or what a crash left out, :func:`follow` finds by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from speakerbot.domain.calendar_entry import CalendarEntry, reconcile

if TYPE_CHECKING:
    from speakerbot.domain.talk import Talk
    from speakerbot.formats.programme_plan import SyncPlan
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports.store import Calendar, Store


def add(store: Store, talk: Talk, now: datetime) -> None:
    """Books a new talk. Raises DateTaken."""
    with store.at_once():
        store.talks.put([talk])
        note(store.calendar, talk.id, talk, now)


def move(store: Store, talk: Talk, to: date, now: datetime) -> bool:
    """Moves a talk to another date. False: gone. Raises DateTaken."""
    with store.at_once():
        note(store.calendar, talk.id, talk, now)
        moved = store.talks.reschedule(talk.id, to)
        note(store.calendar, talk.id, replace(talk, date=to) if moved else None, now)
        return moved


def edit(store: Store, before: Talk, after: Talk, now: datetime) -> bool:
    """Changes what differs, the date apart. False: gone."""
    with store.at_once():
        note(store.calendar, before.id, before, now)
        edited = store.talks.edit(before, after)
        note(store.calendar, before.id, after if edited else None, now)
        return edited


def cancel(store: Store, talk: Talk, now: datetime) -> bool:
    """Cancels a talk. False: it was gone."""
    with store.at_once():
        note(store.calendar, talk.id, talk, now)
        cancelled = store.talks.delete(talk.id)
        note(store.calendar, talk.id, None, now)
        return cancelled


def take_in(store: Store, change: TalkImport, now: datetime) -> None:
    """Writes what an import changes, but for flags that somebody has set since it was planned.
    Raises DateTaken."""
    with store.at_once():
        follow(store.calendar, now)
        store.talks.put([*change.new, *change.updated])
        store.talks.write_flags(change.flags)
        follow(store.calendar, now)


def synchronise(store: Store, change: SyncPlan, now: datetime) -> None:
    """Writes what a programme changes, and what an earlier sync that was interrupted has left out;
    nothing where there is nothing. Raises DateTaken."""
    with store.at_once():
        follow(store.calendar, now)
        for talk in change.to_cancel:
            store.talks.delete(talk.id)
        if to_put := change.to_put:
            store.talks.put(to_put)
        if to_put or change.to_cancel:
            follow(store.calendar, now)


CANCELLED_FOR = timedelta(days=90)
"""How long a cancelled talk stays in the calendar: programs that look seldom must see it too."""
CHUNK = 500


def note(calendar: Calendar, talk_id: str, talk: Talk | None, now: datetime) -> None:
    """Notes what the talk is now; None: gone."""
    _write(calendar, [(talk, calendar.get(talk_id))], now)


def follow(calendar: Calendar, now: datetime, since: date | None = None) -> None:
    """Notes every talk that is not as its entry says, of those dated ``since`` or later, now or as
    they were shown (None: all)."""
    differing = calendar.differing(since)
    while chunk := list(islice(differing, CHUNK)):
        _write(calendar, chunk, now)


def _write(
    calendar: Calendar, pairs: Iterable[tuple[Talk | None, CalendarEntry | None]], now: datetime
) -> None:
    steps = [(entry, reconcile(talk, entry, now)) for talk, entry in pairs]
    calendar.advance([(before, after) for before, after in steps if after is not None])


def current(
    entries: Iterable[CalendarEntry], talks: Iterable[Talk], now: datetime
) -> Iterator[CalendarEntry]:
    """What a calendar shows now, as :func:`follow` would note it: every talk, in the order given,
    then those cancelled recently. ``entries`` are read before ``talks``."""
    known = {entry.talk_id: entry for entry in entries}
    for talk in talks:
        entry = known.pop(talk.id, None)
        shown = reconcile(talk, entry, now) or entry
        if shown is not None:
            yield shown
    for entry in known.values():
        cancelled = reconcile(None, entry, now) or entry
        if now < cancelled.changed_at + CANCELLED_FOR:
            yield cancelled
