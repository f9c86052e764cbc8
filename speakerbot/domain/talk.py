"""A talk, as both the Node bot's documents and our own tables hold it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Any, NamedTuple
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


LONGEST = 7 * 24 * 60
"""Minutes."""
LONGEST_LINK = 500
"""Characters."""


def talk_length(minutes: int) -> int:
    """The same length. Raises ValueError, with a message for people, if no talk can be so long."""
    if not 1 <= minutes <= LONGEST:
        raise ValueError(f"a length of {minutes} minutes is out of range; 1 minute to 7 days")
    return minutes


def talk_link(address: str) -> str:
    """The same address without the spaces around it. Raises ValueError, with a message for people,
    for anything that is not a web address, or too long a one for a message."""
    link = address.strip()
    if len(link) > LONGEST_LINK:
        raise ValueError(f"a link of {len(link)} characters is too long; at most {LONGEST_LINK}")
    host = link.partition("://")[2].partition("/")[0]
    known = link.lower().startswith(("https://", "http://"))
    if not known or not host or not link.isprintable() or any(mark in ' <>"' for mark in link):
        raise ValueError(f"{address!r} is not a link; write https://…")
    return link


class Speaker(NamedTuple):
    user_id: str
    """Their Discord id."""
    username: str
    """How messages call them."""


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
    length: int | None = None
    """Minutes."""
    room: str | None = None
    link: str | None = None
    co_speakers: tuple[Speaker, ...] = ()
    """Those who speak beside ``user_id``, as they are stored: see ``speakers``."""
    source_id: str | None = None
    """Which session of a programme it is, where `talks sync` brought it:
    ``pretalx:<host>/<event>:<code>``."""
    speakers_known: bool = field(default=True, compare=False)
    """False where one is stored that cannot be read: then no one is told of being removed."""

    @property
    def speakers(self) -> tuple[Speaker, ...]:
        """Everybody who speaks, the main speaker first, each once."""
        if not self.co_speakers:
            return (Speaker(self.user_id, self.username),)
        everybody = {self.user_id: Speaker(self.user_id, self.username)}
        for each in self.co_speakers:
            everybody.setdefault(each.user_id, each)
        return tuple(everybody.values())

    def views(self) -> Iterator[Talk]:
        """The talk as each of its speakers has it, the main speaker's first."""
        views = (self.seen_by(each.user_id) for each in self.speakers)
        return (view for view in views if view is not None)

    def seen_by(self, user_id: str) -> Talk | None:
        """The talk as one of its speakers has it: theirs are the speaker's id and name, the others
        are co-speakers. None for anybody else."""
        if user_id == self.user_id:
            return self
        for each in self.co_speakers:
            if each.user_id == user_id:
                others = tuple(other for other in self.speakers if other.user_id != user_id)
                return replace(self, user_id=user_id, username=each.username, co_speakers=others)
        return None

    def start(self, zone: ZoneInfo) -> datetime | None:
        """The instant the talk starts, or None for a date-only talk."""
        if self.starts_at is None:
            return None
        return instant(self.date, self.starts_at, zone)

    def over(self, zone: ZoneInfo) -> datetime:
        """The instant the talk's calendar day ends in ``zone``."""
        return instant(self.date + timedelta(days=1), time(), zone)


def by_start(talks: Iterable[Talk]) -> Iterator[Talk]:
    """Talks that come by date in the order in which each day has them: first those without a
    start."""
    for _, day in groupby(talks, key=lambda talk: talk.date):
        yield from sorted(day, key=lambda talk: (talk.starts_at or time.min, talk.id))
