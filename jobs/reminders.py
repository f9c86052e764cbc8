"""Reminds speakers of their talks: the day before, the day of, or at any configured offset.

With ``SPEAKERBOT_CONFIRM`` reminders ask whether they will be there. Who does not answer is asked
again, then the organisers are told; they are told at once of who can't make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.config import Settings
from speakerbot.domain import confirmation
from speakerbot.domain.confirmation import (
    AGAIN,
    DECLINED,
    ESCALATED,
    Answer,
    AnswerKey,
    Confirmation,
)
from speakerbot.domain.delivery import DeliveryState, MessageKey, SkipReason
from speakerbot.domain.message import Decision, Message, NodeFlag, Skip
from speakerbot.domain.reminder_offsets import DayOffset, HourOffset, Offset
from speakerbot.domain.service_request import NOT_ASKED, NoResponse, ServiceRequest
from speakerbot.domain.talk import Talk
from speakerbot.runs.job import Job, JobContext, Prospect, Window
from speakerbot.runs.routes import only_route, to_speaker
from speakerbot.runs.steps import KeepAnswer, Step
from speakerbot.runs.talk_values import talk_values

FlagName = Literal["sentTminus1At", "sentDayOfAt"]
Confirmations = Mapping[tuple[str, str], Confirmation]
"""By the ids of talk and speaker."""
NOBODY_IS_ASKED: Confirmations = {}
PAGE = 200
"""Talks whose records are read at once."""
_NAMED = {0: "reminder.day_of", 1: "reminder.day_before"}


@dataclass(frozen=True, slots=True)
class Slot:
    """When one offset's reminder of one talk may go: ``due_at`` up to ``expires_at``, in UTC."""

    offset: Offset
    due_at: datetime
    expires_at: datetime


def decide(context: JobContext) -> Iterator[Decision]:
    """The reminder each talk has due now, and what becomes of the question that those ask."""
    for talk, confirmations in _coming(context):
        yield from of_talk(talk, context.settings, context.now, confirmations)


def _coming(
    context: JobContext, until: datetime | None = None
) -> Iterator[tuple[Talk, Confirmations]]:
    """Talks on the days that offsets can reach from now, or until then, and how far their speakers
    have come with the question; read in pages."""
    settings = context.settings
    first, last = (
        at.astimezone(settings.timezone).date() for at in (context.now, until or context.now)
    )
    talks = context.store.talks.between(first, last + _reach(settings.reminder_offsets))
    while page := list(islice(talks, PAGE)):
        confirmations = _confirmations(context, page)
        yield from ((talk, confirmations) for talk in page)


def _reach(offsets: tuple[Offset, ...]) -> timedelta:
    # A day more than the hours make: a zone may leave out a whole one, as Samoa did.
    days = (o.days if isinstance(o, DayOffset) else o.hours // 24 + 2 for o in offsets)
    return timedelta(days=max(days, default=0))


def of_talk(
    talk: Talk, settings: Settings, now: datetime, confirmations: Confirmations = NOBODY_IS_ASKED
) -> Iterator[Decision]:
    """At most one reminder to each speaker: the nearest whose time has come, unless it is over. One
    that was overtaken never comes back, however long its own time is. And what becomes of the
    question whether they will be there."""
    reached = [
        slot
        for slot in slots(talk, settings.reminder_offsets, settings.timezone)
        if slot.due_at <= now
    ]
    for view in talk.views():
        confirmed = confirmations.get((talk.id, view.user_id))
        if reached and now < reached[-1].expires_at:
            yield from _reminder(talk, view, reached, settings, now, confirmed)
        if confirmed is not None and not talk.completed:
            yield from _about_answer(view, reached, settings, now, confirmed)


def _reminder(
    talk: Talk,
    view: Talk,
    reached: Sequence[Slot],
    settings: Settings,
    now: datetime,
    confirmed: Confirmation | None,
) -> Iterator[Decision]:
    if talk.completed:
        yield Skip(SkipReason.COMPLETED, f"talk:{talk.id}")
        return
    if confirmed is not None and confirmed.word == "no":
        yield Skip(SkipReason.DECLINED, f"talk:{talk.id}")
        return
    *overtaken, nearest = reached
    yield from (
        Skip(SkipReason.OVERTAKEN, f"talk:{talk.id}") for slot in overtaken if now < slot.expires_at
    )
    yield _message(talk, view, nearest, settings, now, asks=_asks(confirmed))


def _asks(confirmed: Confirmation | None) -> bool:
    return confirmed is not None and confirmed.word is None


def windows(context: JobContext, until: datetime) -> Iterator[Window]:
    """When the messages that are due, or fall due by ``until``, may go."""
    settings = context.settings
    for talk, confirmations in _coming(context, until):
        if talk.completed:
            continue
        made = slots(talk, settings.reminder_offsets, settings.timezone)
        end = _end(talk, settings)
        for view in talk.views():
            for slot in made:
                if slot.due_at <= until and context.now < slot.expires_at:
                    yield Window(slot.due_at, slot.expires_at, _key(view, slot.offset))
            for kind, due_at in _follow_ups(confirmations.get((talk.id, view.user_id)), settings):
                if due_at <= until and context.now < end:
                    yield Window(due_at, end, _confirm_key(kind, view, settings))


def prospects(context: JobContext, talk_id: str) -> Iterator[Prospect]:
    """Every reminder that its speakers have, had or will have on its present date, and what follows
    from their answers."""
    talk, settings = context.store.talks.get(talk_id), context.settings
    if talk is None:
        return
    confirmations = _confirmations(context, [talk])
    made = slots(talk, settings.reminder_offsets, settings.timezone)
    reached = [slot for slot in made if slot.due_at <= context.now]
    for slot in made:
        overtaken = slot in reached[:-1] and context.now < slot.expires_at
        dropped = f"overtaken by the nearer reminder ({reached[-1].offset})" if overtaken else ""
        at = max(context.now, slot.due_at)
        for view in talk.views():
            confirmed = confirmations.get((talk.id, view.user_id))
            message = _message(talk, view, slot, settings, at, asks=_asks(confirmed))
            yield Prospect(message, _needless(talk, confirmed) or dropped)
    for view in talk.views():
        confirmed = confirmations.get((talk.id, view.user_id))
        for kind, due_at in _follow_ups(confirmed, settings):
            if due_at < _end(talk, settings):
                message = _follow_up(kind, view, due_at, settings, confirmed)
                yield Prospect(message, _why_not(kind, talk, settings))


def _needless(talk: Talk, confirmed: Confirmation | None) -> str:
    """Why the talk's reminders are not sent; empty if they are."""
    if talk.completed:
        return "the talk is marked as completed"
    declined = confirmed is not None and confirmed.word == "no"
    return "the speaker has said that they can't make it" if declined else ""


def _why_not(kind: str, talk: Talk, settings: Settings) -> str:
    """Why a follow-up is not sent; empty if it is."""
    if talk.completed:
        return "the talk is marked as completed"
    unset = kind != AGAIN and not settings.logs_channel_id
    return "DISCORD_LOGS_CHANNEL_ID is not set" if unset else ""


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


def _message(
    talk: Talk, view: Talk, slot: Slot, settings: Settings, now: datetime, *, asks: bool = False
) -> Message:
    """To the speaker whose ``view`` of the talk it is. The Node bot's flags are the main
    speaker's."""
    kind, template = _kind(slot.offset)
    is_main = view.user_id == talk.user_id
    return Message(
        kind=kind,
        subject=f"talk:{talk.id}",
        recipient=f"user:{view.user_id}",
        occasion=_occasion(talk, slot.offset),
        routes=to_speaker(view.user_id, talk.thread_id, settings),
        template=template,
        values={**_values(view, slot, settings.timezone, now), "asks": asks},
        due_at=slot.due_at,
        expires_at=slot.expires_at,
        reason=f"talk on {talk.date}, {slot.offset} reached at {slot.due_at:%F %H:%M} UTC",
        opt_out="reminders",
        flag=_flag(talk, slot.offset, settings) if is_main else None,
        note=confirmation.note(now) if asks else "",
    )


def _values(view: Talk, slot: Slot, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    values = talk_values(view, zone)
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


def _confirmations(context: JobContext, talks: Sequence[Talk]) -> Confirmations:
    """Of these talks' speakers; of none where it is not asked. Two queries."""
    settings, store = context.settings, context.store
    if settings.confirm == "off" or not talks:
        return NOBODY_IS_ASKED
    answers = store.answers.about([talk.id for talk in talks])

    views = [view for talk in talks for view in talk.views()]

    def asking(view: Talk) -> list[str]:
        """The keys of all messages that may have asked, the second time last."""
        reminders = (_key(view, offset) for offset in settings.reminder_offsets)
        return [*reminders, _confirm_key(AGAIN, view, settings)]

    keys = [key for view in views for key in asking(view)]
    escalated = [_confirm_key(ESCALATED, view, settings) for view in views]
    records = store.ledger.get([*keys, *escalated])

    def of(view: Talk) -> Confirmation:
        found = [confirmation.question(records.get(key), view.user_id) for key in asking(view)]
        asked = sorted((each for each in found[:-1] if each), key=lambda each: each.at)
        told = records.get(_confirm_key(ESCALATED, view, settings))
        known = Confirmation(asked, found[-1]).questions
        read = [context.response(each.read) for each in known]
        return Confirmation(
            asked=asked,
            asked_again=found[-1],
            escalated=told is not None and told.state == DeliveryState.SENT,
            answer=answers.get(AnswerKey(confirmation.KIND, view.id, view.user_id, view.date)),
            said=confirmation.said(read),
            unread=any(isinstance(each, NoResponse) and each.passing for each in read),
            looked=bool(read) and NOT_ASKED not in read,
        )

    return {(view.id, view.user_id): of(view) for view in views}


def _unconfirmed(context: JobContext) -> Iterator[tuple[Talk, Confirmation]]:
    """Speakers' views of talks to come whose question is not answered by anything written down."""
    if context.settings.confirm == "off":
        return
    for talk, confirmations in _coming(context):
        if talk.completed or context.now >= _end(talk, context.settings):
            continue
        for view in talk.views():
            confirmed = confirmations[talk.id, view.user_id]
            meant = context.only in (None, view.user_id)
            if meant and confirmed.questions and not confirmed.answer:
                yield view, confirmed


def wanted(context: JobContext) -> Iterator[ServiceRequest[Any]]:
    """What stands under the messages that ask and are unanswered; in a run that stays, again where
    something is to be sent because nothing did."""
    after = context.settings.confirm_again
    for _, confirmed in _unconfirmed(context):
        if context.first_round or confirmed.falls_due(context.now, after):
            yield from (question.read for question in confirmed.questions)


def steps(context: JobContext) -> Iterator[Step]:
    """Writes down what was answered."""
    if not context.responses:
        return
    for view, confirmed in _unconfirmed(context):
        if said := confirmed.said:
            key = AnswerKey(confirmation.KIND, view.id, view.user_id, view.date)
            yield KeepAnswer(Answer(*key, said, context.now))


def service_steps(context: JobContext) -> Iterator[ServiceRequest[Any]]:
    """Our own reactions under the messages that ask, where they are missing: a tap is all it takes
    to answer."""
    for _, confirmed in _unconfirmed(context):
        for question in confirmed.questions:
            found = context.response(question.read)
            if isinstance(found, NoResponse) and found != NOT_ASKED:
                continue  # it cannot be seen what is there
            missing = question.missing(found)
            yield from (each for each in missing if context.response(each) == NOT_ASKED)


def _end(talk: Talk, settings: Settings) -> datetime:
    """When nothing has to be known any more."""
    return talk.start(settings.timezone) or talk.over(settings.timezone)


def _follow_ups(
    confirmed: Confirmation | None, settings: Settings
) -> Iterator[tuple[str, datetime]]:
    return confirmed.follow_ups(settings.confirm_again) if confirmed else iter(())


def _about_answer(
    view: Talk,
    reached: Sequence[Slot],
    settings: Settings,
    now: datetime,
    confirmed: Confirmation,
) -> Iterator[Decision]:
    """What the speaker's answer, or none, leads to now."""
    subject, end = f"talk:{view.id}", _end(view, settings)
    for kind, due_at in _follow_ups(confirmed, settings):
        if due_at > now or now >= end:
            continue
        asked_again = bool(confirmed.asked_again)
        by_reminder = kind == AGAIN and not asked_again and reached and reached[-1].due_at >= due_at
        if kind != AGAIN and not settings.logs_channel_id:
            yield Skip(SkipReason.NO_ORGANISERS_CHANNEL, subject)
        elif kind != DECLINED and confirmed.unread:
            yield Skip(SkipReason.UNREAD, subject)
        elif by_reminder:
            yield Skip(SkipReason.OVERTAKEN, subject)
        else:
            yield _follow_up(kind, view, due_at, settings, confirmed, now)


def _follow_up(
    kind: str,
    view: Talk,
    due_at: datetime,
    settings: Settings,
    confirmed: Confirmation | None = None,
    now: datetime | None = None,
) -> Message:
    """What is sent because of an answer, or for want of one: to the speaker, or to the
    organisers."""
    values, day = talk_values(view, settings.timezone), view.date.isoformat()
    subject, end = f"talk:{view.id}", _end(view, settings)
    reason = (confirmed or Confirmation()).reason(kind)
    if kind == AGAIN:
        return Message(
            kind=kind,
            subject=subject,
            recipient=f"user:{view.user_id}",
            occasion=day,
            routes=to_speaker(view.user_id, view.thread_id, settings),
            template=kind,
            values={**values, "asks": True},
            due_at=due_at,
            expires_at=end,
            reason=reason,
            opt_out="reminders",
            waits_past_expiry=False,
            note=confirmation.note(now or due_at),
        )
    channel = settings.logs_channel_id or ""
    return Message(
        kind=kind,
        subject=subject,
        recipient=f"channel:{channel}",
        occasion=f"{day}/user:{view.user_id}",
        routes=only_route(channel),
        template=kind,
        values=values,
        due_at=due_at,
        expires_at=end,
        reason=reason,
    )


def _confirm_key(kind: str, view: Talk, settings: Settings) -> str:
    subject, day = f"talk:{view.id}", view.date.isoformat()
    if kind == AGAIN:
        return str(MessageKey(kind, subject, f"user:{view.user_id}", day))
    channel = f"channel:{settings.logs_channel_id or ''}"
    return str(MessageKey(kind, subject, channel, f"{day}/user:{view.user_id}"))


def still_true(context: JobContext, messages: Sequence[Message]) -> set[str]:
    """Those of talks that are still on that date, to or about who still speaks, and not over; none
    that an answer has made needless."""
    settings = context.settings
    talks = context.store.talks.by_ids([message.subject_id for message in messages])
    coming = [talk for talk in talks.values() if not talk.completed]
    confirmations = _confirmations(context, coming)
    return {
        key
        for talk in coming
        for view in talk.views()
        for key in _keys(view, confirmations.get((talk.id, view.user_id)), settings)
    }


def _keys(view: Talk, confirmed: Confirmation | None, settings: Settings) -> Iterator[str]:
    """Of all that this speaker, and the organisers about them, get on the talk's present date."""
    if confirmed is None or confirmed.word != "no":
        for slot in slots(view, settings.reminder_offsets, settings.timezone):
            yield _key(view, slot.offset)
    for kind, _ in _follow_ups(confirmed, settings):
        yield _confirm_key(kind, view, settings)


JOB = Job(
    "reminders",
    decide,
    steps=steps,
    prospects=prospects,
    still_true=still_true,
    windows=windows,
    wanted=wanted,
    service_steps=service_steps,
)
