"""Sessions of a programme that somebody else keeps, who its speakers are here, and what all its
readers share.

Whoever wrote it is not trusted: texts are cut, ids made plain, and what is not a link is left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from hashlib import sha256
from zoneinfo import ZoneInfo

from speakerbot.domain.person import Person, plain_name, programme_names
from speakerbot.domain.talk import Speaker, Talk, talk_day, talk_length, talk_link
from speakerbot.text import one_line, shorten

LONGEST_TOPIC, LONGEST_NAME, LONGEST_LINK, LONGEST_ID = 500, 100, 1000, 100
MOST_GUESTS = 20
"""Of one session."""
_DISCORD_ID = re.compile(r"<@!?(\d{15,20})>|(\d{15,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Guest:
    """Who speaks, as the source knows them."""

    name: str
    user_id: str | None = None
    """Their Discord id, where the source tells."""
    handle: str | None = None
    """What they gave as their Discord name, where that is not an id."""
    key: str | None = None
    """The source's own id of them: two people may have one name."""


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    """The source's own, unique in it."""
    topic: str
    guests: tuple[Guest, ...] = ()
    day: date | None = None
    """None: it has no time yet."""
    starts_at: time | None = None
    length: int | None = None
    """Minutes."""
    room: str | None = None
    link: str | None = None
    cancelled: bool = False
    """The source says that it will not take place."""
    series: str = ""
    """What several sessions have in common that the source tells apart by their times only."""


@dataclass(frozen=True, slots=True)
class Programme:
    source: str
    """What the ``source_id`` of its talks begins with: ``pretalx:<host>/<event>:``."""
    sessions: tuple[Session, ...]
    stable_ids: bool = True
    """False: an id may be another one the next time, as where a sheet has no column for it."""
    notes: tuple[str, ...] = ()
    """What was understood of it that people had better check."""

    def id_of(self, session: Session) -> str:
        return self.source + session.id


_Users = dict[str, set[str]]


class Directory:
    """Which Discord user a guest is."""

    def __init__(
        self, people: Iterable[Person], talks: Iterable[Talk], programme: Programme
    ) -> None:
        self.names: dict[str, str] = {}
        """How people are called here, by Discord id; a person's own name goes before a talk's."""
        self._linked: _Users = defaultdict(set)
        self._people: _Users = defaultdict(set)
        self._speakers: _Users = defaultdict(set)
        """Discord ids by name: as somebody linked it, as people are called, as talks call them."""
        for talk in talks:
            for user_id, username in talk.speakers:
                self._know(self._speakers, user_id, username)
        for person in people:
            if person.discord_user_id is None:
                continue
            self._know(self._people, person.discord_user_id, person.name or "")
            for name in programme_names(person):
                self._linked[plain_name(name)].add(person.discord_user_id)
        guests = [guest for session in programme.sessions for guest in session.guests]
        keys = defaultdict(set)
        for guest in guests:
            keys[plain_name(guest.name)].add(guest.key)
        self._namesakes = {name for name, distinct in keys.items() if len(distinct) > 1}
        self._told = {guest.key: guest.user_id for guest in guests if guest.key and guest.user_id}
        """Ids that the programme tells, of whoever it is, at any of their sessions."""
        for guest in guests:
            if guest.user_id:
                self._speakers[plain_name(guest.name)].add(guest.user_id)

    def _know(self, users: _Users, user_id: str, name: str) -> None:
        if user_id and name.strip():
            self.names[user_id] = name
            users[plain_name(name)].add(user_id)

    def find(self, guest: Guest) -> Speaker | None:
        user_id = guest.user_id or self._told.get(guest.key or "") or self._by_name(guest)
        return Speaker(user_id, self.names.get(user_id, guest.name)) if user_id else None

    def _by_name(self, guest: Guest) -> str | None:
        names = [guest.handle] if guest.handle else []
        if not self.ambiguous(guest):
            names.append(guest.name)
        found = (self._called(name) for name in names)
        return next((next(iter(users)) for users in found if len(users) == 1), None)

    def _called(self, name: str) -> set[str]:
        """Everybody of that name, of the first sort in which there is somebody."""
        sorts = (self._linked, self._people, self._speakers)
        return next(
            (users[plain_name(name)] for users in sorts if plain_name(name) in users), set()
        )

    def ambiguous(self, guest: Guest) -> bool:
        """Whether several of the programme's speakers have their name."""
        return plain_name(guest.name) in self._namesakes

    def speakers(self, session: Session) -> tuple[list[Speaker], bool]:
        """Those who are known, each once, and whether they are all."""
        found = [self.find(guest) for guest in session.guests]
        known: dict[str, Speaker] = {}
        for each in found:
            if each is not None:
                known.setdefault(each.user_id, each)
        return list(known.values()), None not in found


class Unusable(ValueError):
    """A session cannot be read; the message says why, for people."""


def topic_of(text: str | None) -> str:
    if topic := one_line(text or ""):
        return shorten(topic, LONGEST_TOPIC)
    raise Unusable("it has no title")


def name_of(text: str | None) -> str:
    return shorten(one_line(text or ""), LONGEST_NAME) if text and text.strip() else ""


def when(at: datetime, own_zone: ZoneInfo, zone: ZoneInfo) -> tuple[date, time]:
    """Day and start in ``zone``, of an instant, or of what clocks show in the source's."""
    local = (at if at.tzinfo else at.replace(tzinfo=own_zone)).astimezone(zone)
    return day_of(local.date()), local.time().replace(second=0, microsecond=0)


def day_of(day: date) -> date:
    try:
        return talk_day(day)
    except ValueError as problem:
        raise Unusable(str(problem)) from problem


def length_of(minutes: float | None) -> int | None:
    try:
        return None if minutes is None else talk_length(round(minutes))
    except ValueError:
        return None


def link_of(text: str | None) -> str | None:
    try:
        link = talk_link(text or "")
    except ValueError:
        return None
    return link if len(link) <= LONGEST_LINK else None


def discord_of(text: str) -> tuple[str | None, str | None]:
    """A Discord id, or what may be somebody's name there."""
    if found := _DISCORD_ID.fullmatch(text.strip()):
        return found[1] or found[2], None
    return None, name_of(text).removeprefix("@") or None


def plain_scope(name: str) -> str:
    """The name of an event or a file as part of a source's: nothing in it ends that."""
    return re.sub(r"[^\w.-]", "_", name)[:LONGEST_ID]


def plain_id(code: str) -> str:
    """Ids are part of keys and of what people type."""
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", "_", code.strip())
    if not plain:
        raise Unusable("its id is empty")
    if len(plain) <= LONGEST_ID:
        return plain
    return f"{plain[:60]}-{sha256(plain.encode()).hexdigest()[:16]}"
