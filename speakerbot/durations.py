"""Lengths of time as people write them: ``90s``, ``30m``, ``6h``, ``14d``."""

from __future__ import annotations

import re
from datetime import timedelta

_WRITTEN = re.compile(r"\s*([0-9]+)\s*([smhd])\s*", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LONGEST = timedelta(days=3_660)


def parse_duration(text: str) -> timedelta:
    """The length that ``text`` names: a whole number and one of s, m, h, d (a day is 24 hours).

    Raises ValueError with a message for people; a length beyond ten years is refused, so adding
    it to an instant never overflows.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration: write a number and a unit, as 90s, 30m, 6h, 14d"
        )
    number, unit = match.groups()
    # The text's length is looked at first: int() of a book of digits is slow.
    seconds = int(number) * _SECONDS[unit] if len(number) < 12 else float("inf")
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is too long: a duration ends at {format_duration(_LONGEST)}")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back; less than a second is cut off.

    Raises ValueError for a negative length.
    """
    seconds = int(length.total_seconds())
    if length < timedelta():
        raise ValueError(f"a duration is never negative: {length}")
    for unit, size in _SECONDS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"
