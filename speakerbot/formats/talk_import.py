"""What importing talks will change, decided before anything is written.

An import adds and corrects; it takes nothing away. What a file leaves out or empty stays as it is
in the store, and the Node bot's sent-flags only ever move forward: an old export must not make
anybody send a reminder again.

A row without an id is a talk of the store where it can only be that one: a talk that moved in
somebody's sheet moves here too, and is not booked twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, datetime, time
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from speakerbot.domain.talk import Talk
from speakerbot.formats.dates import skipped
from speakerbot.formats.ids import new_talk_id
from speakerbot.formats.import_rows import Difference, Import, Row, differing
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.talk_fields import (
    ALL_FIELDS,
    DATE,
    STARTS_AT,
    SUBDOCUMENTS,
    TalkEntry,
)
from speakerbot.ports.store import FlagWrite
from speakerbot.text import shorten

_FLAGS = {"sent_tminus1_at": "sentTminus1At", "sent_day_of_at": "sentDayOfAt"}


class TalkImport(Import[Talk]):
    """What the rows of a file come to."""

    @property
    def flags(self) -> list[FlagWrite]:
        """Those of updated talks that move forward."""
        return [flag for row in self.rows for flag in _moved_flags(row)]

    def same_as(self, other: TalkImport) -> bool:
        """Whether it changes the same, whatever ids and booking times new talks are given."""
        return list(map(_essence, self.rows)) == list(map(_essence, other.rows))


_BUT_ITS_ID = attrgetter(
    *(each.name for each in fields(Talk) if each.compare and each.name not in ("id", "booked_at"))
)


def _essence(row: Row[Talk]) -> object:
    return row.before, _BUT_ITS_ID(row.after) if row.before is None else row.after


def differences(row: Row[Talk]) -> Iterator[Difference]:
    """What a row changes of the talk in the store, by the names of Talk's fields."""
    if row.before is not None:
        yield from differing(*(_cells(talk) | dict(talk.extra) for talk in (row.before, row.after)))


def _cells(talk: Talk) -> dict[str, Any]:
    values = ((field, getattr(talk, field.attribute)) for field in ALL_FIELDS)
    return {
        field.attribute: field.to_cell(value) for field, value in values if value not in (None, ())
    }


def plan(
    entries: Iterable[TalkEntry],
    stored: Iterable[Talk],
    now: datetime,
    problems: ImportProblems,
    zone: ZoneInfo,
    *,
    one_a_date: bool,
) -> TalkImport:
    """What the file's talks change. ``now`` becomes the booking time of new talks without one;
    ``zone`` is the community's. Problems are two rows for one talk, a row that could be either of
    several, a start that no clock shows, and with ``one_a_date`` a date that is another talk's."""
    given, talks = list(entries), list(stored)
    known = _Matching(given, talks, problems).known(now.astimezone(zone).date())
    rows = [_row(entry, talk, now) for entry, talk in zip(given, known, strict=True)]
    _name_doubles(given, rows, problems)
    _name_gaps(given, rows, zone, problems)
    if one_a_date:
        _name_taken(given, rows, talks, problems)
    return TalkImport(rows)


def _row(entry: TalkEntry, talk: Talk | None, now: datetime) -> Row[Talk]:
    return Row(entry.place, talk, merge(talk, entry) if talk else _new(entry, now))


class _Marks(NamedTuple):
    """How a talk is recognised without an id."""

    user_id: str
    date: date
    topic: str
    starts_at: time | None


def _marks(values: Mapping[str, Any]) -> _Marks:
    topic = " ".join(values["topic"].casefold().split())
    return _Marks(values["user_id"], values["date"], topic, values.get("starts_at"))


def _marks_of(talk: Talk) -> _Marks:
    return _marks({name: getattr(talk, name) for name in _Marks._fields})


class _Matching:
    """Finds which talk of the store each entry is."""

    def __init__(
        self, entries: Sequence[TalkEntry], stored: Iterable[Talk], problems: ImportProblems
    ) -> None:
        self._entries, self._problems = entries, problems
        self._found: dict[int, Talk] = {}
        """By an entry's number."""
        self._open: dict[int, _Marks] = {}
        """Entries whose talk is still looked for."""
        self._free = {talk.id: talk for talk in stored}
        """Talks that no entry is."""

    def known(self, today: date) -> list[Talk | None]:
        """The talk of each entry; None: it is a new one, or a problem."""
        for number, entry in enumerate(self._entries):
            identifier = entry.values.get("id")
            if identifier is None:
                self._open[number] = _marks(entry.values)
            elif talk := self._free.get(identifier):
                self._found[number] = talk
        for talk in self._found.values():
            self._free.pop(talk.id, None)
        self._pair(lambda one: one)
        self._pair(lambda one: one[:3])
        self._pair(lambda one: one[:2], or_refuse=True)
        self._open = {n: marks for n, marks in self._open.items() if marks.date >= today}
        coming = (t for t in self._free.values() if t.date >= today and not t.completed)
        self._free = {talk.id: talk for talk in coming}
        self._pair(lambda one: (one.user_id, one.topic), or_refuse=True)
        return [self._found.get(number) for number in range(len(self._entries))]

    def _pair(self, key: Callable[[_Marks], Hashable], *, or_refuse: bool = False) -> None:
        """One entry and one talk that alone have a key are the same talk."""
        talks = defaultdict(list)
        for talk in self._free.values():
            talks[key(_marks_of(talk))].append(talk)
        entries = defaultdict(list)
        for number, marks in self._open.items():
            entries[key(marks)].append(number)
        for each, numbers in entries.items():
            candidates = talks.get(each, [])
            if len(numbers) == len(candidates) == 1:
                self._found[numbers[0]] = candidates[0]
                del self._free[candidates[0].id]
            elif or_refuse and candidates:
                self._refuse(numbers, candidates)
            else:
                continue
            for number in numbers:
                del self._open[number]

    def _refuse(self, numbers: Sequence[int], candidates: Sequence[Talk]) -> None:
        named = " or ".join(f"talk {t.id} ({t.date}, {shorten(t.topic, 40)!r})" for t in candidates)
        for number in numbers:
            others = [self._entries[each].place for each in numbers if each != number]
            also = f", and so can {', '.join(others)}" if others else ""
            self._problems.add(
                self._entries[number].place,
                f"it can be {named}{also}; say which in a column Talk ID",
            )


def _name_doubles(
    entries: Sequence[TalkEntry], rows: Sequence[Row[Talk]], problems: ImportProblems
) -> None:
    """Two rows for one talk."""
    ids: dict[str, str] = {}
    seen: dict[Hashable, list[tuple[time | None, str]]] = defaultdict(list)
    for entry, row in zip(entries, rows, strict=True):
        identifier = entry.values.get("id")
        if identifier and (first := ids.setdefault(identifier, row.place)) != row.place:
            where = entry.title("_id")
            problems.add(row.place, f"{identifier} is also the id of {first}", field=where)
            continue
        *what, start = _marks_of(row.after)
        before = seen[tuple(what)]
        if same := next((place for at, place in before if start in (at, None) or not at), None):
            problems.add(row.place, f"it is the same talk as {same}; leave one of them out")
        before.append((start, row.place))


def _name_gaps(
    entries: Sequence[TalkEntry],
    rows: Sequence[Row[Talk]],
    zone: ZoneInfo,
    problems: ImportProblems,
) -> None:
    """Starts that are skipped where clocks go forward: it is not known which hour is meant."""
    for entry, row in zip(entries, rows, strict=True):
        day, clock, before = row.after.date, row.after.starts_at, row.before
        if clock is None or (before and (before.date, before.starts_at) == (day, clock)):
            continue
        if why := skipped(day, clock, zone):
            problems.add(row.place, why, field=entry.title(STARTS_AT))


def _name_taken(
    entries: Sequence[TalkEntry],
    rows: Sequence[Row[Talk]],
    stored: Iterable[Talk],
    problems: ImportProblems,
) -> None:
    in_file = {row.before.id for row in rows if row.before}
    holders = {talk.date: talk for talk in stored if talk.id not in in_file}
    dates: dict[date, str] = {}
    for entry, row in zip(entries, rows, strict=True):
        day, where = row.after.date, entry.title(DATE)
        if (first := dates.setdefault(day, row.place)) != row.place:
            what = f"{day} is also the date of {first}; one talk a date"
            problems.add(row.place, what, field=where)
        elif holder := holders.get(day):
            problems.add(row.place, _taken(holder), field=where)


def _taken(holder: Talk) -> str:
    return f"{holder.date} is taken by {holder.username} (talk {holder.id}); one talk a date"


def _new(entry: TalkEntry, now: datetime) -> Talk:
    values: dict[str, Any] = {"id": new_talk_id(now), "booked_at": now, **entry.values}
    return Talk(**values, extra=entry.extra)


def merge(talk: Talk, entry: TalkEntry) -> Talk:
    """The stored talk with what the file gives."""
    given = dict(entry.values)
    for name in _FLAGS:
        stored: datetime | None = getattr(talk, name)
        if name in given and stored is not None:
            given[name] = max(stored, given[name])
    return replace(talk, **given, extra=_merged(talk.extra, entry.extra))


def _moved_flags(row: Row[Talk]) -> Iterator[FlagWrite]:
    if row.before is None:
        return
    for name, flag in _FLAGS.items():
        seen, to = getattr(row.before, name), getattr(row.after, name)
        if to != seen:
            yield FlagWrite(row.after.id, flag, seen, to)


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = {
        name: {**stored[name], **given[name]}
        for name in SUBDOCUMENTS
        if name in stored and name in given
    }
    return {**stored, **given, **inner}
