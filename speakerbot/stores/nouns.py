"""How people, deliveries and the like are read: the same in every store, by the names of their
fields, and as little of them lost as can be.

Instants come as datetimes, lists and subdocuments as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from speakerbot.domain.delivery import FINAL, Delivery, DeliveryState
from speakerbot.domain.person import OPT_OUT_KINDS, Person
from speakerbot.domain.run import Run, RunOutcome
from speakerbot.stores.reading import (
    CLOCK_TIME,
    FIELDS,
    FIRST_INSTANT,
    IDENTIFIER,
    INSTANT,
    LENGTH,
    LINK,
    LIST,
    PROBLEMS,
    QUIET_HOURS,
    SNOWFLAKE,
    TEXT,
    TEXTS,
    TRUTH,
    WHOLE,
    WORDS,
    Kind,
    Reader,
    Unreadable,
)
from speakerbot.stores.talk_dates import DATE_TEXT

if TYPE_CHECKING:
    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.confirmation import Answer
    from speakerbot.domain.inbox import InboxMessage
    from speakerbot.domain.occurrence import OccurrenceRecord
    from speakerbot.domain.server_event import EventDetails, EventRecord
    from speakerbot.domain.talk import Speaker
    from speakerbot.domain.talk_changes import TalkSnapshot, TalkVersion
    from speakerbot.ports.store import Breaker

T = TypeVar("T")

STATES = {state.value: state for state in (*FINAL, DeliveryState.CLAIMED, DeliveryState.FAILED)}
LEFT_OUT = "the delivery is left out of lists, and never sent again"


def _one_of(words: Mapping[str, Any]) -> Kind[Any]:
    return Kind(f"one of {', '.join(sorted(words))}", words.__getitem__)


STATE = _one_of(STATES)
OUTCOME = _one_of({outcome.value: outcome for outcome in RunOutcome})
ANSWER = _one_of({word: word for word in ("yes", "no")})
STANDING = _one_of({word: word for word in ("running", "open", "finished", "missed", "superseded")})


def person_of(values: Mapping[str, Any], reader: Reader) -> Person:
    """A person, by the names of their fields. Whatever else is unreadable, no opt-out is lost:
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


def talk_fields_of(
    values: Mapping[str, Any], reader: Reader, main_speaker: str, path: str = ""
) -> dict[str, Any]:
    """What a talk has beside the Node bot's fields, from our subdocument of a document;
    ``path`` is what stands in front of its fields' names, ``main_speaker`` empty where their id
    cannot be read."""
    if all(values.get(name) is None for name in ("length", "room", "link", "speakers", "sourceId")):
        return {"speakers_known": main_speaker != ""}  # most talks have none of them
    read = reader.read
    given = values.get("speakers")
    speakers, all_read = _speakers_of(given, reader, f"{path}speakers") if given else ((), True)
    return {
        "length": read(f"{path}length", values.get("length"), LENGTH, None),
        "room": read(f"{path}room", values.get("room"), WORDS, None) or None,
        "link": read(f"{path}link", values.get("link"), LINK, None),
        "co_speakers": speakers,
        "source_id": read(f"{path}sourceId", values.get("sourceId"), TEXT, None) or None,
        "speakers_known": all_read and main_speaker != "",
    }


def _speakers_of(given: Any, reader: Reader, field: str) -> tuple[tuple[Speaker, ...], bool]:
    """Those that can be read, and whether these are all."""
    from speakerbot.domain.talk import Speaker  # most runs read no talks

    listed = reader.read(field, given, LIST, None)
    found: list[Speaker] = []
    for place, each in enumerate(listed or ()):
        one = f"{field}[{place}]"
        try:
            values = reader.need(one, each, FIELDS, "that speaker is left out")
            user = reader.need(
                f"{one}.userId", values.get("userId"), SNOWFLAKE, "that speaker is left out"
            )
        except Unreadable:
            continue
        name = reader.read(f"{one}.username", values.get("username"), WORDS, "")
        found.append(Speaker(user, name))
    return tuple(found), listed is not None and len(found) == len(listed)


def speakers_document(speakers: Sequence[Speaker]) -> list[dict[str, str]]:
    """As :func:`talk_fields_of` reads them."""
    return [{"userId": each.user_id, "username": each.username} for each in speakers]


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
NOT_READ = {INSTANT: FIRST_INSTANT, WHOLE: 0, TEXT: "", STATE: DeliveryState.UNKNOWN}


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
    return record._replace(state=DeliveryState.UNKNOWN) if reader.damaged else record


def inbox_message_of(values: Mapping[str, Any], reader: Reader) -> InboxMessage:
    """The message whose key is ``reader.id``. Raises Unreadable where it is not known whose it is,
    or when it came."""
    from speakerbot.domain.inbox import InboxMessage  # most runs read none

    created_at = reader.need("created_at", values.get("created_at"), INSTANT)
    read_at, so = values.get("read_at"), "taken as read when it came"
    return InboxMessage(
        key=reader.id,
        recipient=reader.need("recipient", values.get("recipient"), TEXT),
        text=reader.read("text", values.get("text"), TEXT, ""),
        created_at=created_at,
        read_at=None
        if read_at is None
        else reader.read("read_at", read_at, INSTANT, created_at, so),
    )


def answer_of(values: Mapping[str, Any], reader: Reader) -> Answer | None:
    """None, so that the question counts as unanswered and the next answer replaces it, where part
    of it cannot be read."""
    from speakerbot.domain.confirmation import Answer  # most runs read none

    so = "taken as no answer"
    try:
        return Answer(
            kind=reader.need("kind", values.get("kind"), TEXT, so),
            talk_id=reader.need("talk_id", values.get("talk_id"), TEXT, so),
            user_id=reader.need("user_id", values.get("user_id"), IDENTIFIER, so),
            date=reader.need("date", values.get("date"), DATE_TEXT, so),
            answer=reader.need("answer", values.get("answer"), ANSWER, so),
            at=reader.read("at", values.get("at"), INSTANT, FIRST_INSTANT),
        )
    except Unreadable:
        return None


def breaker_of(values: Mapping[str, Any], reader: Reader) -> Breaker | None:
    """None where it is not known until when: as if it were closed."""
    from speakerbot.ports.store import Breaker  # only runs that send read them

    try:
        until = reader.need("until", values.get("until"), INSTANT, "taken as closed")
    except Unreadable:
        return None
    reason = reader.read("reason", values.get("reason"), TEXT, "")
    return Breaker(until, reason, reader.read("count", values.get("count"), WHOLE, 0))


def entry_of(values: Mapping[str, Any], reader: Reader) -> TalkSnapshot | None:
    """What a speaker knows of a talk; ``told`` and ``seen`` as ``{"date": …, "topic": …, "start":
    …}``, the start missing where an older program wrote them. None, so that no notice of that talk
    is sent, where part of it cannot be read."""
    from speakerbot.domain.talk_changes import TalkSnapshot  # other jobs need none

    version = Kind("a date, a topic and a start", _version)
    so = "the talk's changes are not announced"
    try:
        return TalkSnapshot(
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


def _version(value: Any) -> TalkVersion:
    from speakerbot.domain.talk_changes import TalkVersion

    stored = FIELDS.parse(value)
    start = stored.get("start")
    return TalkVersion(
        DATE_TEXT.parse(stored.get("date")),
        TEXT.parse(stored.get("topic")),
        None if start is None else TEXT.parse(start),
    )


def calendar_entry_of(values: Mapping[str, Any], reader: Reader) -> CalendarEntry | None:
    """A talk as calendar programs were told of it, the talk's id being ``reader.id``. None, so that
    they are told nothing new, where part of it cannot be read."""
    from speakerbot.domain.calendar_entry import CalendarEntry  # most runs need none

    so = "calendars are told nothing new of the talk"
    try:
        return CalendarEntry(
            talk_id=reader.id,
            sequence=reader.need("sequence", values.get("sequence"), WHOLE, so),
            date=reader.need("date", values.get("date"), DATE_TEXT, so),
            starts_at=_optional(reader, "starts_at", values.get("starts_at"), CLOCK_TIME, so),
            topic=reader.need("topic", values.get("topic"), WORDS, so),
            username=reader.need("username", values.get("username"), WORDS, so),
            cancelled=reader.need("cancelled", values.get("cancelled"), TRUTH, so),
            changed_at=reader.need("changed_at", values.get("changed_at"), INSTANT, so),
            length=_optional(reader, "length", values.get("length"), WHOLE, so),
            room=_optional(reader, "room", values.get("room"), TEXT, so),
            link=_optional(reader, "link", values.get("link"), TEXT, so),
        )
    except Unreadable:
        return None


def event_record_of(values: Mapping[str, Any], reader: Reader) -> EventRecord | None:
    """What is remembered of the event of the talk whose id is ``reader.id``. None, as if there were
    no record, where part of it cannot be read: the event itself names its talk."""
    from speakerbot.domain.server_event import EventRecord  # one job needs it

    details = Kind("what an event shows", _event_details)
    so = "the talk's event is left as it is"
    try:
        return EventRecord(
            talk_id=reader.id,
            revision=reader.need("revision", values.get("revision"), TEXT, so),
            at=reader.need("at", values.get("at"), INSTANT, so),
            event_id=_optional(reader, "event_id", values.get("event_id"), SNOWFLAKE, so),
            written=_optional(reader, "written", values.get("written"), details, so),
            stands=_optional(reader, "stands", values.get("stands"), details, so),
            writing=_optional(reader, "writing", values.get("writing"), details, so),
            refused=reader.read("refused", values.get("refused"), TEXT, ""),
        )
    except Unreadable:
        return None


def _event_details(value: Any) -> EventDetails:
    from speakerbot.domain.server_event import EventDetails

    stored = FIELDS.parse(value)
    name, text, place = (TEXT.parse(stored.get(key)) for key in ("name", "description", "place"))
    begin, end = (datetime.fromisoformat(stored[key]) for key in ("starts_at", "ends_at"))
    return EventDetails(name, text, place, INSTANT.parse(begin), INSTANT.parse(end))


def event_document(record: EventRecord) -> dict[str, Any]:
    """The fields of a record, but for the talk's id, as texts, instants and documents of texts."""

    def stored(details: EventDetails | None) -> dict[str, str] | None:
        if details is None:
            return None
        times = {name: getattr(details, name).isoformat() for name in ("starts_at", "ends_at")}
        return {**details._asdict(), **times}

    document = {**record._asdict(), **{n: stored(getattr(record, n)) for n in EVENT_DETAILS}}
    del document["talk_id"]
    return document


EVENT_DETAILS = ("written", "stands", "writing")


def occurrence_of(
    values: Mapping[str, Any], reader: Reader, occurrence: datetime
) -> OccurrenceRecord:
    """How far an occurrence came. Where that cannot be read it is open, with no lease: a run works
    on it again, and the ledger keeps what was sent from being sent again."""
    # Brings the cron library.
    from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding

    read = reader.read
    return OccurrenceRecord(
        occurrence=occurrence,
        standing=OccurrenceStanding(
            read("standing", values.get("standing"), STANDING, "open", "taken as open")
        ),
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
        outcome=read("outcome", values.get("outcome"), OUTCOME, RunOutcome.RUNNING),
        schedule=read("schedule", values.get("schedule"), TEXT, None),
        occurrence=read("occurrence", values.get("occurrence"), INSTANT, None),
        counts=read("counts", values.get("counts"), FIELDS, {}),
        error=read("error", values.get("error"), TEXT, ""),
    )
