"""Between talks and the Node bot's documents, field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from speakerbot.domain.talk import FIRST_DAY, LAST_DAY, Talk
from speakerbot.errors import InputRefused
from speakerbot.stores.mongo.extended_json import from_bson, to_bson
from speakerbot.stores.nouns import speakers_document, talk_fields_of
from speakerbot.stores.reading import (
    CLOCK_TIME,
    FIELDS,
    FIRST_INSTANT,
    IDENTIFIER,
    INSTANT,
    LAST_INSTANT,
    SNOWFLAKE,
    TRUTH,
    WORDS,
    Damage,
    Kind,
    Reader,
    Unreadable,
)
from speakerbot.stores.talk_dates import DATE, HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from speakerbot.stores.mongo.connection import Document

OPTIONAL = {
    "threadId": "thread_id",
    "schedulerUserId": "scheduler_user_id",
    "schedulerUsername": "scheduler_username",
}
FLAGS = {"sentTminus1At": "sent_tminus1_at", "sentDayOfAt": "sent_day_of_at"}
OURS = "speakerbot"
OUR_FIELDS = ("startsAt", "length", "room", "link", "speakers", "sourceId")
SUBDOCUMENTS = ("reminders", OURS)
KNOWN = frozenset(OPTIONAL) | {
    "_id", "discordUserId", "discordUsername", "topic", "scheduledDate", "bookingTimestamp",
    "talkCompleted", "reminders", OURS,
}  # fmt: skip


def document_id(talk_id: str) -> ObjectId | str:
    """The ``_id`` of a new document: 24 hexadecimal digits are an ObjectId, as mongoose makes
    them; anything else is itself."""
    return ObjectId(talk_id) if ObjectId.is_valid(talk_id) else talk_id


def document_ids(talk_ids: Sequence[str]) -> Document:
    """The query for the ``_id`` of documents that are there: people's hands have written ids of
    other types too."""
    ids: list[Any] = [document_id(talk_id) for talk_id in talk_ids]
    ids += [talk_id for talk_id in talk_ids if ObjectId.is_valid(talk_id)]
    ids += [int(talk_id) for talk_id in talk_ids if _is_long(talk_id)]
    return {"_id": {"$in": ids}}


def _is_long(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text


def midnight(day: date) -> datetime:
    """``scheduledDate`` of a talk on that day."""
    return datetime.combine(day, time(), UTC)


def on_days(first: date, last: date) -> Document:
    """The query for ``scheduledDate`` on these days, both included, at whatever time of day."""
    end = datetime.combine(last, time.max, UTC)
    # A list is found by what is in it, and is not a date all the same.
    return {"$gte": midnight(first), "$lte": end, "$not": {"$type": "array"}}


NOT_DATES = ("string", "number", "object", "array", "bool", "objectId", "binData")
DATE_UNREADABLE: Document = {
    "$or": [
        {"scheduledDate": None},
        *({"scheduledDate": {"$type": kind}} for kind in NOT_DATES),
        {"scheduledDate": {"$lt": midnight(FIRST_DAY)}},
        {"scheduledDate": {"$gt": datetime.combine(LAST_DAY, time.max, UTC)}},
    ]
}
"""The query for talks that no query for days finds. Each part follows the index."""


def is_subdocument(name: str) -> Document:
    return {name: {"$type": "object", "$not": {"$type": "array"}}}


def can_be_set_in(name: str) -> Document:
    """The query for documents in which ``$set`` of a dotted name makes, or finds, a subdocument of
    that name: MongoDB refuses it in null, a text or a list."""
    return {"$or": [{name: {"$exists": False}}, is_subdocument(name)]}


def flag_is(path: str, seen: datetime | None, to: datetime | None) -> Document:
    """The query for a flag that has one of these values. What cannot be read is read as None."""
    values: list[Document] = [{path: {"$in": [seen, to]}}]
    if seen is None:
        values += [
            {path: {"$not": {"$type": "date"}}},
            {path: {"$type": "array"}},
            {path: {"$lt": FIRST_INSTANT}},
            {path: {"$gte": LAST_INSTANT}},
        ]
    return {"$or": values}


def to_talk(document: Document, damage: Damage) -> Talk | None:
    """As :func:`read_talk`, but None for what it cannot read."""
    try:
        return read_talk(document, damage)
    except Unreadable:
        return None


def read_talk(document: Document, damage: Damage) -> Talk:
    """Forgives what the bot or people's hands have left out or written wrong, with a warning.
    Raises Unreadable where that is the date or the id."""
    reader = Reader(damage, "talk", str(document["_id"]))
    read = reader.read
    reader.need("_id", document["_id"], TALK_ID, HIDDEN)
    day = reader.need("scheduledDate", document.get("scheduledDate"), DATE, HIDDEN)
    reminders = read("reminders", document.get("reminders"), FIELDS, {}, "taken as none")
    ours = read(OURS, document.get(OURS), FIELDS, {}, "taken as none")
    unknown = dict(_unknown(document, reminders, ours))
    flags: dict[str, Any] = {
        name: read(f"reminders.{flag}", reminders.get(flag), INSTANT, None, "taken as not sent")
        for flag, name in FLAGS.items()
    }
    user_id = read("discordUserId", document.get("discordUserId"), IDENTIFIER, "")
    return Talk(
        id=reader.id,
        user_id=user_id,
        username=read("discordUsername", document.get("discordUsername"), WORDS, ""),
        topic=read("topic", document.get("topic"), WORDS, ""),
        date=day,
        booked_at=read("bookingTimestamp", document.get("bookingTimestamp"), INSTANT, None),
        completed=read("talkCompleted", document.get("talkCompleted"), TRUTH, False),
        starts_at=read(f"{OURS}.startsAt", ours.get("startsAt"), CLOCK_TIME, None),
        extra=read("unknown fields", unknown, EXTRA, {}),
        thread_id=read("threadId", document.get("threadId"), SNOWFLAKE, None, "no thread"),
        scheduler_user_id=read(
            "schedulerUserId", document.get("schedulerUserId"), IDENTIFIER, None
        ),
        scheduler_username=read(
            "schedulerUsername", document.get("schedulerUsername"), WORDS, None
        ),
        **flags,
        **talk_fields_of(ours, reader, user_id, f"{OURS}."),
    )


def _talk_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, ObjectId | str | int):
        raise TypeError
    return value


TALK_ID = Kind("an ObjectId or a text", _talk_id)
EXTRA = Kind("values that JSON can hold", from_bson)


def _unknown(document: Document, reminders: Document, ours: Document) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name not in KNOWN and (name, value) != ("__v", 0):
            yield name, value
    if others := {flag: reminders[flag] for flag in reminders if flag not in FLAGS}:
        yield "reminders", others
    if others := {name: ours[name] for name in ours if name not in OUR_FIELDS}:
        yield OURS, others


def update_of(talk: Talk, now: datetime) -> Document:
    """The update, or upsert, that makes the document the talk's; other fields stay as they are.
    So do the flags of a document that is there: only a new one takes them from the talk.

    ``now`` becomes the booking time of a new document whose talk has none.
    """
    values: Document = {
        "discordUserId": talk.user_id,
        "discordUsername": talk.username,
        "topic": talk.topic,
        "scheduledDate": midnight(talk.date),
        "talkCompleted": talk.completed,
        f"{OURS}.startsAt": talk.starts_at.isoformat("minutes") if talk.starts_at else None,
        f"{OURS}.length": talk.length,
        f"{OURS}.room": talk.room,
        f"{OURS}.link": talk.link,
        f"{OURS}.speakers": speakers_document(talk.co_speakers) or None,
        f"{OURS}.sourceId": talk.source_id,
        **{field: getattr(talk, name) for field, name in OPTIONAL.items()},
    }
    flags = {f"reminders.{flag}": getattr(talk, name) for flag, name in FLAGS.items()}
    new: Document = {"__v": 0, "bookingTimestamp": now}
    new |= {path: at for path, at in flags.items() if at is not None}
    if talk.booked_at is not None:
        values["bookingTimestamp"] = talk.booked_at
    given = {name: value for name, value in _given(talk) if name not in {**values, **flags}}
    known = {name: value for name, value in values.items() if value is not None}
    update = {
        "$set": given | known,
        "$unset": {name: "" for name in values if name not in known},
        "$setOnInsert": {name: new[name] for name in new if name not in given | known},
    }
    return {operator: fields for operator, fields in update.items() if fields}


def edit_of(before: Talk, after: Talk) -> Document:
    """The update that makes of one talk the other, but for its date; empty where they are alike."""
    now = datetime.min.replace(tzinfo=UTC)
    old, new = update_of(before, now), update_of(replace(after, date=before.date), now)
    known, left_out = old.get("$set", {}), old.get("$unset", {})
    update = {
        "$set": {
            name: value
            for name, value in new.get("$set", {}).items()
            if name not in known or known[name] != value
        },
        "$unset": {name: "" for name in new.get("$unset", {}) if name not in left_out},
    }
    return {operator: fields for operator, fields in update.items() if fields}


def _given(talk: Talk) -> Iterator[tuple[str, Any]]:
    """The talk's unknown fields as paths to set."""
    try:
        extra = to_bson(talk.extra)
    except (TypeError, ValueError) as error:
        raise InputRefused(f"talk {talk.id}", [f"an unknown field's value: {error}"]) from error
    for name, value in extra.items():
        if "." in name or name.startswith("$"):
            raise InputRefused(f"talk {talk.id}", [f"field {name!r}: MongoDB cannot update it"])
        if name in SUBDOCUMENTS and isinstance(value, dict):
            for inner, inner_value in value.items():
                yield f"{name}.{inner}", inner_value
        elif name not in KNOWN:
            yield name, value
