"""Between talks and the Node bot's documents, field by field."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from speakerbot.domain.talk import Talk
from speakerbot.errors import InputRefused
from speakerbot.stores.mongo.extended import from_bson, to_bson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from speakerbot.stores.mongo.connection import Document

OPTIONAL = {
    "threadId": "thread_id",
    "schedulerUserId": "scheduler_user_id",
    "schedulerUsername": "scheduler_username",
}
FLAGS = {"sentTminus1At": "sent_tminus1_at", "sentDayOfAt": "sent_day_of_at"}
OURS = "speakerbot"
KNOWN = frozenset(OPTIONAL) | {
    "_id", "discordUserId", "discordUsername", "topic", "scheduledDate", "bookingTimestamp",
    "talkCompleted", "reminders", OURS,
}  # fmt: skip


def document_id(talk_id: str) -> ObjectId | str:
    """24 hexadecimal digits are an ObjectId, as mongoose makes them; anything else is itself."""
    return ObjectId(talk_id) if ObjectId.is_valid(talk_id) else talk_id


def midnight(day: date) -> datetime:
    """``scheduledDate`` of a talk on that day."""
    return datetime.combine(day, time(), UTC)


def on_days(first: date, last: date) -> Document:
    """The query for ``scheduledDate`` on these days, both included, at whatever time of day."""
    return {"$gte": midnight(first), "$lte": datetime.combine(last, time.max, UTC)}


def to_talk(document: Document) -> Talk:
    """Forgives what the bot or people's hands have left out or left null, but for the date."""
    reminders, ours = _fields(document, "reminders"), _fields(document, OURS)
    return Talk(
        id=str(document["_id"]),
        user_id=speaker(document),
        username=str(document.get("discordUsername") or ""),
        topic=str(document.get("topic") or ""),
        date=document["scheduledDate"].date(),
        booked_at=_instant(document.get("bookingTimestamp")),
        completed=bool(document.get("talkCompleted")),
        starts_at=_clock_time(ours.get("startsAt")),
        extra=from_bson(dict(_unknown(document, reminders, ours))),
        thread_id=_text(document.get("threadId")),
        scheduler_user_id=_text(document.get("schedulerUserId")),
        scheduler_username=_text(document.get("schedulerUsername")),
        sent_tminus1_at=_instant(reminders.get("sentTminus1At")),
        sent_day_of_at=_instant(reminders.get("sentDayOfAt")),
    )


def speaker(document: Document) -> str:
    """Their Discord id."""
    return str(document.get("discordUserId") or "")


def _unknown(document: Document, reminders: Document, ours: Document) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name not in KNOWN and (name, value) != ("__v", 0):
            yield name, value
    if others := {flag: reminders[flag] for flag in reminders if flag not in FLAGS}:
        yield "reminders", others
    if others := {name: ours[name] for name in ours if name != "startsAt"}:
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


def _given(talk: Talk) -> Iterator[tuple[str, Any]]:
    """The talk's unknown fields as paths to set."""
    try:
        extra = to_bson(talk.extra)
    except (TypeError, ValueError) as error:
        raise InputRefused(f"talk {talk.id}", [f"an unknown field's value: {error}"]) from error
    for name, value in extra.items():
        if "." in name or name.startswith("$"):
            raise InputRefused(f"talk {talk.id}", [f"field {name!r}: MongoDB cannot update it"])
        if name in ("reminders", OURS) and isinstance(value, dict):
            for inner, inner_value in value.items():
                yield f"{name}.{inner}", inner_value
        elif name not in KNOWN:
            yield name, value


def _fields(document: Mapping[str, Any], name: str) -> Document:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _instant(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _clock_time(value: Any) -> time | None:
    try:
        return time.fromisoformat(value)
    except (TypeError, ValueError):
        return None
