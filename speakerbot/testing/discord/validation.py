"""The bodies of requests, checked as Discord checks them, and what it makes of their text."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from speakerbot.testing.discord.responses import (
    ApiError,
    empty_message,
    invalid_form,
    invalid_json,
    unknown_emoji,
)

MESSAGE_LENGTH = 2000
"""In code points. Discord's document says 4,000; the service takes 2,000."""
NONCE_LENGTH = 25
_CUSTOM_EMOJI = re.compile(r"<a?:(?P<name>[A-Za-z0-9_]+):(?P<id>[0-9]{13,20})>")
_SYMBOL = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
)
_DRAWN = f"{_SYMBOL}\ufe0f?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*"
_FLAG, _KEYCAP = "[\U0001f1e6-\U0001f1ff]{2}", "[0-9#*]\ufe0f?\u20e3"
_UNICODE_EMOJI = re.compile(f"{_FLAG}|{_KEYCAP}|{_DRAWN}(?:\u200d{_DRAWN})*")
_NAMED_EMOJI = re.compile(r"(?P<name>[A-Za-z0-9_]{2,32}):(?P<id>[0-9]{13,20})")
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(?:everyone|here)\b")


class MessageForm(msgspec.Struct):
    """Creates or edits a message. UNSET: the request does not name it."""

    content: str | msgspec.UnsetType | None = msgspec.UNSET
    embeds: list[dict[str, Any]] | msgspec.UnsetType | None = msgspec.UNSET
    components: list[dict[str, Any]] | msgspec.UnsetType | None = msgspec.UNSET
    nonce: str | int | None = None
    enforce_nonce: bool | None = False
    allowed_mentions: dict[str, Any] | None = None
    sticker_ids: list[Any] | msgspec.UnsetType | None = msgspec.UNSET
    poll: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    message_reference: dict[str, Any] | None = None
    flags: int | None = None
    tts: bool | None = None

    def text(self, before: str = "") -> str:
        """Without white space around it: Discord trims that. ``before`` is kept if unset."""
        if self.content is msgspec.UNSET:
            return before
        return self.content.strip() if self.content else ""

    def extras(self, before: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """What is shown besides the text; None if nothing is."""
        shown = dict(before or {})
        for name in ("embeds", "components", "sticker_ids", "poll"):
            value = getattr(self, name)
            if value is not msgspec.UNSET:
                shown[name] = value
        return {name: value for name, value in shown.items() if value} or None


class DmForm(msgspec.Struct):
    recipient_id: str | int | None = None


class ChannelForm(msgspec.Struct):
    """What may be patched of a channel or thread."""

    name: str | None = None
    archived: bool | None = None
    locked: bool | None = None


class EventForm(msgspec.Struct):
    """Creates or edits an event. None: the request does not set it; UNSET is only told from null
    where null means something."""

    name: str | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    scheduled_start_time: datetime | None = None
    scheduled_end_time: datetime | None = None
    privacy_level: int | None = None
    entity_type: int | None = None
    channel_id: str | None = None
    entity_metadata: dict[str, Any] | None = None
    status: int | None = None


_MESSAGE = msgspec.json.Decoder(MessageForm)


_DM = msgspec.json.Decoder(DmForm)


_CHANNEL = msgspec.json.Decoder(ChannelForm)


_EVENT = msgspec.json.Decoder(EventForm)


def parse_message_form(body: bytes) -> MessageForm:
    """Raises ApiError: 50109, 50035."""
    form: MessageForm = _decode(_MESSAGE, body)
    if form.nonce is not None and len(str(form.nonce)) > NONCE_LENGTH:
        raise _too_long("nonce", NONCE_LENGTH)
    return form


def check_content(text: str, extras: dict[str, Any] | None) -> None:
    """Raises ApiError 50006, 50035."""
    if not text and extras is None:
        raise empty_message()
    if len(text) > MESSAGE_LENGTH:
        raise _too_long("content", MESSAGE_LENGTH)


def without_unusable_emoji(text: str, usable: Container[str]) -> str:
    """Custom emoji whose id is not usable shown by name: ``<:party:123…>`` becomes ``:party:``."""
    return _CUSTOM_EMOJI.sub(lambda m: m[0] if m["id"] in usable else f":{m['name']}:", text)


def check_emoji(emoji: str, usable: Container[str]) -> None:
    """One emoji of Unicode's, or ``name:id`` of a custom one that the bot may use. Raises ApiError
    10014."""
    custom = _NAMED_EMOJI.fullmatch(emoji)
    known = custom["id"] in usable if custom else _UNICODE_EMOJI.fullmatch(emoji)
    if not known:
        raise unknown_emoji()


def parse_dm_form(body: bytes) -> DmForm:
    form: DmForm = _decode(_DM, body)
    return form


def parse_channel_form(body: bytes) -> ChannelForm:
    form: ChannelForm = _decode(_CHANNEL, body)
    return form


def parse_event_form(body: bytes) -> EventForm:
    """A time without an offset is one in UTC."""
    form: EventForm = _decode(_EVENT, body)
    for name in ("scheduled_start_time", "scheduled_end_time"):
        instant = getattr(form, name)
        if instant is not None and instant.tzinfo is None:
            setattr(form, name, instant.replace(tzinfo=UTC))
    return form


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise invalid_form(place.rstrip("`") or "body", "BASE_TYPE_BAD_TYPE", problem) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_json() from error


def _too_long(field: str, most: int) -> ApiError:
    text = f"Must be {most} or fewer in length."
    return invalid_form(field, "BASE_TYPE_BAD_LENGTH", text)


class Notified(NamedTuple):
    """Ids of users and roles, and whether everyone is."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    everyone: bool = False


def notified(content: str, allowed: Mapping[str, Any] | None) -> Notified:
    """Without ``allowed_mentions``, everybody who is mentioned. Raises ApiError 50035 where
    ``parse`` and a list of ids contradict each other, as Discord does."""
    if allowed is None:
        allowed = {"parse": ["users", "roles", "everyone"]}
    parse = allowed.get("parse") or ()
    users = _permitted("users", _USER.findall(content), allowed, parse)
    roles = _permitted("roles", _ROLE.findall(content), allowed, parse)
    return Notified(users, roles, "everyone" in parse and bool(_EVERYONE.search(content)))


def _permitted(
    kind: str, found: list[str], allowed: Mapping[str, Any], parse: tuple[str, ...] | list[str]
) -> tuple[str, ...]:
    listed = {str(snowflake) for snowflake in allowed.get(kind) or ()}
    if kind not in parse:
        return tuple(snowflake for snowflake in dict.fromkeys(found) if snowflake in listed)
    if listed:
        text = f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
        raise invalid_form("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", text)
    return tuple(dict.fromkeys(found))
