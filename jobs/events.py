"""Keeps the server's events equal to the coming talks: makes, updates and removes them.

What follows for each talk is decided in :mod:`speakerbot.domain.server_event`; here stands what a
talk's event shows, which talks have one, and what of all that a run asks and tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from speakerbot.domain.message import Decision
from speakerbot.domain.server_event import (
    MOST_EVENTS,
    EventChange,
    EventDetails,
    EventList,
    EventRecord,
    EventStatus,
    Leave,
    ListEvents,
    Make,
    MakeEvent,
    Note,
    Remove,
    RemoveEvent,
    ServerEvent,
    Sight,
    Update,
    UpdateEvent,
    Verdict,
    Wanted,
    consider,
    made,
    marker,
    not_made,
)
from speakerbot.domain.service_request import NOT_ASKED, NoResponse, ServiceRequest
from speakerbot.domain.talk import LAST_DAY, Talk
from speakerbot.errors import TemplateError
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.report import ChangeState, ServiceChange
from speakerbot.runs.routes import server
from speakerbot.runs.steps import Claimed, RememberEvents, Step
from speakerbot.text import name_custom_emoji, one_line, shorten

USUAL_LENGTH = timedelta(hours=1)
ELSEWHERE = "Discord"
"""Where a talk takes place that has neither a room nor a link."""
LONGEST_NAME, LONGEST_PLACE, LONGEST_DESCRIPTION = 100, 100, 1000
FORGOTTEN_AFTER = timedelta(days=1)
"""So long after its event was over, a talk's record is of no more use."""
TEXT = "event"


def decide(_context: JobContext) -> Iterator[Decision]:
    """This job sends no message."""
    yield from ()


def wanted(context: JobContext) -> Iterator[ServiceRequest[Any]]:
    """The list of the server's events, where a talk that comes has a start, or one of our events
    may still be there."""
    request = ListEvents(server(context.settings))
    coming = next(_coming(context), None)
    if coming or any(_may_stand(each, context.now) for each in context.store.server_events.all()):
        yield request


def _coming(context: JobContext) -> Iterator[tuple[Talk, datetime]]:
    """Talks that have not begun, with their starts; the next one first."""
    zone = context.settings.timezone
    # A clock time that does not exist comes later than it says: it may move to the next day.
    first = context.now.astimezone(zone).date() - timedelta(days=1)
    for talk in context.store.talks.between(first, LAST_DAY):
        start = talk.start(zone)
        if start is not None and start > context.now and not talk.completed:
            yield talk, start


def _may_stand(record: EventRecord, now: datetime) -> bool:
    shown = [each for each in (record.stands, record.written, record.writing) if each]
    return any(details.ends_at + FORGOTTEN_AFTER > now for details in shown)


def steps(context: JobContext) -> Iterator[Step]:
    """Remembers what came back of what was written, and what the server shows; forgets what is
    over."""
    records = {record.talk_id: record for record in context.store.server_events.all()}
    revision = f"{context.run_id}/seen"
    changes = dict(_responded(context))
    if seen := _seen(context):
        for talk_id, verdict in _verdicts(context, seen, revision):
            if isinstance(verdict, Note):
                changes.setdefault(talk_id, verdict.change)
    for talk_id, record in records.items():
        if not _may_stand(record, context.now):
            changes.setdefault(talk_id, EventChange(talk_id, record, None))
    if changes:
        yield RememberEvents(tuple(changes.values()))


def _responded(context: JobContext) -> Iterator[tuple[str, EventChange]]:
    """By talk, what is to be remembered of the writes that were made."""
    revision = f"{context.run_id}/done"
    for request, response in context.responses.items():
        match request, response:
            case (MakeEvent() | UpdateEvent(), ServerEvent()):
                yield request.claim.talk_id, made(request.claim, response, revision)
            case (MakeEvent() | UpdateEvent(), NoResponse(passing=False)):
                refused = response.detail if response.rejected else ""
                yield request.claim.talk_id, not_made(request.claim, revision, refused)
            case (RemoveEvent(record=EventRecord() as record), None):
                yield record.talk_id, EventChange(record.talk_id, record, None)


def service_steps(context: JobContext) -> Iterator[ServiceRequest[Any] | Claimed]:
    """Removes first, so that there is room; then updates; then makes, the next talk's first."""
    seen = _seen(context)
    if seen is None:
        return
    found = [verdict for _, verdict in _narrowed(context, seen, f"{context.run_id}/claim")]
    guild_id, until = server(context.settings), seen.at + context.settings.lease
    for verdict in _limited(found, context.limit):
        match verdict:
            case Remove(event, record, why):
                yield RemoveEvent(guild_id, event, record, why)
            case Update(claim, event, fields, details) if claim.after:
                yield Claimed(
                    claim, UpdateEvent(guild_id, claim.after, event.id, fields, details, until)
                )
            case Make(claim, details) if claim.after:
                yield Claimed(claim, MakeEvent(guild_id, claim.after, details, until))


def _limited(verdicts: Sequence[Verdict], limit: int | None) -> Sequence[Verdict]:
    ordered = [each for kind in (Remove, Update, Make) for each in verdicts if type(each) is kind]
    return ordered[:limit]


def service_changes(context: JobContext) -> Iterator[ServiceChange]:
    """What was done, or would be; and what stays as it is although the talk has it otherwise."""
    done: set[str | None] = set()
    for request, response in context.responses.items():
        if change := _told(request, response):
            done.add(_talk_of(request))
            yield change
    seen = _seen(context)
    if seen is None:
        return
    planned = [] if context.settled else _planned(context, seen)
    yield from planned
    for talk_id, verdict in _narrowed(context, seen, ""):
        if isinstance(verdict, Leave) and talk_id not in done:
            failed = ChangeState.FAILED if verdict.unrendered else ChangeState.LEFT
            yield ServiceChange(
                "leave", "event", verdict.name, failed, verdict.why,
                unrendered=TEXT if verdict.unrendered else "", retry_at=verdict.until,
            )  # fmt: skip


def _planned(context: JobContext, seen: EventList) -> Iterator[ServiceChange]:
    found = [verdict for _, verdict in _narrowed(context, seen, "")]
    for verdict in _limited(found, context.limit):
        match verdict:
            case Remove(event, _, why):
                yield _change("delete", event.details, ChangeState.PLANNED, why)
            case Update(_, event, fields, details):
                yield _change("update", details, ChangeState.PLANNED, _updated(fields))
            case Make(_, details):
                yield _change("create", details, ChangeState.PLANNED, "the talk has none")


def _told(request: ServiceRequest[Any], response: Any) -> ServiceChange | None:
    state, why = ChangeState.DONE, ""
    if isinstance(response, NoResponse):
        state = ChangeState.UNKNOWN if response.passing else ChangeState.FAILED
        why = response.detail
    match request:
        case ListEvents(guild_id) if why:
            return ServiceChange("list", "events of server", guild_id, ChangeState.FAILED, why)
        case MakeEvent():
            return _change("create", request.details, state, why or "the talk had none")
        case UpdateEvent():
            return _change("update", request.details, state, why or _updated(request.fields))
        case RemoveEvent():
            return _change("delete", request.event.details, state, why or request.why)
    return None


def _talk_of(request: ServiceRequest[Any]) -> str | None:
    match request:
        case MakeEvent() | UpdateEvent():
            return request.claim.talk_id
        case RemoveEvent():
            return request.event.talk_id
    return None


def _updated(fields: Sequence[str]) -> str:
    return f"the talk has another {', '.join(fields)}"


def _change(action: Any, details: EventDetails, state: ChangeState, why: str) -> ServiceChange:
    return ServiceChange(action, "event", details.name, state, why, at=details.starts_at)


def _seen(context: JobContext) -> EventList | None:
    """What the server shows; in a dry run, what is remembered of that. None: neither is known."""
    response = context.response(ListEvents(server(context.settings)))
    if isinstance(response, EventList):
        return response
    if response is NOT_ASKED and not context.settled:
        return _remembered(context)
    return None


def _remembered(context: JobContext) -> EventList:
    records = context.store.server_events.all()
    events = (
        ServerEvent(
            record.event_id,
            record.stands,
            EventStatus.SCHEDULED if record.stands.starts_at > context.now else EventStatus.RUNNING,
            ours=True,
        )
        for record in records
        if record.event_id and record.stands and record.stands.ends_at > context.now
    )
    return EventList(tuple(events), context.now)


def _narrowed(context: JobContext, seen: EventList, revision: str) -> Iterator[tuple[str, Verdict]]:
    """The verdicts about the talks of the one speaker that the run was told to serve only."""
    for talk_id, verdict in _verdicts(context, seen, revision):
        if context.only:
            talk = context.store.talks.get(talk_id)
            if talk is None or context.only not in [each.user_id for each in talk.speakers]:
                continue
        yield talk_id, verdict


def _verdicts(context: JobContext, seen: EventList, revision: str) -> Iterator[tuple[str, Verdict]]:
    """What follows for each talk that has, had or should have an event."""
    records = {record.talk_id: record for record in context.store.server_events.all()}
    ours = _by_talk(seen.events, records)
    sight = Sight(context.now, seen.at, context.settings.lease, revision)
    talks = context.store.talks.by_ids([*records, *ours])
    again: dict[str, Make] = {}
    for talk_id in sorted({*records, *ours}):
        talk, events = talks.get(talk_id), ours.get(talk_id, [])
        if talk is None and (problem := _unknown(talk_id, records, context)):
            for event in events:
                yield talk_id, Leave(event.details.name, problem)
            continue
        try:
            verdicts = list(
                consider(talk_id, _wanted(talk, context), records.get(talk_id), events, sight)
            )
        except TemplateError as error:
            verdicts = [Leave(talk.topic if talk else talk_id, str(error), unrendered=True)]
        for verdict in verdicts:
            if isinstance(verdict, Make):
                again[talk_id] = verdict
            else:
                yield talk_id, verdict
    known = {*records, *ours}
    taken = len(seen.events) + sum(isinstance(each, MakeEvent) for each in context.responses)
    yield from _new(context, sight, MOST_EVENTS - taken, known, again)


def _new(
    context: JobContext, sight: Sight, room: int, known: set[str], again: Mapping[str, Make]
) -> Iterator[tuple[str, Verdict]]:
    """Events for talks that have none, as many as there is room for; the next talk's first."""
    waiting = 0
    for talk, _ in _coming(context):
        if talk.id in known and talk.id not in again:
            continue
        if room <= 0:
            waiting += 1
            continue
        try:
            found = (
                [again[talk.id]]
                if talk.id in again
                else [*consider(talk.id, _wanted(talk, context), None, [], sight)]
            )
        except TemplateError as error:
            yield talk.id, Leave(talk.topic, str(error), unrendered=True)
            continue
        for verdict in found:
            room -= 1
            yield talk.id, verdict
    if waiting:
        why = f"a server has at most {MOST_EVENTS} events; they follow when there is room"
        yield "", Leave(f"of {waiting} more talks", why)


def _by_talk(
    events: Sequence[ServerEvent], records: Mapping[str, EventRecord]
) -> dict[str, list[ServerEvent]]:
    """Our own ones. One whose description a person has changed is known by its id."""
    by_id = {record.event_id: talk_id for talk_id, record in records.items() if record.event_id}
    found: dict[str, list[ServerEvent]] = {}
    for event in events:
        talk_id = by_id.get(event.id) or event.talk_id
        if event.ours and talk_id:
            found.setdefault(talk_id, []).append(event)
    return found


def _unknown(talk_id: str, records: Mapping[str, EventRecord], context: JobContext) -> str:
    """Why nothing is done about an event whose talk is not there; empty: the talk was cancelled."""
    if hidden := context.store.talks.why_hidden(talk_id):
        return f"its talk cannot be read: {hidden}"
    if talk_id not in records:
        return "it names a talk that this store never had an event for"
    # Nothing is deleted by one look at a document that somebody was just replacing.
    return "its talk was being changed" if context.store.talks.get(talk_id) else ""


def _wanted(talk: Talk | None, context: JobContext) -> Wanted:
    if talk is None:
        return Wanted(None, "the talk was cancelled")
    start = talk.start(context.settings.timezone)
    if start is None:
        return Wanted(None, "the talk has no start any more")
    if start <= context.now:
        return Wanted(None, "the talk was moved to the past", began=True)
    if talk.completed:
        return Wanted(None, "the talk is marked as completed")
    return Wanted(_details(talk, start, context))


def _details(talk: Talk, start: datetime, context: JobContext) -> EventDetails:
    """What its event shows. Raises TemplateError."""
    length = timedelta(minutes=talk.length) if talk.length else USUAL_LENGTH
    end = f"\n\n{marker(talk.id)}"
    rules = context.templates.channels["discord"]
    reserve = rules.max_length - LONGEST_DESCRIPTION + len(end)
    text = context.templates.render(TEXT, _values(talk, start, context), reserve=reserve)
    return EventDetails(
        name=shorten(one_line(name_custom_emoji(talk.topic)) or "Talk", LONGEST_NAME),
        description=text.strip() + end,
        place=_place(talk),
        starts_at=start,
        ends_at=start + length,
    )


def _place(talk: Talk) -> str:
    """Its room, else its link, as far as that is not too long to work when it is cut."""
    if talk.room and (room := one_line(talk.room)):
        return shorten(room, LONGEST_PLACE)
    return talk.link if talk.link and len(talk.link) <= LONGEST_PLACE else ELSEWHERE


def _values(talk: Talk, start: datetime, context: JobContext) -> dict[str, Any]:
    return {
        "username": talk.username,
        "speakers": [speaker.username for speaker in talk.speakers],
        "topic": talk.topic,
        "date": talk.date.isoformat(),
        "time": f"{start.astimezone(context.settings.timezone):%H:%M}",
        "room": talk.room or "",
        "link": talk.link or "",
    }


JOB = Job(
    "events",
    decide,
    steps,
    wanted=wanted,
    service_steps=service_steps,
    service_changes=service_changes,
)
