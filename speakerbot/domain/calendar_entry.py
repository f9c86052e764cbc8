"""A talk as calendar programs were last told of it, and when that needs a new version. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.domain.talk import Talk


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
