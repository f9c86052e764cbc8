"""What a programme changes among the talks, decided before anything is written.

A talk is known by its session's id, so one that moved in the programme moves here. The first time,
a talk that somebody booked by hand is recognised where it can only be that one: by the same speaker
on the same date, or by the same speaker with the same topic; one that came from another programme
only by all three. What the programme says wins over what is stored; what it does not say stays.
Names stay too: how a community calls somebody is not the programme's business.

Speakers whose Discord id is unknown are not booked, and nothing is cancelled unless that is asked
for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.domain.person import Person, plain_name
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import SourceRefused
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.sessions import Directory, Guest, Programme, Session
from speakerbot.text import shorten

Difference = tuple[str, str, str]
"""A field, what it was and what it becomes; empty where there is nothing."""
FIELDS = ("date", "starts_at", "topic", "length", "room", "link", "speakers", "source_id")


class SyncState(StrEnum):
    NEW = "new"
    """It is booked."""
    MOVED = "moved"
    """Its date or start changes, and perhaps more."""
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    GONE = "gone"
    """Stored, but not in the programme any more, or without a time there."""
    CALLED_OFF = "called off"
    """The programme says that it does not take place."""
    UNLINKED = "unlinked"
    """Not booked: of none of its speakers the Discord id is known."""
    UNSCHEDULED = "unscheduled"
    """Not booked: it has no time yet."""
    OVER = "over"
    """Not booked: its day is over."""


@dataclass(frozen=True, slots=True)
class SyncRow:
    """A session, the talk that it is, or both. ``after`` is what the talk becomes; None: it is not
    booked, or cancelled where that was asked for."""

    state: SyncState
    session: Session | None
    before: Talk | None
    after: Talk | None

    @property
    def differences(self) -> list[Difference]:
        if self.before is None or self.after is None:
            return []
        old, new = _shown(self.before), _shown(self.after)
        return [(name, old[name], new[name]) for name in FIELDS if old[name] != new[name]]


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A speaker without a Discord id."""

    name: str
    handle: str | None
    ambiguous: bool
    """Several of the programme's speakers have this name: linking it would not help."""
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyncPlan:
    rows: tuple[SyncRow, ...]
    unlinked: tuple[Unlinked, ...]
    coming: int
    """Talks of this programme that are to come, as stored."""
    prune: bool

    @property
    def to_put(self) -> list[Talk]:
        return [row.after for row in self.rows if row.after and row.after != row.before]

    @property
    def to_cancel(self) -> list[Talk]:
        return [row.before for row in self._cancelled() if row.before] if self.prune else []

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of each state."""
        counted = Counter(row.state for row in self.rows)
        return {state.value: counted[state] for state in SyncState}

    def _cancelled(self) -> Iterator[SyncRow]:
        return (row for row in self.rows if row.state in (SyncState.GONE, SyncState.CALLED_OFF))

    def refuse_mass_change(self, source: str) -> None:
        """Raises SourceRefused where more than half of the coming talks would be cancelled because
        the programme does not name them any more: it may be broken, or another one."""
        gone = sum(row.state == SyncState.GONE for row in self.rows)
        if self.prune and gone * 2 > self.coming:
            raise SourceRefused(
                f"{source} does not name {gone} of {self.coming} coming talks any more, more than "
                "half: nothing was changed. If they really are cancelled, add --allow-mass-change; "
                "--dry-run shows them"
            )


def plan(
    programme: Programme,
    stored: Iterable[Talk],
    people: Iterable[Person],
    now: datetime,
    zone: ZoneInfo,
    problems: ImportProblems,
    *,
    prune: bool,
    one_a_date: bool,
) -> SyncPlan:
    """What the programme changes. ``now`` becomes the booking time of new talks; ``zone`` is the
    community's. Problems are a session that could be either of several talks and, with
    ``one_a_date``, a date that is another talk's."""
    talks = list(stored)
    programme = replace(programme, sessions=tuple(_renumbered(programme, talks)))
    directory = Directory(people, talks, programme)
    matching = _Matching(programme, talks, directory, now, zone, problems)
    known = matching.known()
    decide = _Decision(programme, directory, now, zone)
    rows = [decide.row(session, known.get(session.id)) for session in programme.sessions]
    rows += [SyncRow(SyncState.GONE, None, talk, None) for talk in matching.gone()]
    found = SyncPlan(tuple(rows), tuple(_unlinked(rows, directory)), matching.coming, prune)
    if one_a_date:
        _name_taken(found, talks, problems)
    return found


def _renumbered(programme: Programme, talks: Iterable[Talk]) -> Iterator[Session]:
    """The sessions of a series, each under the id whose talk has its time already: when one of them
    moves past another, or goes, the others are still who they were."""
    by_series: dict[str, list[Session]] = defaultdict(list)
    for session in programme.sessions:
        if session.series:
            by_series[session.series].append(session)
        else:
            yield session
    stored: dict[str, dict[str, Talk]] = defaultdict(dict)
    for talk in talks:
        series, identifier = _series_of(talk, programme)
        stored[series][identifier] = talk
    for series, sessions in by_series.items():
        yield from _each_as_before(sessions, stored.get(series, {}))


def _each_as_before(sessions: Sequence[Session], known: Mapping[str, Talk]) -> Iterator[Session]:
    """The sessions of one series; ``known`` are its talks, by the ids of their sessions."""
    at = {identifier: (talk.date, talk.starts_at) for identifier, talk in known.items()}
    kept = {each.id: each.id for each in sessions if at.get(each.id) == (each.day, each.starts_at)}
    for each in sessions:
        same = (i for i in at if at[i] == (each.day, each.starts_at) and i not in kept.values())
        if each.id not in kept and (identifier := next(same, None)):
            kept[each.id] = identifier
    ids = dict.fromkeys([*(each.id for each in sessions), *known])
    free = (identifier for identifier in ids if identifier not in kept.values())
    for each in sessions:
        yield replace(each, id=kept.get(each.id) or next(free))


def _series_of(talk: Talk, programme: Programme) -> tuple[str, str]:
    """Of which series of the programme a talk is, and its session's id there."""
    if not talk.source_id or not talk.source_id.startswith(programme.source):
        return "", ""
    identifier = talk.source_id.removeprefix(programme.source)
    series, dash, number = identifier.rpartition("-")
    return (series if dash and number.isdecimal() else identifier), identifier


def _unlinked(rows: Iterable[SyncRow], directory: Directory) -> Iterator[Unlinked]:
    """Guests of coming sessions without a Discord id."""
    found: dict[tuple[str, str | None], tuple[Guest, list[str]]] = {}
    for row in rows:
        if row.session is None or row.state in (SyncState.OVER, SyncState.CALLED_OFF):
            continue
        for guest in row.session.guests:
            if directory.find(guest) is None:
                key = (guest.name, guest.key)
                found.setdefault(key, (guest, []))[1].append(row.session.topic)
    for guest, topics in found.values():
        several = directory.ambiguous(guest)
        yield Unlinked(guest.name, guest.handle, several, tuple(dict.fromkeys(topics)))


def _name_taken(found: SyncPlan, talks: Iterable[Talk], problems: ImportProblems) -> None:
    moving = {talk.id for talk in (*found.to_put, *found.to_cancel)}
    holders = {talk.date: talk for talk in talks if talk.id not in moving}
    for talk in found.to_put:
        holder = holders.setdefault(talk.date, talk)
        if holder is not talk:
            problems.add(
                str(talk.source_id),
                f"{talk.date} is taken by {holder.username} ({shorten(holder.topic, 40)!r}); one "
                "talk a date where the Node bot works too: where it does not, set "
                "NODE_BOT_COEXIST=false",
            )


def talk_id_of(source_id: str) -> str:
    """The id of the talk that a session becomes: two syncs at once make one talk of it."""
    return sha256(source_id.encode()).hexdigest()[:24]


class _Matching:
    """Which talk of the store each session is."""

    def __init__(
        self,
        programme: Programme,
        talks: Sequence[Talk],
        directory: Directory,
        now: datetime,
        zone: ZoneInfo,
        problems: ImportProblems,
    ) -> None:
        self._programme, self._problems = programme, problems
        self._coming: Callable[[Talk], bool] = lambda t: not t.completed and t.over(zone) > now
        self._ours = [talk for talk in talks if (talk.source_id or "").startswith(programme.source)]
        self._talks = talks
        self._found: dict[str, Talk] = {}
        self._users = {
            session.id: {each.user_id for each in directory.speakers(session)[0]}
            for session in programme.sessions
        }

    def known(self) -> Mapping[str, Talk]:
        """Talks by their sessions' ids."""
        by_id = {talk.id: talk for talk in self._talks}
        by_source = {talk.source_id: talk for talk in reversed(self._ours)}
        for session in self._programme.sessions:
            source_id = self._programme.id_of(session)
            if talk := by_id.get(talk_id_of(source_id)) or by_source.get(source_id):
                self._found[session.id] = talk
        self._adopt()
        return self._found

    def _adopt(self) -> None:
        taken = {talk.id for talk in self._found.values()}
        free = {t.id: t for t in self._talks if t.id not in taken and self._coming(t)}
        if self._programme.stable_ids:
            for talk in self._ours:
                free.pop(talk.id, None)  # its session has gone, and is not one that has come
        open_ = {
            session.id: session
            for session in self._programme.sessions
            if session.id not in self._found and session.day and not session.cancelled
        }
        tiers: tuple[Callable[[Any], Hashable], ...] = (
            lambda one: (_day(one), plain_name(one.topic), one.starts_at),
            lambda one: (_day(one), plain_name(one.topic)),
            lambda one: _day(one),
            lambda one: plain_name(one.topic),
        )
        for number, key in enumerate(tiers):
            if number == 2:
                ours = {talk.id for talk in self._ours}
                free = {t.id: t for t in free.values() if t.source_id is None or t.id in ours}
            self._pair(free, open_, key, or_refuse=number >= 2)

    def _pair(
        self,
        free: dict[str, Talk],
        open_: dict[str, Session],
        key: Callable[[Any], Hashable],
        *,
        or_refuse: bool,
    ) -> None:
        """A session and a talk that alone share a speaker and this key are the same."""
        talks = defaultdict(set)
        for talk in free.values():
            for speaker in talk.speakers:
                talks[speaker.user_id, key(talk)].add(talk.id)
        choices = {
            session.id: set[str]().union(
                *(talks.get((user, key(session)), ()) for user in self._users[session.id])
            )
            for session in open_.values()
        }
        wanted = Counter(talk_id for ids in choices.values() for talk_id in ids)
        for session_id, ids in choices.items():
            if len(ids) == 1 and wanted[next(iter(ids))] == 1:
                self._found[session_id] = free.pop(next(iter(ids)))
                del open_[session_id]
            elif ids and or_refuse:
                self._refuse(open_.pop(session_id), [free[i] for i in sorted(ids) if i in free])

    def _refuse(self, session: Session, candidates: Sequence[Talk]) -> None:
        named = " or ".join(f"talk {t.id} ({t.date}, {shorten(t.topic, 40)!r})" for t in candidates)
        self._problems.add(
            session.id,
            f"{shorten(session.topic, 60)!r} can be {named}, which were booked by hand, and so can "
            "another session; give them its topic, or cancel those that it is not",
        )

    @property
    def coming(self) -> int:
        """How many talks of this programme are to come."""
        return sum(map(self._coming, self._ours))

    def gone(self) -> Iterator[Talk]:
        """Coming talks of this programme that it does not list any more."""
        found = {talk.id for talk in self._found.values()}
        return (t for t in self._ours if t.id not in found and self._coming(t))


def _day(one: Session | Talk) -> date | None:
    return one.date if isinstance(one, Talk) else one.day


class _Decision:
    """What becomes of one session."""

    def __init__(
        self, programme: Programme, directory: Directory, now: datetime, zone: ZoneInfo
    ) -> None:
        self._programme, self._directory = programme, directory
        self._now, self._zone = now, zone
        self._today = now.astimezone(zone).date()

    def row(self, session: Session, talk: Talk | None) -> SyncRow:
        if talk is not None and self._rests(session, talk):
            return SyncRow(SyncState.UNCHANGED, session, talk, talk)
        if session.cancelled:
            return SyncRow(SyncState.CALLED_OFF, session, talk, None)
        if session.day is None:
            state = SyncState.GONE if talk else SyncState.UNSCHEDULED
            return SyncRow(state, session, talk, None)
        if talk is not None:
            after = self._merged(session, session.day, talk)
            return SyncRow(_state(talk, after), session, talk, after)
        if session.day < self._today:
            return SyncRow(SyncState.OVER, session, None, None)
        if booked := self._booked(session, session.day):
            return SyncRow(SyncState.NEW, session, None, booked)
        return SyncRow(SyncState.UNLINKED, session, None, None)

    def _rests(self, session: Session, talk: Talk) -> bool:
        """It is over, and stays so: what was is not changed."""
        over = talk.completed or talk.over(self._zone) <= self._now
        return over and (session.cancelled or session.day is None or session.day < self._today)

    def _booked(self, session: Session, day: date) -> Talk | None:
        speakers, _ = self._directory.speakers(session)
        if not speakers:
            return None
        source_id = self._programme.id_of(session)
        main, *others = speakers
        return Talk(
            id=talk_id_of(source_id),
            user_id=main.user_id,
            username=main.username,
            topic=session.topic,
            date=day,
            booked_at=self._now,
            starts_at=session.starts_at,
            length=session.length,
            room=session.room,
            link=session.link,
            co_speakers=tuple(others),
            source_id=source_id,
        )

    def _merged(self, session: Session, day: date, talk: Talk) -> Talk:
        said: dict[str, Any] = {
            "starts_at": session.starts_at, "length": session.length,
            "room": session.room, "link": session.link,
        }  # fmt: skip
        given = {name: value for name, value in said.items() if value is not None}
        main, others = self._speakers(session, talk)
        return replace(
            talk,
            date=day,
            topic=session.topic,
            user_id=main.user_id,
            username=main.username,
            co_speakers=others,
            source_id=self._programme.id_of(session),
            **given,
        )

    def _speakers(self, session: Session, talk: Talk) -> tuple[Speaker, tuple[Speaker, ...]]:
        """As long as a guest of the session is unknown, no speaker is removed from the talk: it
        may be them. The main speaker stays the main speaker."""
        known, complete = self._directory.speakers(session)
        stored = {each.user_id: each for each in talk.speakers}
        if not session.guests or {each.user_id for each in known} == stored.keys():
            return Speaker(talk.user_id, talk.username), talk.co_speakers
        listed = known if complete else [*known, *stored.values()]
        everybody = {each.user_id: stored.get(each.user_id, each) for each in listed}
        main = everybody.pop(talk.user_id, None) or everybody.pop(next(iter(everybody)))
        return main, tuple(everybody.values())


def _state(before: Talk, after: Talk) -> SyncState:
    if before == after:
        return SyncState.UNCHANGED
    moved = (before.date, before.starts_at) != (after.date, after.starts_at)
    return SyncState.MOVED if moved else SyncState.CHANGED


def _shown(talk: Talk) -> dict[str, str]:
    """The fields that a programme may change, as people read them."""
    return {
        "date": talk.date.isoformat(),
        "starts_at": f"{talk.starts_at:%H:%M}" if talk.starts_at else "",
        "topic": talk.topic,
        "length": f"{talk.length}m" if talk.length else "",
        "room": talk.room or "",
        "link": talk.link or "",
        "speakers": ", ".join(f"{each.username} ({each.user_id})" for each in talk.speakers),
        "source_id": talk.source_id or "",
    }
