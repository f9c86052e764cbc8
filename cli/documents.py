"""Talks, people and deliveries as JSON shows them, the same in every command."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from speakerbot.clock import real_now
from speakerbot.delivery import status as statuses
from speakerbot.domain.confirmation import answers_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from speakerbot.domain.confirmation import Answers
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.person import Person
    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import Store

PAGE = 200
"""Talks whose answers are read at once."""


def with_answers(store: Store, talks: Iterator[Talk]) -> Iterator[tuple[Talk, Answers]]:
    """Each with what speakers have answered; read in pages."""
    while page := list(islice(talks, PAGE)):
        answers = store.answers.about([talk.id for talk in page])
        yield from ((talk, answers) for talk in page)


def talk_document(talk: Talk, zone: ZoneInfo, answers: Answers | None = None) -> dict[str, Any]:
    """A talk as JSON shows it; ``start`` is the instant, ``starts_at`` the community's clock,
    ``length`` minutes; the first of ``speakers`` is the main one, with what they have answered
    where ``answers`` are given."""
    return {
        "id": talk.id,
        "date": talk.date.isoformat(),
        "starts_at": f"{talk.starts_at:%H:%M}" if talk.starts_at else None,
        "start": talk.start(zone),
        "user_id": talk.user_id,
        "username": talk.username,
        "topic": talk.topic,
        "speakers": _speakers(talk, answers),
        "length": talk.length,
        "room": talk.room,
        "link": talk.link,
        "thread_id": talk.thread_id,
        "completed": talk.completed,
        "booked_at": talk.booked_at,
        "scheduler_user_id": talk.scheduler_user_id,
        "scheduler_username": talk.scheduler_username,
        "sent_tminus1_at": talk.sent_tminus1_at,
        "sent_day_of_at": talk.sent_day_of_at,
        "source_id": talk.source_id,
        "extra": dict(talk.extra),
    }


def _speakers(talk: Talk, answers: Answers | None) -> list[dict[str, Any]]:
    named = [{"user_id": each.user_id, "username": each.username} for each in talk.speakers]
    if answers is None:
        return named
    given = answers_of(talk, answers)
    return [{**each, "answer": given.get(each["user_id"])} for each in named]


def person_document(person: Person) -> dict[str, Any]:
    """A person as JSON shows them."""
    return {
        "id": person.id,
        "discord_user_id": person.discord_user_id,
        "name": person.name,
        "timezone": person.timezone,
        "quiet_hours": str(person.quiet_hours) if person.quiet_hours else None,
        "routes": list(person.routes),
        "opted_out": sorted(person.opted_out),
        "extra": dict(person.extra),
    }


def delivery_document(record: Delivery, now: datetime) -> dict[str, Any]:
    """A delivery as JSON lists it: ``status`` is how to read ``state``. No text of the message."""
    return {
        "key": record.key,
        "kind": record.kind,
        "recipient": record.recipient,
        "status": statuses.status(record, now, real_now()),
        "state": record.state,
        "route": record.route or None,
        "target": record.target or None,
        "attempts": record.attempts,
        "due_at": record.due_at,
        "expires_at": record.expires_at,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "lease_until": record.lease_until,
        "retry_at": record.retry_at,
        "sent_at": record.sent_at,
        "error_class": record.error_class or None,
        "error": record.error or None,
        "message_id": record.message_id or None,
        "channel_id": record.channel_id or None,
        "run_id": record.run_id,
    }
