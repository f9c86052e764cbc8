"""Reads what a store holds, whatever other programs or people's hands have put there.

One field that cannot be read never stops the rest. It is dropped, or the document is left out
where it makes no sense without that field, and one warning names the document and the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Generic, TypeVar

from speakerbot.domain.person import QuietHours

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")

FIRST_INSTANT = datetime(1969, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(3001, 1, 1, tzinfo=UTC)
"""Instants are read from the first up to the last: a year around the days that talks may have, so
that no arithmetic with them can leave the calendar."""
PROBLEMS = (LookupError, ValueError, TypeError, OverflowError, RecursionError)


class Unreadable(Exception):
    """A field without which the document makes no sense cannot be read. The message says what it is
    and what it should be; the warning is out."""


class Damage:
    """Warns of what cannot be read: of each field of each document once, however often it is
    read."""

    def __init__(self) -> None:
        self._named: set[tuple[str, str, str]] = set()

    def name(self, about: Reader, field: str, value: Any, expected: str, so: str) -> None:
        place = (about.noun, about.id, field)
        if place in self._named:
            return
        self._named.add(place)
        from speakerbot.logs import get_logger  # brings asyncio, and most stores are in order

        get_logger().warning(
            "stored_field_unreadable",
            kind=about.noun,
            id=about.id,
            field=field,
            expected=expected,
            found=kind_of(value),
            consequence=so,
        )


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """What a field holds. ``parse`` raises one of PROBLEMS for anything else."""

    expected: str
    parse: Callable[[Any], T_co]


@dataclass(slots=True)
class Reader:
    """Reads one stored document, or row, field by field."""

    damage: Damage
    noun: str
    id: str
    damaged: bool = False
    """Whether anything in it could not be read so far."""

    def read(
        self, field: str, value: Any, kind: Kind[T], otherwise: D, so: str = "ignored"
    ) -> T | D:
        """The value; ``otherwise`` where there is none (no warning), or none that can be read.
        ``so`` says in the warning what follows."""
        if value is None:
            return otherwise
        try:
            return kind.parse(value)
        except PROBLEMS:
            self.warn(field, value, kind.expected, so)
            return otherwise

    def need(self, field: str, value: Any, kind: Kind[T], so: str = "left out") -> T:
        """The value. Raises Unreadable, with the warning, where there is none."""
        try:
            return kind.parse(value)
        except PROBLEMS as error:
            self.warn(field, value, kind.expected, so)
            raise Unreadable(f"its {field} is {kind_of(value)}, not {kind.expected}") from error

    def warn(self, field: str, value: Any, expected: str, so: str) -> None:
        self.damaged = True
        self.damage.name(self, field, value, expected, so)


def kind_of(value: Any) -> str:
    """What a value is, in words for people."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case "":
            return "an empty text"
        case str():
            return f"the text {value[:40]!r}" + ("…" if len(value) > 40 else "")
        case int() | float():
            return "a number"
        case dict():
            return "a document"
        case list():
            return "a list"
        case datetime():
            return f"the time {value.isoformat()}"
    return type(value).__name__


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _words(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _text(value)


def _identifier(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value)


def _snowflake(value: Any) -> str:
    text = _identifier(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError
    return text


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime) or not FIRST_INSTANT <= value < LAST_INSTANT:
        raise ValueError
    return value


def _clock_time(value: Any) -> time:
    clock = time.fromisoformat(_text(value))
    if clock.tzinfo is not None:
        raise ValueError
    return clock


def _truth(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    if word in ("true", 1):
        return True
    if word in ("false", 0):
        return False
    raise ValueError


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError
    return int(value)


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError
    return tuple(value)


def _quiet_hours(value: Any) -> QuietHours:
    start, _, end = _text(value).partition("-")
    return QuietHours(_clock_time(start), _clock_time(end))


def _length(value: Any) -> int:
    from speakerbot.domain.talk import talk_length  # most runs read no talks

    return talk_length(_whole(value))


def _link(value: Any) -> str:
    from speakerbot.domain.talk import talk_link

    return talk_link(_text(value))


TEXT = Kind("a text", _text)
WORDS = Kind("a text", _words)
IDENTIFIER = Kind("an id", _identifier)
SNOWFLAKE = Kind("a Discord id (digits only)", _snowflake)
INSTANT = Kind("a date and time from 1970 to 2999", _instant)
CLOCK_TIME = Kind("a clock time (HH:MM)", _clock_time)
TRUTH = Kind("true or false", _truth)
WHOLE = Kind("a whole number", _whole)
LENGTH = Kind("minutes, 1 to 10080", _length)
LINK = Kind("a link (https://…)", _link)
LIST = Kind("a list", _list)
FIELDS = Kind("a document", _fields)
TEXTS = Kind("a list of texts", _texts)
QUIET_HOURS = Kind("quiet hours (HH:MM-HH:MM)", _quiet_hours)
