"""Asks the community for speakers when no talk is coming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from speakerbot.clock import instant
from speakerbot.domain.delivery import DeliveryState, SkipReason
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.routes import announcement_channel, only_route

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery

SUBJECT = "speakers"
"""One for every prompt, whichever channel it goes to: the ledger finds the last one by it."""
PAST = timedelta(days=365)
AHEAD = timedelta(weeks=12)
SHOWN_DATES = 3


def decide(context: JobContext) -> Iterator[Decision]:
    """A prompt while no talk comes in the next days, at most one per configured period.

    The period counts from the decision time of the last prompt, and that prompt is in the next
    one's key: of any number of runs, dying or not, one sends the next. A prompt that was refused
    for good, or may have arrived, counts as well."""
    settings = context.settings
    channel = announcement_channel(context.store.guilds, settings)
    today = context.now.astimezone(settings.timezone).date()
    last_day = today + timedelta(days=settings.engagement_empty_days - 1)
    if any(not talk.completed for talk in context.store.talks.between(today, last_day)):
        yield Skip(SkipReason.TALK_COMING, SUBJECT)
        return
    last = next((each for each in context.store.ledger.find(SUBJECT) if _is_settled(each)), None)
    if (
        last
        and last.state != DeliveryState.EXPIRED
        and context.now < last.due_at + settings.engagement_every
    ):
        yield Skip(SkipReason.ASKED_RECENTLY, SUBJECT)
        return
    yield _prompt(context, channel, today, last)


def _is_settled(record: Delivery) -> bool:
    """No run will send it any more."""
    from speakerbot.domain.delivery import FINAL, MAX_ATTEMPTS  # most runs see no record

    exhausted = record.state == DeliveryState.FAILED and record.attempts >= MAX_ATTEMPTS
    return record.state in FINAL or exhausted


def _prompt(context: JobContext, channel: str, today: date, last: Delivery | None) -> Message:
    zone, days = context.settings.timezone, context.settings.engagement_empty_days
    talks = context.store.talks.between(today - PAST, today + AHEAD)
    dates = free_dates([talk.date for talk in talks], today)
    asked = f"last asked {last.due_at:%F %H:%M} UTC" if last else "never asked before"
    return Message(
        kind="engagement",
        subject=SUBJECT,
        recipient=f"channel:{channel}",
        occasion=f"after-{_instant(last.due_at)}" if last else "first",
        routes=only_route(channel),
        template="engagement",
        values={
            "days": days,
            "dates": [{"date": day.isoformat(), "weekday": f"{day:%A}"} for day in dates],
        },
        due_at=context.now,
        # Tomorrow the free dates may be others: a prompt that waits is made again then.
        expires_at=instant(today + timedelta(days=1), time(), zone),
        reason=f"no talk in the {days} days from {today} on; {asked}",
    )


def free_dates(talks: Sequence[date], today: date) -> list[date]:
    """The next dates without a talk, on the weekday most dates with talks had so far: of two as
    frequent, the one that was used last. In a community without any talk yet, it is today's
    weekday."""
    taken = set(talks)
    past = sorted((day for day in taken if day < today), reverse=True)
    counted = Counter(day.weekday() for day in past)
    weekday = counted.most_common(1)[0][0] if counted else today.weekday()
    first = today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    weeks = (first + timedelta(weeks=week) for week in range(AHEAD // timedelta(weeks=1)))
    return list(islice((day for day in weeks if day not in taken), SHOWN_DATES))


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


JOB = Job("engagement", decide)
