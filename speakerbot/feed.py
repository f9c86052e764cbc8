"""What calendar programs are told of talks: a SEQUENCE that grows, and which talks are cancelled.

A program takes a change in, and a talk off its pages, only where the SEQUENCE has grown; nothing
tells it of a talk that merely went missing. So we keep an entry per talk as it was last shown, also
of those that are gone. Our own commands note their changes with :func:`note`, in the same write;
what others did, or what a crash left out, :func:`follow` finds by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.ports import Calendar
    from speakerbot.talks import Talk

CANCELLED_FOR = timedelta(days=90)
"""How long a cancelled talk stays in the calendar: programs that look seldom must see it too."""
CHUNK = 500


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """A talk as calendar programs are told of it; ``date`` and ``starts_at`` as in a Talk."""

    talk_id: str
    sequence: int
    date: date
    starts_at: time | None
    topic: str
    username: str
    cancelled: bool
    changed_at: datetime
    """When this version was noted; aware, in UTC."""

    def shows(self, talk: Talk) -> bool:
        """Whether a calendar needs no word of what the talk is now."""
        shown = (self.date, self.starts_at, self.topic, self.username)
        return not self.cancelled and shown == (
            talk.date,
            talk.starts_at,
            talk.topic,
            talk.username,
        )


def reconcile(
    talk: Talk | None, entry: CalendarEntry | None, now: datetime
) -> CalendarEntry | None:
    """The entry to write for a talk (None: it is gone); None if there is nothing to write."""
    if talk is None:
        if entry is None or entry.cancelled:
            return None
        return replace(entry, sequence=entry.sequence + 1, cancelled=True, changed_at=now)
    if entry is not None and entry.shows(talk):
        return None
    return CalendarEntry(
        talk_id=talk.id,
        sequence=entry.sequence + 1 if entry else 0,
        date=talk.date,
        starts_at=talk.starts_at,
        topic=talk.topic,
        username=talk.username,
        cancelled=False,
        changed_at=now,
    )


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
