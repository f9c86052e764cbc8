"""Tells the organisers once a day what was sent, what failed, who opted out and what is coming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from speakerbot.clock import instant
from speakerbot.domain.confirmation import in_words
from speakerbot.domain.delivery import MessageKey
from speakerbot.domain.message import Decision, Message
from speakerbot.domain.person import Person
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.routes import only_route, organisers_channel
from speakerbot.runs.talk_values import talk_values
from speakerbot.text import shorten

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

COUNTED = ("sent", "failed", "undeliverable", "unknown")
LOOKS_BACK = timedelta(hours=24)
LOOKS_AHEAD = timedelta(days=7)
LATEST = 200
"""Messages in inboxes that are looked at."""
MOST_NAMES = 20
LONGEST_TOPIC = 80


def decide(context: JobContext) -> Iterator[Decision]:
    """One message per day of the community's zone. Nothing notes when somebody opted out: it names
    those who are opted out now."""
    channel = organisers_channel(context.settings)
    zone = context.settings.timezone
    today = context.now.astimezone(zone).date()
    due_at = context.occurrence or context.now
    day = due_at.astimezone(zone).date()
    yield Message(
        kind="digest",
        subject="community",
        recipient=f"channel:{channel}",
        occasion=day.isoformat(),
        routes=only_route(channel),
        template="digest",
        values={
            "date": day.isoformat(),
            **_counts(context),
            "inbox_only": _inbox_only(context),
            **_coming(context.store, today, zone),
            **_opted_out(context.store),
        },
        due_at=due_at,
        expires_at=instant(today + timedelta(days=1), time(), zone),
        reason=f"the digest of {day}",
    )


def _counts(context: JobContext) -> dict[str, int]:
    counts = context.store.ledger.counts(since=context.now - LOOKS_BACK)
    return {state: counts.get(state, 0) for state in COUNTED}


def _inbox_only(context: JobContext) -> list[str]:
    """The names of speakers whose latest reminders only their inbox took."""
    latest = context.store.inbox.since(context.now - LOOKS_BACK, LATEST)
    keys = [key for each in latest if (key := MessageKey.parse(each.key)) is not None]
    about = [
        (key.subject.removeprefix("talk:"), key.recipient.removeprefix("user:"))
        for key in keys
        if key.kind.startswith("reminder.")
    ]
    talks = context.store.talks.by_ids(sorted({talk_id for talk_id, _ in about}))
    views = [talks[talk_id].seen_by(user_id) for talk_id, user_id in about if talk_id in talks]
    return sorted({view.username for view in views if view})[:MOST_NAMES]


def _coming(store: Store, today: date, zone: ZoneInfo) -> dict[str, Any]:
    talks = [
        talk
        for talk in store.talks.between(today, today + LOOKS_AHEAD - timedelta(days=1))
        if not talk.completed
    ]
    answers = store.answers.about([talk.id for talk in talks])
    return {
        "talks": [
            {
                **talk_values(talk, zone),
                "topic": shorten(talk.topic, LONGEST_TOPIC),
                "answer": in_words(talk, answers),
            }
            for talk in talks
        ]
    }


def _opted_out(store: Store) -> dict[str, Any]:
    """The first of them by name as they come, and how many more there are."""
    shown: list[Mapping[str, str]] = []
    more = 0
    for person in store.people.all():
        if not person.opted_out:
            continue
        if len(shown) < MOST_NAMES:
            shown.append({"name": _name(person), "kinds": ", ".join(sorted(person.opted_out))})
        else:
            more += 1
    return {"opted_out": shown, "more": more}


def _name(person: Person) -> str:
    return person.name or f"user {person.discord_user_id or person.id}"


JOB = Job("digest", decide)
