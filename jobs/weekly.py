"""Posts the coming week's talks to the community's channel, and keeps the post true."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.domain.delivery import DeliveryState, SkipReason
from speakerbot.domain.message import Decision, Edit, LookBack, Message, Skip
from speakerbot.errors import TemplateError
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.routes import announcement_channel, only_route
from speakerbot.runs.talk_values import talk_values

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.talk import Talk
    from speakerbot.ports.channel import Capabilities

DAYS = 7
"""A post shows this many days."""
PARTS = 7
"""So many parts of a week are looked up at once: most weeks have one."""
HEADING = "## Upcoming Talks"
"""What the Node bot's own post begins with."""
AROUND_THE_LINES = len(f"{HEADING}\n\n") - 1
"""Characters of a message beside its lines, the last of which needs no line break. Where an
override of the template needs more, topics are shortened when it is rendered."""
AROUND_A_LINE = len('. **2026-11-20** - : ""\n')
"""Characters of a line beside its number, the speakers' names and the topic."""
AROUND_A_START = len("Wednesday , 19:30 (, <t:32503680000:F>)")
"""Characters that a start adds to it, beside the room's name."""
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
    """This week's post, in parts where it is longer than a message. Where posts are edited, a run
    brings up to date what stands already."""
    editing = context.settings.weekly_mode == "edit"
    if context.edit_only and not editing:
        yield Skip(SkipReason.WEEKLY_MODE_IS_POST, "weekly")
        return
    channel = announcement_channel(context.store.guilds, context.settings)
    this = _week_of(context.now if context.edit_only else _anchor(context), context)
    last = replace(this, monday=this.monday - timedelta(days=DAYS))
    records = _records(context, channel, [this, last] if context.edit_only else [this])
    shown = _shown(this, channel, records)
    if context.edit_only:
        shown = shown or _shown(last, channel, records)
    if editing and shown and shown.covers(this.day):
        yield from _brought_up_to_date(context, channel, shown, records)
    elif context.edit_only:
        yield Skip(SkipReason.NOTHING_POSTED, "weekly")
    else:
        yield from _posts(context, channel, this, records)


def _anchor(context: JobContext) -> datetime:
    return context.occurrence or context.now


def _records(context: JobContext, channel: str, weeks: Sequence[Week]) -> Records:
    """What the ledger has of these weeks, by key. One query, but for weeks of many parts."""
    records: dict[str, Delivery] = {}
    first, open_weeks = 1, list(weeks)
    while open_weeks:
        numbers = range(first, first + PARTS)
        keys = [_key(week, channel, number) for week in open_weeks for number in numbers]
        records |= context.store.ledger.get([*keys, *(key + AGAIN for key in keys)])
        open_weeks = [week for week in open_weeks if _key(week, channel, numbers[-1]) in records]
        first += PARTS
    return records


def _shown(week: Week, channel: str, records: Records) -> Week | None:
    """The week as it was posted; None if it was not."""
    first = records.get(_key(week, channel, 1))
    return week.shown_from(first) if first and first.state == DeliveryState.SENT else None


def _posts(context: JobContext, channel: str, week: Week, records: Records) -> Iterator[Message]:
    """What is still to be posted: all of it, or what is left of what the first part's claim says.
    What was posted before counts as already sent."""
    first = records.get(_key(week, channel, 1))
    if first is None or not _may_stand(first):
        messages: Iterator[Message] = _whole(context, week, channel)
    else:
        week = week.shown_from(first)
        messages = _left(week, channel, _talks(context, week), records)
    if first is not None and first.found:
        messages = islice(messages, 1)  # the Node bot's post stands for all of it
    for message in messages:
        if not message.follows and context.settings.node_bot_coexist:
            yield replace(message, look_back=LookBack(HEADING, week.begins_at))
        else:
            yield message


def _may_stand(record: Delivery) -> bool:
    """It was posted, or may have been: then its list is the one that others complete."""
    states = (DeliveryState.SENT, DeliveryState.CLAIMED, DeliveryState.UNKNOWN)
    return record.state in states or record.unconfirmed_since is not None


def _whole(context: JobContext, week: Week, channel: str) -> Iterator[Message]:
    """All parts of the week."""
    parts = _split(_talks(context, week), week.zone, _rules(context))
    for number, (lines, _) in enumerate(parts, 1):
        yield _message(week, channel, number, lines, [ids for _, ids in parts])


def _left(week: Week, channel: str, talks: Sequence[Talk], records: Records) -> Iterator[Message]:
    """What is left of the list that was stored with the first claim: each talk in its part, but
    for those that were cancelled, completed or moved out of the week. Later bookings are not shown:
    what was posted says which days they are missing from."""
    plan = _stored(records[_key(week, channel, 1)]) or [[]]
    shown = 0
    for number in range(1, len(plan) + 1):
        record = records.get(_key(week, channel, number))
        stands = record is not None and _may_stand(record)
        own = _stored(record) if record and stands else []
        listed = own[number - 1] if len(own) >= number else plan[number - 1]
        left = [talk for talk in talks if talk.id in listed]
        plan[number - 1] = listed if stands else [talk.id for talk in left]
        lines = [_line(place, talk, week.zone) for place, talk in enumerate(left, shown + 1)]
        shown += len(plan[number - 1])
        if left or stands:
            yield _message(week, channel, number, lines, plan)


def _stored(record: Delivery) -> list[list[str]]:
    """The ids of the talks in each part, as its claim noted them; none where that is not known."""
    try:
        parts = json.loads(record.note)["parts"]
        texts = all(isinstance(each, str) for part in parts for each in part)
    except (ValueError, TypeError, LookupError):
        return []
    return parts if texts and all(isinstance(part, list) for part in parts) else []


def _week_of(anchor: datetime, context: JobContext) -> Week:
    """The post that is due ``now``. Its week is that of ``anchor``, its days begin today."""
    zone = context.settings.timezone
    on, today = anchor.astimezone(zone).date(), context.now.astimezone(zone).date()
    due_at = context.occurrence if context.occurrence and on == today else None
    monday = on - timedelta(days=on.weekday())
    return Week(monday, today, due_at or instant(today, time(), zone), zone)


def _talks(context: JobContext, week: Week) -> list[Talk]:
    last = week.day + timedelta(days=DAYS - 1)
    return [talk for talk in context.store.talks.between(week.day, last) if not talk.completed]


def _line(number: int, talk: Talk, zone: ZoneInfo) -> Line:
    return {"number": number, **talk_values(talk, zone)}


def split(lines: Sequence[Line], rules: Capabilities) -> list[list[Line]]:
    """The lines of each message in a channel with these rules, cut between lines. One that is too
    long for a message stands alone; its topic is shortened when it is rendered. No lines are one
    message."""

    def size(text: str) -> int:
        return rules.length(rules.escape(text))

    parts: list[list[Line]] = [[]]
    room = left = rules.max_length - AROUND_THE_LINES
    for line in lines:
        needed = AROUND_A_LINE + len(str(line["number"]))
        needed += size(line["speakers"]) + size(line["topic"])
        if line["starts_at"]:
            needed += AROUND_A_START + size(line["room"])
        if parts[-1] and needed > left:
            parts.append([])
            left = room
        parts[-1].append(line)
        left -= needed
    return parts


def _rules(context: JobContext) -> Capabilities:
    return context.templates.channels["discord"]  # where announcement channels are


def _split(
    talks: Sequence[Talk], zone: ZoneInfo, rules: Capabilities
) -> list[tuple[list[Line], list[str]]]:
    """The lines of each part, and the ids of its talks."""
    parts = split([_line(number, talk, zone) for number, talk in enumerate(talks, 1)], rules)
    return [(lines, [talks[line["number"] - 1].id for line in lines]) for lines in parts]


def _key(week: Week, channel: str, part: int) -> str:
    return _message(week, channel, part, [], []).key


def _message(
    week: Week, channel: str, part: int, lines: Sequence[Line], plan: Sequence[Sequence[str]]
) -> Message:
    """``plan`` is stored with it: the ids of the talks in each part."""
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
        note=json.dumps({"parts": plan}, separators=(",", ":")),
    )


def _bare(part: int) -> tuple[str, dict[str, Any]]:
    """What is said where there are no lines. A part that is not needed any more stays in place."""
    return ("weekly_empty" if part == 1 else "weekly_nothing_more"), {}


def _brought_up_to_date(
    context: JobContext, channel: str, week: Week, records: Records
) -> Iterator[Decision]:
    """What makes the post true again, as long as today is one of its days."""
    parts = _split(_talks(context, week), week.zone, _rules(context))
    plan = [ids for _, ids in parts]
    for number in range(1, max(_parts_of(week, channel, records), len(parts)) + 1):
        lines = parts[number - 1][0] if number <= len(parts) else []
        message = _message(week, channel, number, lines, plan)
        if number <= len(parts) or _posted(message, records):
            yield from _made_true(message, records, context)


def _parts_of(week: Week, channel: str, records: Records) -> int:
    """How many parts of it the ledger knows."""
    number = 0
    while _key(week, channel, number + 1) in records:
        number += 1
    return number


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
        yield Skip(SkipReason.DELETED_TWICE, message.subject)
    elif standing.text == _text(message, context):
        yield message  # to be counted as already sent
    else:
        reason = "edit: the schedule has changed since it was posted"
        yield replace(message, edit=Edit(again_occasion), follows=False, reason=reason)


def _text(message: Message, context: JobContext) -> str | None:
    """None where it cannot be made: that is told of the edit when it is tried."""
    try:
        return context.templates.of(message)
    except TemplateError:
        return None


JOB = Job("weekly", decide)
