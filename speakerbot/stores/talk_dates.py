"""The dates of talks: which are read, and, beside the Node bot, that each belongs to one talk."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from speakerbot.domain.talk import talk_day
from speakerbot.errors import DateTaken
from speakerbot.stores.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from speakerbot.domain.talk import Talk


def _within(day: date | None) -> date:
    if day is None:
        raise ValueError
    return talk_day(day)


def _of_datetime(value: Any) -> date:
    return _within(value.date() if isinstance(value, datetime) else None)


DATE = Kind("a date from 1970 to 2999", _of_datetime)
"""As MongoDB keeps it, whatever the time of day."""
DATE_TEXT = Kind("a date from 1970-01-01 to 2999-12-31", lambda value: _within(as_date(value)))
"""As SQLite keeps it."""
HIDDEN = "the talk is hidden"


def as_date(text: str) -> date | None:
    """The day written as YYYY-MM-DD, None for anything else."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def date_taken(day: date, holder: str, wanted_by: str) -> DateTaken:
    return DateTaken(
        f"{day}: taken by talk {holder}, so talk {wanted_by} cannot have it. "
        "Choose another date, or reschedule or cancel the other talk first."
    )


def in_order(talks: Sequence[Talk], held: Mapping[date, str]) -> list[Talk]:
    """The talks, such that each one's date is free by the time it is written, one after another.

    ``held`` says which talk's id holds a date now. Raises DateTaken, also where talks would have
    to change dates in a circle.
    """
    holders = dict(held)
    dates = {holder: day for day, holder in held.items()}
    waiting, ordered = list(talks), []
    while waiting:
        blocked = []
        for talk in waiting:
            if holders.get(talk.date, talk.id) != talk.id:
                blocked.append(talk)
                continue
            holders.pop(dates.get(talk.id, talk.date), None)
            holders[talk.date], dates[talk.id] = talk.id, talk.date
            ordered.append(talk)
        if len(blocked) == len(waiting):
            raise date_taken(blocked[0].date, holders[blocked[0].date], blocked[0].id)
        waiting = blocked
    return ordered
