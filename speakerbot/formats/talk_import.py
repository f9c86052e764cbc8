"""What importing talks will change, decided before anything is written.

An import adds and corrects; it takes nothing away. What a file leaves out or empty stays as it is
in the store, and the Node bot's sent-flags only ever move forward: an old export must not make
anybody send a reminder again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from speakerbot.domain.talk import Talk
from speakerbot.formats.ids import new_talk_id
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.talk_fields import SUBDOCUMENTS, TalkEntry
from speakerbot.ports.store import FlagWrite

_FLAGS = {"sent_tminus1_at": "sentTminus1At", "sent_day_of_at": "sentDayOfAt"}


@dataclass(slots=True)
class TalkImport:
    """What the store has to write, and how many talks it has already."""

    new: list[Talk] = field(default_factory=list)
    updated: list[Talk] = field(default_factory=list)
    flags: list[FlagWrite] = field(default_factory=list)
    """Those of updated talks that move forward."""
    unchanged: int = 0


def plan(
    entries: Iterable[TalkEntry],
    stored: Iterable[Talk],
    now: datetime,
    problems: ImportProblems,
    *,
    one_a_date: bool = True,
) -> TalkImport:
    """What the file's talks change. An entry with a known id, or without one but with a known
    talk's date and speaker, is that talk. ``now`` becomes the booking time of new talks without
    one. An id that is there twice is a problem; where a date holds one talk, so is a date that is
    there twice, or that is another talk's.
    """
    by_id = {talk.id: talk for talk in stored}
    by_date: dict[date, list[Talk]] = {}
    for each in by_id.values():
        by_date.setdefault(each.date, []).append(each)
    result = TalkImport()
    identified = [(entry, _known(entry, by_id, by_date)) for entry in entries]
    if one_a_date:
        _name_taken(identified, by_date, problems)
    _name_doubles(identified, problems)
    for entry, talk in identified:
        if talk is None:
            result.new.append(_new(entry, now))
        elif (merged := merge(talk, entry)) != talk:
            result.updated.append(merged)
            result.flags += _moved_flags(talk, merged)
        else:
            result.unchanged += 1
    return result


def _known(
    entry: TalkEntry, by_id: Mapping[str, Talk], by_date: Mapping[date, Sequence[Talk]]
) -> Talk | None:
    if "id" in entry.values:
        return by_id.get(entry.values["id"])
    on_date = by_date.get(entry.values["date"], ())
    theirs = [talk for talk in on_date if talk.user_id == entry.values["user_id"]]
    if len(theirs) > 1:
        theirs = [talk for talk in theirs if talk.topic == entry.values["topic"]]
    return theirs[0] if theirs else None


def _name_taken(
    identified: Sequence[tuple[TalkEntry, Talk | None]],
    by_date: Mapping[date, Sequence[Talk]],
    problems: ImportProblems,
) -> None:
    updated = {talk.id for _, talk in identified if talk}
    dates: dict[date, str] = {}
    for entry, talk in identified:
        day = entry.values["date"]
        if (first := dates.setdefault(day, entry.place)) != entry.place:
            what = f"{day} is also the date of {first}; one talk a date"
            problems.add(entry.place, what, field="scheduledDate")
        for holder in by_date.get(day, ()):
            if holder is not talk and holder.id not in updated:
                problems.add(entry.place, _taken(holder), field="scheduledDate")


def _taken(holder: Talk) -> str:
    return f"{holder.date} is taken by {holder.username} (talk {holder.id}); one talk a date"


def _name_doubles(
    identified: Sequence[tuple[TalkEntry, Talk | None]], problems: ImportProblems
) -> None:
    ids: dict[str, str] = {}
    for entry, talk in identified:
        identifier = entry.values.get("id") or (talk.id if talk else "")
        if identifier and (first := ids.setdefault(identifier, entry.place)) != entry.place:
            problems.add(entry.place, f"{identifier} is also the id of {first}", field="_id")


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


def _moved_flags(stored: Talk, merged: Talk) -> Iterator[FlagWrite]:
    for name, flag in _FLAGS.items():
        seen, to = getattr(stored, name), getattr(merged, name)
        if to != seen:
            yield FlagWrite(stored.id, flag, seen, to)


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = {
        name: {**stored[name], **given[name]}
        for name in SUBDOCUMENTS
        if name in stored and name in given
    }
    return {**stored, **given, **inner}
