"""Posts the coming week's talks to the community's channel, and keeps the post true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.message import Decision, Edit, LookBack, Message, Skip
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.routes import announcement_channel, only_route
from speakerbot.text import LIMIT, escape, length

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.talk import Talk

DAYS = 7
"""A post shows this many days; as there is one talk a date, it has no more parts than that."""
HEADING = "## Upcoming Talks"
"""What the Node bot's own post begins with."""
ROOM = LIMIT - len(f"{HEADING}\n\n") + 1
"""Characters for the lines of one message, the last of which needs no line break. Where an override
of the template needs more around them, topics are shortened when it is rendered."""
AROUND_A_LINE = len('1. **2026-11-20** - : ""\n')
"""Characters of a line beside the speaker's name and the topic."""
AGAIN = "/again"

Line = Mapping[str, Any]
Records = Mapping[str, "Delivery"]


@dataclass(frozen=True, slots=True)
class Week:
    """One week's post. ``day`` is the first it shows; instants are in UTC."""

    monday: date
    day: date
    due_at: datetime
    zone: ZoneInfo

    @property
    def name(self) -> str:
        year, week, _ = self.monday.isocalendar()
        return f"{year}-W{week:02}"

    @property
    def begins_at(self) -> datetime:
        return instant(self.monday, time(), self.zone)

    @property
    def expires_at(self) -> datetime:
        """With the ISO week. An occurrence that is served when its week is over has that day."""
        last = max(self.monday + timedelta(days=DAYS), self.day + timedelta(days=1))
        return instant(last, time(), self.zone)

    def covers(self, day: date) -> bool:
        return self.day <= day < self.day + timedelta(days=DAYS)

    def occasion(self, part: int) -> str:
        return self.name if part == 1 else f"{self.name}/{part}"

    def shown_from(self, first: Delivery) -> Week:
        """The week as its first part was posted: all parts, and every edit, show the same days."""
        return replace(self, day=first.due_at.astimezone(self.zone).date(), due_at=first.due_at)


def decide(context: JobContext) -> Iterator[Decision]:
    channel = announcement_channel(context.store.guilds, context.settings)
    yield from _edits(context, channel) if context.edit_only else _posts(context, channel)


def _posts(context: JobContext, channel: str) -> Iterator[Decision]:
    """This week's post, in parts where it is longer than a message."""
    week = _week_of(context.occurrence or context.now, context)
    first_key = _message(week, channel, 1, []).key
    first = context.store.ledger.get([first_key]).get(first_key)
    if first is not None and first.state == DeliveryState.SENT:
        week = week.shown_from(first)
    parts = split(_lines(context, week))
    if first is not None and first.found:
        del parts[1:]  # the Node bot's post stands for all of it
    for number, lines in enumerate(parts, 1):
        message = _message(week, channel, number, lines)
        if number == 1 and context.settings.node_bot_coexist:
            message = replace(message, look_back=LookBack(HEADING, week.begins_at))
        yield message


def _week_of(anchor: datetime, context: JobContext) -> Week:
    """The post that is due ``now``. Its week is that of ``anchor``, its days begin today."""
    zone = context.settings.timezone
    on, today = anchor.astimezone(zone).date(), context.now.astimezone(zone).date()
    due_at = context.occurrence if context.occurrence and on == today else None
    monday = on - timedelta(days=on.weekday())
    return Week(monday, today, due_at or instant(today, time(), zone), zone)


def _lines(context: JobContext, week: Week) -> list[Line]:
    last = week.day + timedelta(days=DAYS - 1)
    talks = context.store.talks.between(week.day, last)
    coming = (talk for talk in talks if not talk.completed)
    return [_line(number, talk) for number, talk in enumerate(coming, 1)]


def _line(number: int, talk: Talk) -> Line:
    return {
        "number": number,
        "date": talk.date.isoformat(),
        "username": talk.username,
        "topic": talk.topic,
    }


def split(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of each message, cut between lines. One that is too long for a message stands
    alone; its topic is shortened when it is rendered. No lines are one message."""
    parts: list[list[Line]] = [[]]
    left = ROOM
    for line in lines:
        size = AROUND_A_LINE + length(escape(line["username"])) + length(escape(line["topic"]))
        if parts[-1] and size > left:
            parts.append([])
            left = ROOM
        parts[-1].append(line)
        left -= size
    return parts


def _message(week: Week, channel: str, part: int, lines: Sequence[Line]) -> Message:
    template, values = ("weekly", {"part": part, "talks": list(lines)}) if lines else _bare(part)
    return Message(
        kind="weekly",
        subject="schedule",
        recipient=f"channel:{channel}",
        occasion=week.occasion(part),
        routes=only_route(channel),
        template=template,
        values=values,
        due_at=week.due_at,
        expires_at=week.expires_at,
        reason=f"the schedule of week {week.name}, from {week.day} on",
        follows=part > 1,
    )


def _bare(part: int) -> tuple[str, dict[str, Any]]:
    """What is said where there are no lines. A part that is not needed any more stays in place."""
    return ("weekly_empty" if part == 1 else "weekly_nothing_more"), {}


def _edits(context: JobContext, channel: str) -> Iterator[Decision]:
    """What makes the latest post true again, as long as today is one of its days."""
    if context.settings.weekly_mode != "edit":
        yield Skip("weekly_mode_is_post", "weekly")
        return
    week, records = _latest(context, channel)
    if week is None:
        yield Skip("nothing_posted", "weekly")
        return
    parts = split(_lines(context, week))
    for number in range(1, DAYS + 1):
        lines = parts[number - 1] if number <= len(parts) else []
        message = _message(week, channel, number, lines)
        if number <= len(parts) or _posted(message, records):
            yield from _made_true(message, records, context)


def _latest(context: JobContext, channel: str) -> tuple[Week | None, Records]:
    """The newest of this week's and last week's posts, if it still shows today."""
    this = _week_of(context.now, context)
    last = replace(this, monday=this.monday - timedelta(days=DAYS))
    messages = [_message(w, channel, n, []) for w in (this, last) for n in range(1, DAYS + 1)]
    keys = [key for message in messages for key in (message.key, message.key + AGAIN)]
    records = context.store.ledger.get(keys)
    for week in (this, last):
        first = records.get(_message(week, channel, 1, []).key)
        if first is not None and first.state == DeliveryState.SENT:
            shown = week.shown_from(first)
            return (shown if shown.covers(this.day) else None), records
    return None, records


def _posted(message: Message, records: Records) -> bool:
    record = records.get(message.key)
    return record is not None and record.state == DeliveryState.SENT


def _made_true(message: Message, records: Records, context: JobContext) -> Iterator[Decision]:
    """What to do about one part: post it, again if somebody deleted it; edit it; or nothing."""
    standing, again = records.get(message.key), records.get(message.key + AGAIN)
    again_occasion: str | None = message.occasion + AGAIN
    if again or (standing and standing.error_class == "deleted"):
        message = replace(message, occasion=message.occasion + AGAIN)
        standing, again_occasion = again, None
    if standing is None or standing.state != DeliveryState.SENT:
        yield message
    elif standing.error_class == "deleted":
        yield Skip("deleted_twice", message.subject)
    elif standing.text == context.templates.of(message):
        yield message  # to be counted as already sent
    else:
        reason = "edit: the schedule has changed since it was posted"
        yield replace(message, edit=Edit(again_occasion), follows=False, reason=reason)


JOB = Job("weekly", decide)
