"""Events of the guild, as far as they take place outside Discord: it has no voice channels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from speakerbot.testing.discord.calls import ApiCall, ApiContext, ApiResult
from speakerbot.testing.discord.payloads import EVENT_STATUSES, EXTERNAL, GUILD_ONLY, event_payload
from speakerbot.testing.discord.records import EventStatus, ScheduledEvent
from speakerbot.testing.discord.responses import (
    ApiError,
    event_finished,
    invalid_form,
    missing_permissions,
    too_many_events,
    unknown_channel,
    unknown_event,
)
from speakerbot.testing.discord.validation import EventForm, parse_event_form

MOST_EVENTS = 100
"""Scheduled or running at the same time."""
NAME_LENGTH, DESCRIPTION_LENGTH, LOCATION_LENGTH = 100, 1000, 100
_NEXT: Mapping[EventStatus, tuple[EventStatus, ...]] = {
    "scheduled": ("active", "canceled"),
    "active": ("completed",),
    "completed": (),
    "canceled": (),
}


def list_events(call: ApiCall, context: ApiContext) -> ApiResult:
    """Without those that are over."""
    guild = context.guild(call.ids[0])
    counted = _with_user_count(call)
    return ApiResult(
        [
            event_payload(event, context.state, user_count=counted)
            for event in _open_events(guild, context)
        ]
    )


def get_event(call: ApiCall, context: ApiContext) -> ApiResult:
    """Also one that is over."""
    event = _event(call, context)
    return ApiResult(event_payload(event, context.state, user_count=_with_user_count(call)))


def create_event(call: ApiCall, context: ApiContext) -> ApiResult:
    guild, state = context.guild(call.ids[0]), context.state
    if not (state.creates_events or state.manages_events):
        raise missing_permissions()
    form = parse_event_form(call.body)
    _check_complete(form)
    fields = _fields(form)
    _check_times(fields["starts_at"], fields["ends_at"], context.clock.now())
    if len(_open_events(guild, context)) >= MOST_EVENTS:
        raise too_many_events()
    made_by = {"id": state.next_id(), "guild_id": guild, "creator_id": state.bot.id}
    event = ScheduledEvent(**{"description": None, **fields, **made_by})
    return ApiResult(event_payload(state.put_event(event), state, user_count=False))


def update_event(call: ApiCall, context: ApiContext) -> ApiResult:
    """Times may be sent of an event that has not begun only, even where they stay as they are."""
    state, event = context.state, _event(call, context)
    _check_managing(event, context)
    if not event.is_open:
        raise event_finished()
    form = parse_event_form(call.body)
    _check_kind(form, new=False)
    fields = _fields(form)
    if "starts_at" in fields and event.status != "scheduled":
        code = "GUILD_SCHEDULED_EVENT_SCHEDULE_INVALID_START_BY_STATUS"
        raise invalid_form("scheduled_start_time", code, "Cannot change the start of this event.")
    if fields.keys() & {"starts_at", "ends_at"}:
        starts_at = fields.get("starts_at", event.starts_at)
        now = context.clock.now() if "starts_at" in fields else None
        _check_times(starts_at, fields.get("ends_at", event.ends_at), now)
    changed = replace(event, **fields, **_new_status(form, event))
    return ApiResult(event_payload(state.put_event(changed), state, user_count=False))


def delete_event(call: ApiCall, context: ApiContext) -> ApiResult:
    event = _event(call, context)
    _check_managing(event, context)
    context.state.put_event(replace(event, deleted=True))
    return ApiResult(None, 204)


def _open_events(guild: str, context: ApiContext) -> list[ScheduledEvent]:
    context.state.pass_events()
    events = context.state.events.values()
    return [event for event in events if event.is_open and event.guild_id == guild]


def _event(call: ApiCall, context: ApiContext) -> ScheduledEvent:
    context.state.pass_events()
    event = context.state.events.get(call.ids[1])
    if event is None or event.deleted or event.guild_id != context.guild(call.ids[0]):
        raise unknown_event()
    return event


def _with_user_count(call: ApiCall) -> bool:
    return call.query.get("with_user_count", "").lower() in ("true", "1")


def _check_managing(event: ScheduledEvent, context: ApiContext) -> None:
    """Its own events need Create Events or Manage Events, those of others Manage Events."""
    state = context.state
    own = state.creates_events and event.creator_id == state.bot.id
    if not (own or state.manages_events):
        raise missing_permissions()


def _check_complete(form: EventForm) -> None:
    """Whether a new event has what it must have. Raises ApiError 50035, 10003."""
    _check_kind(form, new=True)
    for field in ("name", "scheduled_start_time", "scheduled_end_time", "entity_metadata"):
        if not getattr(form, field):
            raise _required(field)
    if form.privacy_level != GUILD_ONLY:
        raise _required("privacy_level")


def _check_kind(form: EventForm, *, new: bool) -> None:
    if form.entity_type is None:
        if new:
            raise _required("entity_type")
        return
    if form.entity_type not in (1, 2, EXTERNAL):
        raise invalid_form("entity_type", "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3}.")
    if form.entity_type != EXTERNAL:
        raise unknown_channel() if form.channel_id else _required("channel_id")


def _required(field: str) -> ApiError:
    return invalid_form(field, "BASE_TYPE_REQUIRED", "This field is required")


def _fields(form: EventForm) -> dict[str, Any]:
    """What the request sets of a ScheduledEvent. Raises ApiError 50035."""
    fields: dict[str, Any] = {}
    if form.name is not None:
        fields["name"] = _checked("name", form.name, 1, NAME_LENGTH)
    if isinstance(form.description, str):
        text = _checked("description", form.description, 0, DESCRIPTION_LENGTH)
        fields["description"] = text or None
    elif form.description is None:
        fields["description"] = None
    if form.entity_metadata is not None:
        location = form.entity_metadata.get("location") or ""
        fields["location"] = _checked("location", str(location), 1, LOCATION_LENGTH)
    if form.scheduled_start_time is not None:
        fields["starts_at"] = form.scheduled_start_time
    if form.scheduled_end_time is not None:
        fields["ends_at"] = form.scheduled_end_time
    return fields


def _checked(field: str, text: str, least: int, most: int) -> str:
    """Without white space around it. Raises ApiError 50035."""
    trimmed = text.strip()
    if not least <= len(trimmed) <= most:
        words = f"Must be between {least} and {most} in length."
        raise invalid_form(field, "BASE_TYPE_BAD_LENGTH", words)
    return trimmed


def _check_times(starts_at: datetime, ends_at: datetime, now: datetime | None) -> None:
    """``now`` None: the start is not part of the request. Raises ApiError 50035."""
    if now is not None and starts_at <= now:
        code = "GUILD_SCHEDULED_EVENT_SCHEDULE_PAST"
        raise invalid_form("scheduled_start_time", code, "Cannot schedule event in the past.")
    if ends_at <= starts_at:
        words = "The end must be after the start."
        raise invalid_form("scheduled_end_time", "BASE_TYPE_INVALID", words)


def _new_status(form: EventForm, event: ScheduledEvent) -> dict[str, EventStatus]:
    if form.status is None:
        return {}
    for status in _NEXT[event.status]:
        if EVENT_STATUSES[status] == form.status:
            return {"status": status}
    if EVENT_STATUSES[event.status] == form.status:
        return {}
    raise invalid_form("status", "BASE_TYPE_INVALID", "An event cannot change to this status.")
