"""One talk a date: reading a date, and saying that one is taken."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from speakerbot.errors import DateTaken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from speakerbot.domain.talk import Talk


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
