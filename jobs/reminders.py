"""Reminds speakers of their talks: the day before, the day of, or at any configured offset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.config import Settings
from speakerbot.domain.delivery import MessageKey, SkipReason
from speakerbot.domain.message import Decision, Message, NodeFlag, Skip
from speakerbot.domain.reminder_offsets import DayOffset, HourOffset, Offset
from speakerbot.domain.talk import Talk
from speakerbot.runs.job import Job, JobContext, Prospect, Window
from speakerbot.runs.routes import to_speaker

FlagName = Literal["sentTminus1At", "sentDayOfAt"]
_NAMED = {0: "reminder.day_of", 1: "reminder.day_before"}


@dataclass(frozen=True, slots=True)
class Slot:
    """When one offset's reminder of one talk may go: ``due_at`` up to ``expires_at``, in UTC."""

    offset: Offset
    due_at: datetime
    expires_at: datetime


def decide(context: JobContext) -> Iterator[Decision]:
    """The reminder each talk has due now; talks are read for the days offsets can reach."""
    settings = context.settings
    today = context.now.astimezone(settings.timezone).date()
    last = today + _reach(settings.reminder_offsets)
    for talk in context.store.talks.between(today, last):
        yield from of_talk(talk, settings, context.now)


def _reach(offsets: tuple[Offset, ...]) -> timedelta:
    # A day more than the hours make: a zone may leave out a whole one, as Samoa did.
    days = (o.days if isinstance(o, DayOffset) else o.hours // 24 + 2 for o in offsets)
    return timedelta(days=max(days, default=0))


def of_talk(talk: Talk, settings: Settings, now: datetime) -> Iterator[Decision]:
    """At most one message: the nearest reminder whose time has come, unless it is over. One that
    was overtaken never comes back, however long its own time is."""
    reached = [
        slot
        for slot in slots(talk, settings.reminder_offsets, settings.timezone)
        if slot.due_at <= now
    ]
    if not reached or now >= reached[-1].expires_at:
        return
    if talk.completed:
        yield Skip(SkipReason.COMPLETED, f"talk:{talk.id}")
        return
    *overtaken, nearest = reached
    yield from (
        Skip(SkipReason.OVERTAKEN, f"talk:{talk.id}") for slot in overtaken if now < slot.expires_at
    )
    yield _message(talk, nearest, settings, now)


def windows(context: JobContext, until: datetime) -> Iterator[Window]:
    """When the reminders that are due, or fall due by ``until``, may go."""
    settings = context.settings
    zone, offsets = settings.timezone, settings.reminder_offsets
    last = until.astimezone(zone).date() + _reach(offsets)
    for talk in context.store.talks.between(context.now.astimezone(zone).date(), last):
        if not talk.completed:
            for slot in slots(talk, offsets, zone):
                if slot.due_at <= until and context.now < slot.expires_at:
                    yield Window(slot.due_at, slot.expires_at, _key(talk, slot.offset))


def prospects(context: JobContext, talk_id: str) -> Iterator[Prospect]:
    """Every reminder the talk has, had or will have on its present date."""
    talk, settings = context.store.talks.get(talk_id), context.settings
    if talk is None:
        return
    made = slots(talk, settings.reminder_offsets, settings.timezone)
    reached = [slot for slot in made if slot.due_at <= context.now]
    for slot in made:
        message = _message(talk, slot, settings, max(context.now, slot.due_at))
        overtaken = slot in reached[:-1] and context.now < slot.expires_at
        dropped = f"overtaken by the nearer reminder ({reached[-1].offset})" if overtaken else ""
        yield Prospect(message, "the talk is marked as completed" if talk.completed else dropped)


def slots(talk: Talk, offsets: tuple[Offset, ...], zone: ZoneInfo) -> list[Slot]:
    """Every reminder the talk will have, by due time. A clock time that is not before the talk's
    start is dropped; hours count only for talks with a start."""
    start = talk.start(zone)
    made = [_slot(talk.date, offset, start, zone) for offset in offsets]
    return sorted((slot for slot in made if slot is not None), key=lambda slot: slot.due_at)


def _slot(day: date, offset: Offset, start: datetime | None, zone: ZoneInfo) -> Slot | None:
    if isinstance(offset, HourOffset):
        if start is None:
            return None
        return Slot(offset, start - timedelta(hours=offset.hours), start)
    reminder_day = day - timedelta(days=offset.days)
    due = instant(reminder_day, offset.at, zone)
    # "Tomorrow" is true until that day ends; "today" also only until the talk starts.
    expires = instant(reminder_day + timedelta(days=1), time(), zone)
    if start is not None:
        expires = min(expires, start)
    return Slot(offset, due, expires) if due < expires else None


def _message(talk: Talk, slot: Slot, settings: Settings, now: datetime) -> Message:
    kind, template = _kind(slot.offset)
    return Message(
        kind=kind,
        subject=f"talk:{talk.id}",
        recipient=f"user:{talk.user_id}",
        occasion=_occasion(talk, slot.offset),
        routes=to_speaker(talk.user_id, talk.thread_id, settings),
        template=template,
        values=_values(talk, slot, now),
        due_at=slot.due_at,
        expires_at=slot.expires_at,
        reason=f"talk on {talk.date}, {slot.offset} reached at {slot.due_at:%F %H:%M} UTC",
        opt_out="reminders",
        flag=_flag(talk, slot.offset, settings),
    )


def _values(talk: Talk, slot: Slot, now: datetime) -> dict[str, str | int]:
    values: dict[str, str | int] = {
        "username": talk.username,
        "topic": talk.topic,
        "date": talk.date.isoformat(),
    }
    if isinstance(slot.offset, DayOffset):
        return {**values, "days": slot.offset.days}
    return {**values, "time_left": _time_left(slot.expires_at - now)}


def _key(talk: Talk, offset: Offset) -> str:
    kind, _ = _kind(offset)
    occasion = _occasion(talk, offset)
    return str(MessageKey(kind, f"talk:{talk.id}", f"user:{talk.user_id}", occasion))


def _kind(offset: Offset) -> tuple[str, str]:
    """Kind and template. Only the first two are known to the Node bot."""
    if isinstance(offset, HourOffset):
        return f"reminder.{offset.hours}h", "reminder.hours"
    if named := _NAMED.get(offset.days):
        return named, named
    return f"reminder.{offset.days}d", "reminder.days"


def _occasion(talk: Talk, offset: Offset) -> str:
    """With the clock time, also where it is the only one: adding another must repeat nothing."""
    clock = f"T{offset.at:%H:%M}" if isinstance(offset, DayOffset) else ""
    return f"{talk.date.isoformat()}{clock}"


def _same_day(offset: DayOffset, offsets: tuple[Offset, ...]) -> list[time]:
    """The clock times of all reminders on that offset's day, its own among them."""
    return sorted(o.at for o in offsets if isinstance(o, DayOffset) and o.days == offset.days)


def _flag(talk: Talk, offset: Offset, settings: Settings) -> NodeFlag | None:
    """The Node bot leaves its flags set when it moves a talk: one counts only if its time lies in
    this reminder's own day for the current date. Of several on that day it counts for the latest
    whose time it was. Whether we set it, and for whom, the ledger is asked when this is weighed."""
    if not isinstance(offset, DayOffset) or offset.days not in _NAMED:
        return None
    seen = talk.sent_day_of_at if offset.days == 0 else talk.sent_tminus1_at
    name: FlagName = "sentDayOfAt" if offset.days == 0 else "sentTminus1At"
    if seen is None:
        return NodeFlag(talk.id, name, None, counts=False)
    local = seen.astimezone(settings.timezone)
    times = _same_day(offset, settings.reminder_offsets)
    meant = max((at for at in times if at <= local.time()), default=times[0])
    own_day = local.date() == talk.date - timedelta(days=offset.days)
    return NodeFlag(talk.id, name, seen, counts=own_day and meant == offset.at)


def _time_left(left: timedelta) -> str:
    from humanize import precisedelta

    minutes = max(1, round(left / timedelta(minutes=1)))
    return precisedelta(timedelta(minutes=minutes), minimum_unit="minutes", format="%d")


def still_true(context: JobContext, messages: Sequence[Message]) -> set[str]:
    """Those of talks that are still on that date, by that speaker, and not over."""
    settings = context.settings
    talks = context.store.talks.by_ids([message.subject_id for message in messages])
    return {
        _message(talk, slot, settings, max(context.now, slot.due_at)).key
        for talk in talks.values()
        if not talk.completed
        for slot in slots(talk, settings.reminder_offsets, settings.timezone)
    }


JOB = Job("reminders", decide, prospects=prospects, still_true=still_true, windows=windows)
