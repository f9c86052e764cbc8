"""Reads what a store holds, whatever other programs or people's hands have put there.

One field that cannot be read never stops the rest. It is dropped, or the document is left out
where it makes no sense without that field, and one warning names the document and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from speakerbot.ledger import FINAL, Delivery
from speakerbot.people import OPT_OUT_KINDS, Person, QuietHours
from speakerbot.ports import Breaker
from speakerbot.runs import Run

if TYPE_CHECKING:
    from speakerbot.calendar_entry import CalendarEntry
    from speakerbot.gate import Record
    from speakerbot.snapshots import Entry, Version

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")

FIRST_INSTANT = datetime(1969, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(3001, 1, 1, tzinfo=UTC)
"""Instants are read from the first up to the last: a year around the days that talks may have, so
that no arithmetic with them can leave the calendar."""
PROBLEMS = (ValueError, TypeError, OverflowError, RecursionError)
STATES = FINAL | {"claimed", "failed"}


class Unreadable(Exception):
    """A field without which the document makes no sense cannot be read. The warning is out."""


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
            raise Unreadable(f"{self.noun} {self.id}: {field}") from error

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


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError
    return tuple(value)


def _quiet_hours(value: Any) -> QuietHours:
    start, _, end = _text(value).partition("-")
    return QuietHours(_clock_time(start), _clock_time(end))


def _state(value: Any) -> Any:
    if value not in STATES:
        raise ValueError
    return value


def _standing(value: Any) -> Any:
    if value not in ("running", "open", "finished", "missed", "superseded"):
        raise ValueError
    return value


TEXT = Kind("a text", _text)
WORDS = Kind("a text", _words)
IDENTIFIER = Kind("an id", _identifier)
SNOWFLAKE = Kind("a Discord id (digits only)", _snowflake)
INSTANT = Kind("a date and time from 1970 to 2999", _instant)
CLOCK_TIME = Kind("a clock time (HH:MM)", _clock_time)
TRUTH = Kind("true or false", _truth)
WHOLE = Kind("a whole number", _whole)
FIELDS = Kind("a document", _fields)
TEXTS = Kind("a list of texts", _texts)
QUIET_HOURS = Kind("quiet hours (HH:MM-HH:MM)", _quiet_hours)
STANDING = Kind("running, open, finished, missed or superseded", _standing)
STATE = Kind("a state of a delivery", _state)


def person_of(values: Mapping[str, Any], reader: Reader) -> Person:
    """A person, by the names of their fields. Whatever else is unreadable, nobody loses an opt-out:
    one that cannot be read counts as an opt-out of everything."""
    read, given = reader.read, values.get("opted_out")
    rescued = _rescued(given)
    so = f"taken as an opt-out of {', '.join(rescued)}" if rescued else "ignored"
    return Person(
        id=reader.id,
        discord_user_id=read("discord_user_id", values.get("discord_user_id"), IDENTIFIER, None),
        name=read("name", values.get("name"), WORDS, None),
        timezone=read("timezone", values.get("timezone"), TEXT, None),
        opted_out=frozenset(read("opted_out", given, TEXTS, rescued, so)),
        quiet_hours=read("quiet_hours", values.get("quiet_hours"), QUIET_HOURS, None),
        routes=read("routes", values.get("routes"), TEXTS, ()),
        extra=read("extra", values.get("extra"), FIELDS, {}),
    )


def _rescued(given: Any) -> tuple[str, ...]:
    """The opt-outs in a field that is not a list of texts."""
    if isinstance(given, list):
        kinds = tuple(each for each in given if isinstance(each, str))
    elif isinstance(given, str):
        kinds = tuple(word for word in given.replace(",", " ").split() if word in OPT_OUT_KINDS)
    else:
        kinds = ()
    return kinds or (("all",) if given else ())


DELIVERY = tuple(
    (
        name,
        STATE if name == "state" else INSTANT if "datetime" in kind
        else WHOLE if "int" in kind else TEXT,
        name not in Delivery._field_defaults,
    )
    for name, kind in ((name, str(kind)) for name, kind in Delivery.__annotations__.items())
)  # fmt: skip
"""Its fields: their names, what they hold, and whether each record has them."""
NOT_READ = {INSTANT: FIRST_INSTANT, WHOLE: 0, TEXT: "", STATE: "unknown"}


LEFT_OUT = "the delivery is left out of lists, and never sent again"


def delivery_of(values: Mapping[str, Any], reader: Reader) -> Delivery:
    """The record whose key is ``reader.id``. Where ``reader.damaged`` afterwards, its outcome is
    unknown: it is never sent again, and lists leave it out."""
    read: dict[str, Any] = {"key": reader.id}
    for name, kind, required in DELIVERY[1:]:
        value = values.get(name)
        if value is None and not required:
            continue
        try:
            read[name] = kind.parse(value)
        except PROBLEMS:
            reader.warn(name, value, kind.expected, LEFT_OUT)
            if required:
                read[name] = NOT_READ[kind]
    record = Delivery(**read)
    return record._replace(state="unknown") if reader.damaged else record


def breaker_of(values: Mapping[str, Any], reader: Reader) -> Breaker | None:
    """None where it is not known until when: as if it were closed."""
    try:
        until = reader.need("until", values.get("until"), INSTANT, "taken as closed")
    except Unreadable:
        return None
    reason = reader.read("reason", values.get("reason"), TEXT, "")
    return Breaker(until, reason, reader.read("count", values.get("count"), WHOLE, 0))


def entry_of(values: Mapping[str, Any], reader: Reader) -> Entry | None:
    """What a speaker knows of a talk; ``told`` and ``seen`` as ``{"date": …, "topic": …}``. None,
    so that nobody is told anything of that talk, where part of it cannot be read."""
    from speakerbot.snapshots import Entry  # other jobs need none

    version = Kind("a date and a topic", _version)
    so = "the talk's changes are not announced"
    try:
        return Entry(
            talk_id=reader.need("talk_id", values.get("talk_id"), TEXT, so),
            user_id=reader.need("user_id", values.get("user_id"), TEXT, so),
            told=_optional(reader, "told", values.get("told"), version, so),
            seen=_optional(reader, "seen", values.get("seen"), version, so),
            pending=reader.need("pending", values.get("pending"), TRUTH, so),
            sequence=reader.need("sequence", values.get("sequence"), WHOLE, so),
            at=reader.need("at", values.get("at"), INSTANT, so),
            username=reader.read("username", values.get("username"), WORDS, ""),
            thread_id=reader.read("thread_id", values.get("thread_id"), SNOWFLAKE, None),
        )
    except Unreadable:
        return None


def _optional(reader: Reader, field: str, value: Any, kind: Kind[T], so: str) -> T | None:
    return None if value is None else reader.need(field, value, kind, so)


def _version(value: Any) -> Version:
    from speakerbot.snapshots import Version

    stored = _fields(value)
    return Version(date.fromisoformat(_text(stored.get("date"))), _text(stored.get("topic")))


def calendar_entry_of(values: Mapping[str, Any], reader: Reader) -> CalendarEntry | None:
    """A talk as calendar programs were told of it, the talk's id being ``reader.id``. None, so that
    they are told nothing new, where part of it cannot be read."""
    from speakerbot.calendar_entry import CalendarEntry  # most runs need none

    so = "calendars are told nothing new of the talk"
    day = Kind("a date", lambda value: date.fromisoformat(_text(value)))
    try:
        return CalendarEntry(
            talk_id=reader.id,
            sequence=reader.need("sequence", values.get("sequence"), WHOLE, so),
            date=reader.need("date", values.get("date"), day, so),
            starts_at=_optional(reader, "starts_at", values.get("starts_at"), CLOCK_TIME, so),
            topic=reader.need("topic", values.get("topic"), WORDS, so),
            username=reader.need("username", values.get("username"), WORDS, so),
            cancelled=reader.need("cancelled", values.get("cancelled"), TRUTH, so),
            changed_at=reader.need("changed_at", values.get("changed_at"), INSTANT, so),
        )
    except Unreadable:
        return None


def occurrence_of(values: Mapping[str, Any], reader: Reader, occurrence: datetime) -> Record:
    """How far an occurrence came. Where that cannot be read it is open, with no lease: a run works
    on it again, and the ledger keeps what was sent from being sent again."""
    from speakerbot.gate import Record  # brings the cron library

    read = reader.read
    return Record(
        occurrence=occurrence,
        standing=read("standing", values.get("standing"), STANDING, "open", "taken as open"),
        lease_until=read("lease_until", values.get("lease_until"), INSTANT, None),
        retry_at=read("retry_at", values.get("retry_at"), INSTANT, None),
        resume_at=read("resume_at", values.get("resume_at"), INSTANT, None),
        revision=read("revision", values.get("revision"), TEXT, ""),
    )


def run_of(values: Mapping[str, Any], reader: Reader) -> Run:
    """The run whose id is ``reader.id``. Raises Unreadable where it is not known when it was."""
    read = reader.read
    return Run(
        id=reader.id,
        job=read("job", values.get("job"), TEXT, ""),
        now=reader.need("now", values.get("now"), INSTANT),
        started_at=reader.need("started_at", values.get("started_at"), INSTANT),
        finished_at=read("finished_at", values.get("finished_at"), INSTANT, None),
        outcome=read("outcome", values.get("outcome"), TEXT, ""),
        schedule=read("schedule", values.get("schedule"), TEXT, None),
        occurrence=read("occurrence", values.get("occurrence"), INSTANT, None),
        counts=read("counts", values.get("counts"), FIELDS, {}),
        error=read("error", values.get("error"), TEXT, ""),
    )
