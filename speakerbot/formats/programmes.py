"""Reads a programme, whoever keeps it: pretalx (its JSON export or its API), a calendar, a sheet.

Every format comes to the same sessions (:mod:`speakerbot.formats.sessions`). Breaks, and what
pretalx has not accepted, are left out; sessions that have no time yet come without a day.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from speakerbot.clock import read_zone
from speakerbot.config import DateOrder
from speakerbot.errors import SourceRefused, Unreachable
from speakerbot.formats.calendar_file import read_calendar
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.sessions import (
    MOST_GUESTS,
    Guest,
    Programme,
    Session,
    Unusable,
    discord_of,
    length_of,
    link_of,
    name_of,
    plain_id,
    plain_scope,
    topic_of,
    when,
)
from speakerbot.formats.source import source_of
from speakerbot.formats.talk_files import read_programme
from speakerbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from speakerbot.formats.web_source import Document

COMING = ("accepted", "confirmed")
CALLED_OFF = ("canceled", "withdrawn")
"""States of pretalx. The others (submitted, rejected, draft) are not public."""
_TALK_PAGE = re.compile(r"/talk/([A-Z0-9]{4,})/?")
_EVENT_OF_API = re.compile(r"/api/events/([^/]+)")


def read(
    documents: Sequence[Document],
    zone: ZoneInfo,
    now: datetime,
    order: DateOrder | None = None,
    mapped: Mapping[str, str] | None = None,
) -> Programme:
    """The programme in what was fetched. ``zone`` is the community's; ``order`` and ``mapped`` are
    for sheets, as for :func:`speakerbot.formats.talk_files.read`.

    Raises SourceRefused for what is not a programme, and InputRefused naming every session that
    cannot be read."""
    first = documents[0]
    head = first.data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise SourceRefused(f"{first.name} is empty; nothing was changed")
    problems = ImportProblems(first.name)
    if head.startswith((b"{", b"[")):
        programme = _Pretalx(documents, zone, problems).read()
    elif head.startswith(b"begin:vcalendar"):
        programme = read_calendar(first, zone, now, problems)
    elif head.startswith((b"<!doctype html", b"<html")) or "html" in first.content_type:
        raise _web_page(first)
    elif head.startswith(b"<"):
        raise SourceRefused(
            f"{first.name} is XML; pretalx writes the same as JSON: …/schedule/export/schedule.json"
        )
    else:
        source = source_of(first.data, first.name, Path(first.name).suffix)
        problems, today = source.problems, now.astimezone(zone).date()
        programme = read_programme(source, first.scope, zone, today, order, mapped)
    _name_doubles(programme.sessions, problems)
    problems.refuse()
    return programme


def _web_page(document: Document) -> SourceRefused:
    return SourceRefused(
        f"{document.name} is a web page, not a programme: it may want a login, or be the page "
        "about it. pretalx: …/schedule/export/schedule.json; Google Sheets: File, Share, "
        "Publish to web, as CSV; calendars: their address in iCal format"
    )


def _name_doubles(sessions: Iterable[Session], problems: ImportProblems) -> None:
    seen: dict[str, Session] = {}
    for session in sessions:
        if session.id in seen:
            problems.add(session.id, f"two sessions have this id: {session.topic!r} and "
                         f"{seen[session.id].topic!r}")  # fmt: skip
        seen[session.id] = session


# --- pretalx


class _Question(msgspec.Struct):
    identifier: str | None = None
    question: str | dict[str, str | None] | None = None


class _Answer(msgspec.Struct):
    answer: str | None = None
    question: int | str | _Question | None = None


class _Person(msgspec.Struct):
    name: str | None = None
    public_name: str | None = None
    code: str | None = None
    guid: str | None = None
    answers: list[int | _Answer] | None = None


class _Slot(msgspec.Struct):
    start: datetime | None = None
    end: datetime | None = None
    duration: int | None = None
    room: int | str | dict[str, Any] | None = None
    is_visible: bool = True


class _Submission(msgspec.Struct):
    code: str
    title: str | None = None
    speakers: list[str | _Person] = []  # msgspec copies it
    state: str | None = None
    duration: int | None = None
    slots: list[int | _Slot] | None = None
    slot: _Slot | None = None
    answers: list[int | _Answer] | None = None


class _SlotRow(_Slot):
    submission: str | _Submission | None = None


class _Event(msgspec.Struct):
    """A session in an export, as frab defined it and pretalx writes it."""

    title: str | None = None
    date: datetime | None = None
    duration: str | int | None = None
    room: str | None = None
    url: str | None = None
    code: str | None = None
    guid: str | None = None
    id: int | str | None = None
    persons: list[_Person] = []  # msgspec copies it
    answers: list[int | _Answer] | None = None


class _Day(msgspec.Struct):
    rooms: dict[str, list[msgspec.Raw]] = {}  # msgspec copies it


class _Conference(msgspec.Struct):
    days: list[_Day]
    acronym: str | None = None
    time_zone_name: str | None = None


class _Schedule(msgspec.Struct):
    conference: _Conference
    base_url: str | None = None
    url: str | None = None


class _Export(msgspec.Struct):
    schedule: _Schedule


class _Rows(msgspec.Struct):
    results: list[msgspec.Raw]
    count: int | None = None


class _Slots(msgspec.Struct):
    slots: list[msgspec.Raw]


_NOTHING = msgspec.Raw()


class _Probe(msgspec.Struct):
    """What a document, or a row of a list, is told by."""

    schedule: msgspec.Raw = _NOTHING
    results: msgspec.Raw = _NOTHING
    slots: msgspec.Raw = _NOTHING
    submission: msgspec.Raw = _NOTHING

    def has(self, name: str) -> bool:
        return bool(bytes(getattr(self, name)))


class _Pretalx:
    """pretalx's export or lists; sessions of several slots are several sessions."""

    def __init__(
        self, documents: Sequence[Document], zone: ZoneInfo, problems: ImportProblems
    ) -> None:
        self.documents, self.zone, self.problems = documents, zone, problems
        self.own_zone = zone
        self.address = urlsplit(documents[0].url or "")
        found = _EVENT_OF_API.search(self.address.path)
        self.event = found[1] if found else "event"
        self.host = documents[0].host if documents[0].url else ""
        self.by_code: dict[str, list[Session]] = defaultdict(list)
        self.rows = self.promised = 0
        """Of a list, how many came, and how many it says that it has."""
        self.notes: list[str] = []

    def read(self) -> Programme:
        for document in self.documents:
            self._document(document)
        host = self.host or self.documents[0].host
        self._check_whole()
        event = plain_scope(self.event)
        return Programme(f"pretalx:{host}/{event}:", self._numbered(), notes=tuple(self.notes))

    def _check_whole(self) -> None:
        """A row that moved to a page that was read already must not look as if it were gone."""
        if self.rows >= self.promised:
            return
        name = self.documents[0].name
        if self.documents[0].url is None:
            raise SourceRefused(f"{name} holds {self.rows} of {self.promised} rows: save all pages")
        raise Unreachable(
            f"{name}: the list changed while it was read ({self.rows} of {self.promised} rows "
            "came); nothing was changed, try again"
        )

    def _numbered(self) -> tuple[Session, ...]:
        """The first slot of a submission goes by its code, further ones by their number too."""

        def order(session: Session) -> tuple[date, time, str]:
            return session.day or date.max, session.starts_at or time.min, session.room or ""

        return tuple(
            replace(session, id=code if number == 1 else f"{code}-{number}", series=code)
            for code, slots in self.by_code.items()
            for number, session in enumerate(sorted(slots, key=order), 1)
        )

    def _document(self, document: Document) -> None:
        try:
            if document.data.lstrip()[:1] == b"[":
                self._rows(msgspec.json.decode(document.data, type=list[msgspec.Raw]))
                return
            probe = msgspec.json.decode(document.data, type=_Probe)
            if probe.has("schedule"):
                self._export(msgspec.json.decode(document.data, type=_Export).schedule)
            elif probe.has("results"):
                page = msgspec.json.decode(document.data, type=_Rows)
                self.promised = page.count or 0
                self._rows(page.results)
            elif probe.has("slots"):
                self._rows(msgspec.json.decode(document.data, type=_Slots).slots)
            else:
                raise SourceRefused(
                    f"{document.name} is JSON, but neither an export of pretalx (schedule.json) "
                    "nor a list of its API (…/api/events/EVENT/submissions/)"
                )
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise SourceRefused(
                f"{document.name} is not JSON as pretalx writes it: {error}"
            ) from error

    def _export(self, schedule: _Schedule) -> None:
        conference = schedule.conference
        self.event = conference.acronym or self.event
        self.host = self.host or urlsplit(schedule.base_url or schedule.url or "").netloc
        if conference.time_zone_name:
            try:
                self.own_zone = read_zone(conference.time_zone_name)
            except ValueError as problem:
                self.notes.append(f"time_zone_name: {problem}; yours is used where it matters")
        for number, day in enumerate(conference.days, 1):
            for room, events in day.rooms.items():
                for index, raw in enumerate(events, 1):
                    place = f"day {number}, {one_line(room)}, session {index}"
                    self._take(place, partial(self._of_event, raw, room))

    def _rows(self, rows: Iterable[msgspec.Raw]) -> None:
        for raw in rows:
            self.rows += 1
            self._take(f"row {self.rows}", partial(self._of_row, raw))

    def _take(self, place: str, sessions: Callable[[], Iterable[Session]]) -> None:
        try:
            for session in sessions():
                self.by_code[session.id].append(session)
        except (Unusable, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            self.problems.add(place, str(problem))

    def _of_event(self, raw: msgspec.Raw, room: str) -> Iterator[Session]:
        event = msgspec.json.decode(raw, type=_Event)
        page = _TALK_PAGE.search(event.url or "")
        code = event.code or (page[1] if page else None) or event.guid or event.id
        if not event.persons and not event.title:
            return
        if code is None:
            raise Unusable("it has neither code, guid nor id")
        if event.date is None:
            raise Unusable("it has no date")
        day, starts_at = when(event.date, self.own_zone, self.zone)
        yield Session(
            id=plain_id(str(code)),
            topic=topic_of(event.title),
            guests=self._guests(event.persons, event.answers),
            day=day,
            starts_at=starts_at,
            length=length_of(_minutes(event.duration)),
            room=name_of(event.room or room) or None,
            link=link_of(event.url),
        )

    def _of_row(self, raw: msgspec.Raw) -> Iterator[Session]:
        if not msgspec.json.decode(raw, type=_Probe).has("submission"):
            submission = msgspec.json.decode(raw, type=_Submission)
            slots = [*(submission.slots or ()), *([submission.slot] if submission.slot else ())]
            yield from self._of_submission(submission, slots)
            return
        row = msgspec.json.decode(raw, type=_SlotRow)
        if isinstance(row.submission, str):
            raise Unusable(f"submission {row.submission} is only named; add "
                            "?expand=room,submission.speakers to the address")  # fmt: skip
        if row.submission is not None:  # else a break
            yield from self._of_submission(row.submission, [row])

    def _of_submission(
        self, submission: _Submission, slots: Sequence[int | _Slot]
    ) -> Iterator[Session]:
        state = submission.state or "confirmed"
        if state not in COMING + CALLED_OFF:
            return
        session = Session(
            id=plain_id(submission.code),
            topic=topic_of(submission.title),
            guests=self._guests(submission.speakers, submission.answers),
            length=length_of(submission.duration),
            link=self._page(submission.code),
            cancelled=state in CALLED_OFF,
        )
        timed = [self._in(session, slot) for slot in slots if not isinstance(slot, int)]
        if len(timed) < len(slots):
            raise Unusable(f"the slots of {submission.code} are only named; add "
                            "?expand=speakers,slots.room to the address")  # fmt: skip
        yield from timed or [session]

    def _in(self, session: Session, slot: _Slot) -> Session:
        if slot.start is None or not slot.is_visible:
            return session
        day, starts_at = when(slot.start, self.own_zone, self.zone)
        minutes = slot.duration or session.length
        if not minutes and slot.end:
            minutes = round((slot.end - slot.start).total_seconds() / 60)
        return replace(
            session, day=day, starts_at=starts_at, length=length_of(minutes), room=_room(slot.room)
        )

    def _page(self, code: str) -> str | None:
        if not _EVENT_OF_API.search(self.address.path):
            return None
        return link_of(f"{self.address.scheme}://{self.address.netloc}/{self.event}/talk/{code}/")

    def _guests(
        self, people: Sequence[str | _Person], answers: Sequence[int | _Answer] | None
    ) -> tuple[Guest, ...]:
        if only_named := [person for person in people if isinstance(person, str)]:
            raise Unusable(f"speaker {only_named[0]} is only named; add "
                            "?expand=speakers,slots.room to the address")  # fmt: skip
        guests = [_guest(person) for person in people if isinstance(person, _Person)]
        if len(guests) == 1 and guests[0].user_id is None and (given := _discord_answer(answers)):
            user_id, handle = discord_of(given)
            guests = [replace(guests[0], user_id=user_id, handle=handle)]
        return tuple(guest for guest in guests if guest.name)[:MOST_GUESTS]


def _guest(person: _Person) -> Guest:
    given = _discord_answer(person.answers)
    user_id, handle = discord_of(given) if given else (None, None)
    return Guest(
        name_of(person.name or person.public_name), user_id, handle, person.code or person.guid
    )


def _discord_answer(answers: Sequence[int | _Answer] | None) -> str | None:
    """What was answered to a question about Discord."""
    for answer in answers or ():
        if isinstance(answer, _Answer) and answer.answer and "discord" in _asked(answer.question):
            return answer.answer
    return None


def _asked(question: int | str | _Question | None) -> str:
    if isinstance(question, _Question):
        text = question.question
        texts = [text] if isinstance(text, str) else list((text or {}).values())
        return " ".join(each for each in (question.identifier, *texts) if each).casefold()
    return question.casefold() if isinstance(question, str) else ""


def _room(room: int | str | Mapping[str, Any] | None) -> str | None:
    """Its name; in English where it has several."""
    if isinstance(room, Mapping):
        name = room.get("name", room)
        if isinstance(name, Mapping):
            texts = [text for text in (name.get("en"), *name.values()) if isinstance(text, str)]
            name = next(filter(None, texts), None)
        room = name if isinstance(name, str) else None
    return (name_of(room) or None) if isinstance(room, str) else None


def _minutes(duration: str | int | None) -> float | None:
    """``hh:mm``, or ``d:hh:mm``."""
    if not isinstance(duration, str):
        return duration
    parts = duration.split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdecimal() and len(part) < 5 for part in parts):
        return None
    days, hours, minutes = [0, *map(int, parts)][-3:]
    return (days * 24 + hours) * 60 + minutes
