"""A talk as calendar programs were last told of it, and when that needs a new version. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.domain.talk import Talk


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """A talk as calendar programs are told of it; ``date``, ``starts_at``, ``length``, ``room`` and
    ``link`` as in a Talk."""

    talk_id: str
    sequence: int
    date: date
    starts_at: time | None
    topic: str
    username: str
    """Of everybody who speaks."""
    cancelled: bool
    changed_at: datetime
    """When this version was noted; aware, in UTC."""
    length: int | None = None
    room: str | None = None
    link: str | None = None

    def shows(self, talk: Talk) -> bool:
        """Whether a calendar needs no word of what the talk is now."""
        return self == _entry(talk, self.sequence, self.changed_at)


def _entry(talk: Talk, sequence: int, at: datetime) -> CalendarEntry:
    return CalendarEntry(
        talk_id=talk.id,
        sequence=sequence,
        date=talk.date,
        starts_at=talk.starts_at,
        topic=talk.topic,
        username=", ".join(each.username for each in talk.speakers),
        cancelled=False,
        changed_at=at,
        length=talk.length,
        room=talk.room,
        link=talk.link,
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
    return _entry(talk, entry.sequence + 1 if entry else 0, now)
