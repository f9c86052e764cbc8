"""Events of the community's server that mirror talks: what to do about each, decided purely.

What we wrote last is remembered per talk (:class:`EventRecord`). What stands on the server and is
neither that, nor what we were just writing, was edited by a person, and stays. Nothing is written
before the record says so: a run that dies leaves a claim, which later runs leave alone until its
lease is over, and then compare with what the server shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple
from urllib.parse import quote, unquote

from speakerbot.domain.service_request import ServiceRequest
from speakerbot.text import name_custom_emoji

MARKER = "speakerbot:"
_MARKED = re.compile(rf"{MARKER}(\S+)\s*\Z")
MOST_EVENTS = 100
"""Scheduled or running on a server at the same time: Discord's limit."""

EventField = Literal["name", "description", "place", "time"]
FIELDS: tuple[EventField, ...] = ("name", "description", "place", "time")
_PARTS = {"time": ("starts_at", "ends_at")}


class EventStatus(StrEnum):
    SCHEDULED = "scheduled"
    RUNNING = "running"
    OVER = "over"
    """Ended or cancelled."""


class EventDetails(NamedTuple):
    """What people see of an event. Instants are aware, in UTC."""

    name: str
    description: str
    place: str
    starts_at: datetime
    ends_at: datetime

    def same(self, field: EventField, other: EventDetails) -> bool:
        """Whether a field is the same in both. The server may have trimmed a text, or written
        custom emoji by their names. Start and end are one field: neither makes sense with
        another's other."""
        if field == "time":
            return (self.starts_at, self.ends_at) == (other.starts_at, other.ends_at)
        return _as_stored(getattr(self, field)) == _as_stored(getattr(other, field))

    def taking(self, fields: Sequence[EventField], other: EventDetails) -> EventDetails:
        """The same with these fields of another."""
        names = [name for field in fields for name in _PARTS.get(field, (field,))]
        return self._replace(**{name: getattr(other, name) for name in names})


def _as_stored(text: str) -> str:
    return name_custom_emoji(text).strip()


class ServerEvent(NamedTuple):
    """An event as it stands on the server."""

    id: str
    details: EventDetails
    status: EventStatus
    ours: bool
    """The bot we are made it."""

    @property
    def talk_id(self) -> str | None:
        """Of the talk that its description names at the end; None: it names none."""
        named = _MARKED.search(self.details.description)
        return unquote(named[1]) if named else None


class EventRecord(NamedTuple):
    """What we remember of one talk's event."""

    talk_id: str
    revision: str
    """Of each record another one, ever."""
    at: datetime
    """Real time: when the run that left it so had looked at the server."""
    event_id: str | None
    """None: it is being made, or was refused."""
    written: EventDetails | None = None
    """What we asked for last, as far as it was done; None: nothing yet."""
    stands: EventDetails | None = None
    """How the server has shown that."""
    writing: EventDetails | None = None
    """What a run is about to write, or died over; or what was refused."""
    refused: str = ""
    """Why the server does not take ``writing``: it is not tried again until that is another."""

    @property
    def claimed(self) -> bool:
        return self.writing is not None and not self.refused

    def says(self, other: EventRecord) -> bool:
        """The same as another, whatever its revision and its time."""
        return self._replace(revision=other.revision, at=other.at) == other


class EventChange(NamedTuple):
    """One step of a talk's record, from exactly ``before`` (None: none is stored) to ``after``
    (None: it is forgotten)."""

    talk_id: str
    before: EventRecord | None
    after: EventRecord | None


class Wanted(NamedTuple):
    """What a talk wants of its event."""

    details: EventDetails | None
    """None: no event is stored."""
    why: str = ""
    """Then: in words for people."""
    began: bool = False
    """Then: only because the talk has begun."""


class Sight(NamedTuple):
    """One look at the server."""

    now: datetime
    """Decision time."""
    at: datetime
    """Real time, right before it was asked."""
    lease: timedelta
    """Within which another run may still be at what it has claimed, or may have made an event that
    this look did not see yet."""
    revision: str
    """That the records get which this look leads to; another one in each run."""


class Make(NamedTuple):
    """An event is wanted and does not exist. ``claim`` is won first."""

    claim: EventChange
    details: EventDetails


class Update(NamedTuple):
    """These fields of an event are to be as in ``details``; all others are a person's, or as they
    should be. ``claim`` is won first."""

    claim: EventChange
    event: ServerEvent
    fields: tuple[EventField, ...]
    details: EventDetails


class Remove(NamedTuple):
    """An event is not to be there."""

    event: ServerEvent
    record: EventRecord | None
    """To be forgotten with it."""
    why: str


class Leave(NamedTuple):
    """Something is not as the talk has it, and stays so."""

    name: str
    """Of the event."""
    why: str
    unrendered: bool = False
    """Its text cannot be made."""
    until: datetime | None = None
    """Real time: then it may be taken up again."""


class Note(NamedTuple):
    """Only the record changes."""

    change: EventChange


Verdict = Make | Update | Remove | Leave | Note


def marker(talk_id: str) -> str:
    """What the description of a talk's event ends with."""
    return MARKER + quote(talk_id, safe=":/")


def consider(
    talk_id: str,
    wanted: Wanted,
    record: EventRecord | None,
    events: Sequence[ServerEvent],
    sight: Sight,
) -> Iterator[Verdict]:
    """What follows for one talk. ``events`` are our own on the server that name it, or that
    the record names: the oldest counts, and those that have not begun are folded into it."""
    by_age = sorted(events, key=lambda event: int(event.id))
    for double in by_age[1:]:
        if double.status == EventStatus.SCHEDULED:
            yield Remove(double, None, "the talk has an older one")
    standing = by_age[0] if by_age else None
    fresh = record is not None and sight.at < record.at + sight.lease
    if record and record.claimed and fresh:
        until = record.at + sight.lease
        yield Leave(_name(record, standing), "another run is at it", until=until)
    elif standing is None:
        yield from _absent(talk_id, wanted, record, sight, fresh=fresh)
    elif standing.status != EventStatus.SCHEDULED:
        written, stands = _seen(record, standing)
        yield from _noted(
            EventRecord(talk_id, sight.revision, sight.at, standing.id, written, stands), record
        )
        if written != wanted.details and not wanted.began:
            yield Leave(standing.details.name, f"it is {standing.status}")
    elif wanted.details is None:
        yield from _unwanted(wanted, record, standing, sight)
    else:
        yield from _present(talk_id, wanted.details, record, standing, sight)


def _absent(
    talk_id: str, wanted: Wanted, record: EventRecord | None, sight: Sight, *, fresh: bool
) -> Iterator[Verdict]:
    details = wanted.details
    if details is None:
        if record and not fresh:
            yield Note(EventChange(talk_id, record, None))
        return
    if record and record.refused and record.writing == details:
        yield Leave(details.name, record.refused)
    elif record and record.event_id and record.written and record.written.same("time", details):
        yield Leave(details.name, "somebody deleted or ended it: it comes back if the talk moves")
    elif record and record.event_id and fresh:
        until = record.at + sight.lease
        yield Leave(details.name, "another run has just made one", until=until)
    else:
        claim = EventRecord(talk_id, sight.revision, sight.at, None, writing=details)
        yield Make(EventChange(talk_id, record, claim), details)


def _unwanted(
    wanted: Wanted, record: EventRecord | None, event: ServerEvent, sight: Sight
) -> Iterator[Verdict]:
    if wanted.began and event.details.starts_at <= sight.now:
        return  # it begins just now
    if wanted.began and record and record.stands and not record.stands.same("time", event.details):
        yield Leave(event.details.name, "its time was edited on the server")
    else:
        yield Remove(event, record, wanted.why)


def _seen(record: EventRecord | None, event: ServerEvent) -> tuple[EventDetails, EventDetails]:
    """What was written of an event, and how the server showed that, now that it was seen: whether
    what a run died over was done."""
    if record is None or record.event_id not in (None, event.id):
        return event.details, event.details
    if record.event_id is None or record.written is None or record.stands is None:
        return record.writing or event.details, event.details
    written, stands = record.written, record.stands
    if record.writing and not record.refused:
        done = [field for field in FIELDS if record.writing.same(field, event.details)]
        return written.taking(done, record.writing), stands.taking(done, event.details)
    return written, stands


def _present(
    talk_id: str,
    details: EventDetails,
    record: EventRecord | None,
    event: ServerEvent,
    sight: Sight,
) -> Iterator[Verdict]:
    written, stands = _seen(record, event)
    as_wanted = [field for field in FIELDS if details.same(field, event.details)]
    written, stands = written.taking(as_wanted, details), stands.taking(as_wanted, event.details)
    theirs = [field for field in FIELDS if not stands.same(field, event.details)]
    for field in theirs:
        yield Leave(event.details.name, f"its {field} was edited on the server, and stays")
    base = EventRecord(talk_id, sight.revision, sight.at, event.id, written, stands)
    fields = tuple(f for f in FIELDS if f not in theirs and not written.same(f, details))
    writing = written.taking(fields, details)
    if not fields:
        yield from _noted(base, record)
    elif record and record.refused and record.writing == writing:
        yield Leave(event.details.name, record.refused)
    else:
        claim = base._replace(writing=writing)
        yield Update(EventChange(talk_id, record, claim), event, fields, details)


def _noted(base: EventRecord, record: EventRecord | None) -> Iterator[Note]:
    if record is None or not base.says(record):
        yield Note(EventChange(base.talk_id, record, base))


def _name(record: EventRecord, event: ServerEvent | None) -> str:
    details = event.details if event else record.writing or record.stands
    return details.name if details else record.talk_id


def made(claim: EventRecord, event: ServerEvent, revision: str) -> EventChange:
    """The claim is fulfilled: the event was made, or updated, and stands so."""
    written = claim.writing or event.details
    stands = event.details
    if claim.written and claim.stands:
        ours = [field for field in FIELDS if not claim.written.same(field, written)]
        stands = claim.stands.taking(ours, event.details)
    after = EventRecord(claim.talk_id, revision, claim.at, event.id, written, stands)
    return EventChange(claim.talk_id, claim, after)


def not_made(claim: EventRecord, revision: str, refused: str = "") -> EventChange:
    """The claim is given up: nothing was written. ``refused``: nor will it be, as it is."""
    after: EventRecord | None = claim._replace(
        revision=revision, refused=refused, writing=claim.writing if refused else None
    )
    if claim.event_id is None and not refused:
        after = None
    return EventChange(claim.talk_id, claim, after)


class EventList(NamedTuple):
    """What stands on a server."""

    events: tuple[ServerEvent, ...]
    """Those that are scheduled or running, of anybody."""
    at: datetime
    """Real time, right before it was asked."""


@dataclass(frozen=True, slots=True)
class _OfServer:
    """Is about the events of one server: they go one after another."""

    setting: ClassVar[str] = "DISCORD_GUILD_ID"

    guild_id: str

    @property
    def target(self) -> str:
        return self.guild_id


@dataclass(frozen=True, slots=True)
class ListEvents(_OfServer, ServiceRequest[EventList]):
    """Those that are scheduled or running."""


@dataclass(frozen=True, slots=True)
class MakeEvent(_OfServer, ServiceRequest[ServerEvent]):
    """Twice makes two: its claim is won first, it is not repeated by itself where an answer was
    lost, and it does not leave after ``until`` (real time), when the claim may be another run's."""

    changes: ClassVar[bool] = True

    claim: EventRecord
    details: EventDetails
    until: datetime

    def assumed(self) -> ServerEvent:
        from hashlib import sha256  # a preview's only

        digest = sha256(self.claim.talk_id.encode()).digest()
        event_id = str(int.from_bytes(digest[:7]))
        return ServerEvent(event_id, self.details, EventStatus.SCHEDULED, ours=True)


@dataclass(frozen=True, slots=True)
class UpdateEvent(_OfServer, ServiceRequest[ServerEvent]):
    """Gives an event these fields; doing so again changes nothing. As MakeEvent, not after
    ``until``."""

    changes: ClassVar[bool] = True

    claim: EventRecord
    event_id: str
    fields: tuple[EventField, ...]
    details: EventDetails
    until: datetime

    def assumed(self) -> ServerEvent:
        shown = (self.claim.stands or self.details).taking(self.fields, self.details)
        return ServerEvent(self.event_id, shown, EventStatus.SCHEDULED, ours=True)


@dataclass(frozen=True, slots=True)
class RemoveEvent(_OfServer, ServiceRequest[None]):
    """Deletes an event; one that is gone already is content with that."""

    changes: ClassVar[bool] = True

    event: ServerEvent
    record: EventRecord | None
    """To be forgotten with it."""
    why: str
