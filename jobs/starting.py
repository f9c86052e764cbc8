"""Announces each talk in the community's channel, some minutes before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from speakerbot.config import Settings
from speakerbot.domain.delivery import SkipReason
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.talk import Talk
from speakerbot.runs.job import Job, JobContext, Prospect, Window
from speakerbot.runs.routes import announcement_channel, is_configured, only_route
from speakerbot.runs.talk_values import talk_values


def decide(context: JobContext) -> Iterator[Decision]:
    """A post for each talk that starts within ``SPEAKERBOT_STARTING_BEFORE``, until it starts."""
    channel = ""
    for talk, start in _starting(context, context.now):
        if not context.now < start:
            continue
        if talk.completed:
            yield Skip(SkipReason.COMPLETED, f"talk:{talk.id}")
            continue
        channel = channel or announcement_channel(context.store.guilds, context.settings)
        yield _message(talk, start, channel, context.settings)


def _starting(context: JobContext, until: datetime) -> Iterator[tuple[Talk, datetime]]:
    """Each talk whose post falls due by ``until``, with its start; also some whose start is over by
    less than a day. One query."""
    settings = context.settings
    zone, last = settings.timezone, until + settings.starting_before
    # A clock time that does not exist comes later than it says: it may move to the next day.
    first_day = context.now.astimezone(zone).date() - timedelta(days=1)
    for talk in context.store.talks.between(first_day, last.astimezone(zone).date()):
        start = talk.start(zone)
        if start is not None and start <= last:
            yield talk, start


def _message(talk: Talk, start: datetime, channel: str, settings: Settings) -> Message:
    role = settings.starting_mention
    return Message(
        kind="starting",
        subject=f"talk:{talk.id}",
        recipient=f"channel:{channel}",
        occasion=talk.date.isoformat(),
        routes=only_route(channel, mention=f"role:{role}" if role else None),
        template="starting",
        values=talk_values(talk, settings.timezone),
        due_at=start - settings.starting_before,
        expires_at=start,
        reason=f"talk on {talk.date}, starts at {start:%F %H:%M} UTC",
    )


def windows(context: JobContext, until: datetime) -> Iterator[Window]:
    """When the posts that are due, or fall due by ``until``, may go."""
    for talk, start in _starting(context, until):
        if context.now < start and not talk.completed:
            key = f"{talk.id}/{talk.date}"
            yield Window(start - context.settings.starting_before, start, key)


def still_true(context: JobContext, messages: Sequence[Message]) -> set[str]:
    """Those of talks that still start when they were to."""
    zone = context.settings.timezone
    talks = context.store.talks.by_ids([message.subject_id for message in messages])
    return {
        message.key
        for message in messages
        if (talk := talks.get(message.subject_id)) is not None
        and not talk.completed
        and talk.start(zone) == message.expires_at
    }


def prospects(context: JobContext, talk_id: str) -> Iterator[Prospect]:
    """The talk's one post, where it has a start and there is a channel."""
    store, settings = context.store, context.settings
    talk = store.talks.get(talk_id)
    start = talk.start(settings.timezone) if talk else None
    if talk is None or start is None:
        return
    if is_configured("announcements", store.guilds, settings):
        channel = announcement_channel(store.guilds, settings)
        dropped = "the talk is marked as completed" if talk.completed else ""
        yield Prospect(_message(talk, start, channel, settings), dropped)


JOB = Job("starting", decide, prospects=prospects, still_true=still_true, windows=windows)
