"""What calendar programs are told of talks: a SEQUENCE that grows, and which talks are cancelled.

A program takes a change in, and a talk off its pages, only where the SEQUENCE has grown; nothing
tells it of a talk that merely went missing. So we keep an entry per talk as it was last shown, also
of those that are gone. Our own commands note their changes with :func:`note`, in the same write;
what others did, or what a crash left out, :func:`follow` finds by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from speakerbot.calendar_entry import CalendarEntry, reconcile

if TYPE_CHECKING:
    from speakerbot.ports import Calendar
    from speakerbot.talks import Talk

CANCELLED_FOR = timedelta(days=90)
"""How long a cancelled talk stays in the calendar: programs that look seldom must see it too."""
CHUNK = 500


def note(calendar: Calendar, talk_id: str, talk: Talk | None, now: datetime) -> None:
    """Notes what the talk is now; None: gone."""
    _write(calendar, [(talk, calendar.get(talk_id))], now)


def follow(calendar: Calendar, now: datetime) -> None:
    """Notes every talk that is not as its entry says."""
    differing = calendar.differing()
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
    then those cancelled of late. ``entries`` are read before ``talks``."""
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
