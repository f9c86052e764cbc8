"""A talk, as both the Node bot's documents and our own tables hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
"""The dates that talks may have. A year around them nothing can leave the calendar yet, so that
days can be counted from any of them."""


def talk_day(day: date) -> date:
    """The same day. Raises ValueError, with a message for people, if no talk can be on it."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} is out of range; dates go from {FIRST_DAY} to {LAST_DAY}")
    return day


@dataclass(frozen=True, slots=True)
class Talk:
    """One booked talk. Instants are aware and in UTC; ``date`` is the community's calendar day."""

    id: str
    user_id: str
    username: str
    topic: str
    date: date
    booked_at: datetime | None = None
    thread_id: str | None = None
    completed: bool = False
    scheduler_user_id: str | None = None
    scheduler_username: str | None = None
    starts_at: time | None = None
    """Clock time of the start in the community's zone: stays true when the date moves."""
    sent_tminus1_at: datetime | None = None
    sent_day_of_at: datetime | None = None
    """The Node bot's two flags. It leaves them set when it reschedules: see jobs.reminders."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the document that this product does not know, kept as they came."""

    def start(self, zone: ZoneInfo) -> datetime | None:
        """The instant the talk starts, or None for a date-only talk."""
        if self.starts_at is None:
            return None
        return instant(self.date, self.starts_at, zone)

    def over(self, zone: ZoneInfo) -> datetime:
        """The instant the talk's calendar day ends in ``zone``."""
        return instant(self.date + timedelta(days=1), time(), zone)
