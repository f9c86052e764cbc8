"""MongoDB's Extended JSON, as mongoexport writes it: relaxed, and read in its canonical form too.

https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

DEEPEST = 100
"""Levels of nesting; MongoDB keeps no more."""
FIRST, AFTER_LAST = datetime(1969, 1, 1, tzinfo=UTC), datetime(3001, 1, 1, tzinfo=UTC)
"""A year around the days that talks may have: stores read no other instants."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_LARGEST = 2**63


class _BeyondTheCalendar(ValueError):
    pass


def parse_instant(text: str) -> datetime:
    """ISO 8601, UTC unless it names an offset; aware, in UTC, cut to milliseconds.
    Raises ValueError with a message for people, also beyond the years that stores read."""
    return _within(_parsed(text))


def _parsed(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not an ISO 8601 time") from error
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _within(at: datetime) -> datetime:
    if not FIRST <= at < AFTER_LAST:
        raise ValueError(f"{at:%Y-%m-%d} is out of range; dates go from 1970 to 2999")
    return at


def instant_of(value: Any) -> datetime:
    """The instant in ``{"$date": …}``, relaxed or canonical. Raises ValueError with a message
    for people, also for one beyond the years that stores read."""
    return _within(_any_instant(value))


def _any_instant(value: Any) -> datetime:
    match value:
        case {"$date": str(text)}:
            return _parsed(text)
        case {"$date": {"$numberLong": str(number)}} if re.fullmatch(r"-?\d{1,18}", number):
            return _from_ms(int(number))
        case {"$date": int(number)}:
            return _from_ms(number)
    raise ValueError('must be a date, as {"$date": "2026-11-20T00:00:00Z"}')


def _from_ms(number: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError as error:
        raise _BeyondTheCalendar(f"{number} ms is beyond the year 9999") from error


def iso(at: datetime) -> str:
    """As relaxed Extended JSON has it: milliseconds only where there are some, and Z."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return text.removesuffix(".000") + "Z"


def date_value(at: datetime) -> dict[str, str]:
    return {"$date": iso(at)}


def id_value(identifier: str) -> str | dict[str, str]:
    """24 hexadecimal digits are an ObjectId, as mongoose makes them; anything else is a text."""
    return {"$oid": identifier} if _OBJECT_ID.fullmatch(identifier) else identifier


def relaxed(value: Any, depth: int = 1) -> Any:
    """A value of an unknown field, in the one form in which stores hand it back.

    Raises ValueError where a store could not keep it."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    if isinstance(value, list):
        return [relaxed(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and (plain := _unwrapped(value)) is not None:
            return plain
        return {_field_name(name): relaxed(item, depth + 1) for name, item in value.items()}
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"{value} is too large a number; write it as a text")
    return value


def _unwrapped(value: Mapping[str, Any]) -> Any:
    """What a canonical wrapper of a number or a date holds; None for everything else."""
    match value:
        case {"$numberInt": str(number)} | {"$numberLong": str(number)}:
            return relaxed(int(number))
        case {"$numberDouble": str(number)} if number not in ("NaN", "Infinity", "-Infinity"):
            return float(number)
        case {"$date": str() | {"$numberLong": str()} | int()}:
            try:
                at = _any_instant(value)
            except _BeyondTheCalendar:  # MongoDB keeps it, and it is not ours to judge
                return dict(value)
            return date_value(at) if at >= _EPOCH else dict(value)
    return None


def _field_name(name: str) -> str:
    if "\0" in name:
        raise ValueError("a field's name holds a zero byte")
    return name
