"""What each operation of Discord's API does, and which errors it answers instead."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speakerbot.testing.discord.clock import LoopbackClock, is_snowflake
from speakerbot.testing.discord.payloads import (
    application_body,
    channel_body,
    guild_body,
    member_body,
    message_body,
    own_user_body,
    user_body,
)
from speakerbot.testing.discord.rate_limits import SECOND
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.responses import (
    dms_closed,
    invalid_form,
    missing_access,
    missing_permissions,
    not_the_author,
    opening_dms_too_fast,
    quarantined,
    thread_archived,
    thread_locked,
    too_many_threads,
    unknown_channel,
    unknown_guild,
    unknown_member,
    unknown_message,
    unknown_user,
)
from speakerbot.testing.discord.routing import Operation
from speakerbot.testing.discord.settings import Settings
from speakerbot.testing.discord.validation import (
    MessageForm,
    channel_form,
    check_content,
    dm_form,
    message_form,
    notified,
    without_unusable_emoji,
)
from speakerbot.testing.discord.world import Channel, State, User


class Nonces:
    """Times are nanoseconds. How long and where a nonce is unique is in the settings."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, Message]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, channel_id: str, nonce: str, settings: Settings, now: int) -> Message | None:
        """The message that has it, if that was accepted within the window."""
        found = self._seen.get((_scope(channel_id, settings), nonce))
        if found is None or found[0] + _window(settings) <= now:
            return None
        return found[1]

    def remember(self, message: Message, settings: Settings, now: int) -> None:
        """Also forgets those that are over, so that memory holds one window only."""
        if message.nonce is None:
            return
        self._forget_ended(now - _window(settings))
        key = (_scope(message.channel_id, settings), message.nonce)
        self._seen.pop(key, None)
        self._seen[key] = (now, message)

    def _forget_ended(self, until: int) -> None:
        ended = []
        for key, (accepted, _) in self._seen.items():
            if accepted > until:
                break
            ended.append(key)
        for key in ended:
            del self._seen[key]


def _scope(channel_id: str, settings: Settings) -> str:
    return channel_id if settings.nonce_scope == "channel" else ""


def _window(settings: Settings) -> int:
    return round(settings.nonce_window * SECOND)


class Call(NamedTuple):
    """``ids`` are those in the path."""

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """A successful answer; ``json`` None is an empty body."""

    json: Any
    status: int = 200


@dataclass(slots=True)
class Context:
    """What all operations share."""

    settings: Settings
    state: State
    clock: LoopbackClock
    nonces: Nonces = field(default_factory=Nonces)

    def channel(self, channel_id: str) -> Channel:
        """One that the bot can see. Raises Refusal 10003, 50001."""
        channel = self.state.channel(channel_id)
        if channel is None:
            raise unknown_channel()
        if not channel.visible:
            raise missing_access()
        return channel


def create_message(call: Call, context: Context) -> Reply:
    """With ``enforce_nonce``, a nonce that was used returns the message that has it."""
    state, settings, now = context.state, context.settings, context.clock.now_ns()
    channel = context.channel(call.ids[0])
    _check_sendable(channel, state)
    form = message_form(call.body)
    if form.enforce_nonce and form.nonce is not None:
        existing = context.nonces.find(channel.id, str(form.nonce), settings, now)
        if existing is not None:
            return _existing(existing, state)
    message = _message(form, channel, state)
    state.add_message(message, channel)
    context.nonces.remember(message, settings, now)
    return Reply(message_body(message, state, nonce=True))


def _existing(message: Message, state: State) -> Reply:
    if message.deleted:
        raise unknown_message()
    return Reply(message_body(message, state, nonce=True))


def _message(form: MessageForm, channel: Channel, state: State) -> Message:
    text, extras = form.text(), form.extras()
    check_content(text, extras)
    stored = without_unusable_emoji(text, state.usable_emoji)
    told = notified(text, form.allowed_mentions)
    return Message(
        id=state.next_id(),
        channel_id=channel.id,
        author_id=state.bot.id,
        content=stored,
        nonce=None if form.nonce is None else str(form.nonce),
        allowed_mentions=form.allowed_mentions,
        users_notified=told.users,
        roles_notified=told.roles,
        everyone_notified=told.everyone and channel.kind != "dm",
        extras=extras,
    )


def update_message(call: Call, context: Context) -> Reply:
    channel = context.channel(call.ids[0])
    message = _message_in(channel, call.ids[1])
    if message.author_id != context.state.bot.id:
        raise not_the_author()
    form = message_form(call.body)
    text, extras = form.text(message.content), form.extras(message.extras)
    check_content(text, extras)
    stored = without_unusable_emoji(text, context.state.usable_emoji)
    context.state.edit(message, stored, extras)
    return Reply(message_body(message, context.state, nonce=context.settings.history_nonces))


def delete_message(call: Call, context: Context) -> Reply:
    channel = context.channel(call.ids[0])
    message = _message_in(channel, call.ids[1])
    if message.author_id != context.state.bot.id:
        raise missing_permissions()
    context.state.delete(message)
    return Reply(None, 204)


def _message_in(channel: Channel, message_id: str) -> Message:
    """One that may be changed: nothing in the archive may."""
    message = channel.find(message_id)
    if message is None:
        raise unknown_message()
    if channel.archived:
        raise thread_archived()
    return message


def get_message(call: Call, context: Context) -> Reply:
    channel = context.channel(call.ids[0])
    if not channel.history:
        raise missing_access()
    message = channel.find(call.ids[1])
    if message is None:
        raise unknown_message()
    return Reply(message_body(message, context.state, nonce=context.settings.history_nonces))


def list_messages(call: Call, context: Context) -> Reply:
    """Newest first. Without Read Message History the list is empty, and that is no error."""
    channel = context.channel(call.ids[0])
    found = _page(channel.messages, call.query) if channel.history else []
    shown = context.settings.history_nonces
    return Reply([message_body(m, context.state, nonce=shown) for m in reversed(found)])


def _page(messages: list[Message], query: Mapping[str, str]) -> list[Message]:
    """The part of ``messages`` (oldest first) that ``limit`` and one of ``before``, ``after`` and
    ``around`` ask for, oldest first. Raises Refusal 50035."""
    limit = _limit(query.get("limit", "50"))
    if "around" in query:
        middle = bisect_left(messages, _snowflake_in(query, "around"), key=_message_number)
        begin = max(0, middle - limit // 2)
        return messages[begin : begin + limit]
    if "after" in query:
        begin = bisect_right(messages, _snowflake_in(query, "after"), key=_message_number)
        return messages[begin : begin + limit]
    end = len(messages)
    if "before" in query:
        end = bisect_left(messages, _snowflake_in(query, "before"), key=_message_number)
    return messages[max(0, end - limit) : end]


def _message_number(message: Message) -> int:
    return int(message.id)


def _snowflake_in(query: Mapping[str, str], name: str) -> int:
    if not is_snowflake(query[name]):
        text = f'Value "{query[name]}" is not snowflake.'
        raise invalid_form(name, "NUMBER_TYPE_COERCE", text)
    return int(query[name])


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise invalid_form("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
    return int(text)


def create_dm(call: Call, context: Context) -> Reply:
    """Returns the channel that exists, or makes it."""
    state = context.state
    user = _user(str(dm_form(call.body).recipient_id or ""), context)
    if user.bot or user.dms == "cannot_be_opened":
        raise dms_closed(user.closed_code, opening=True)
    channel = state.dm_of(user.id)
    if channel is None:
        _check_new_dm(state)
        channel = state.open_dm(user.id)
    return Reply(channel_body(channel, state))


def get_channel(call: Call, context: Context) -> Reply:
    return Reply(channel_body(context.channel(call.ids[0]), context.state))


def update_channel(call: Call, context: Context) -> Reply:
    """Threads only. One that is locked stays as it is: the bot may not manage threads."""
    channel, form = context.channel(call.ids[0]), channel_form(call.body)
    if channel.kind != "thread" or channel.locked or form.locked or not channel.writable:
        raise missing_permissions()
    if channel.archived and form.archived is False:
        _check_thread_limit(context.state)
    if form.archived is not None:
        channel.archived = form.archived
    if form.name is not None:
        channel.name = form.name
    return Reply(channel_body(channel, context.state))


def list_guild_channels(call: Call, context: Context) -> Reply:
    """Without threads, as Discord does."""
    _guild(call, context)
    channels = [c for c in context.state.channels.values() if c.kind == "channel" and c.visible]
    return Reply([channel_body(channel, context.state) for channel in channels])


def _check_sendable(channel: Channel, state: State) -> None:
    if channel.kind == "dm":
        _check_dm(channel, state)
    elif not channel.writable:
        raise missing_permissions()
    elif channel.locked:
        raise thread_locked()
    elif channel.archived:
        if not channel.sends_unarchive:
            raise thread_archived()
        _check_thread_limit(state)


def _check_dm(channel: Channel, state: State) -> None:
    user = state.user(channel.user_id or "")
    if user is None:
        raise dms_closed(50007)
    if user.dms != "open":
        raise dms_closed(user.closed_code)
    if not channel.acquainted:
        _check_new_dm(state)


def _check_new_dm(state: State) -> None:
    """Whether the bot may begin to write to somebody. Raises Refusal 40003, 20026."""
    if state.new_dms == "too_fast":
        raise opening_dms_too_fast()
    if state.new_dms == "quarantined":
        raise quarantined()


def _check_thread_limit(state: State) -> None:
    """Whether one more thread may become active. Raises Refusal 160006."""
    if state.threads_exhausted:
        raise too_many_threads()


def get_my_user(_call: Call, context: Context) -> Reply:
    return Reply(own_user_body(context.state))


def get_user(call: Call, context: Context) -> Reply:
    return Reply(user_body(_user(call.ids[0], context)))


def get_my_application(_call: Call, context: Context) -> Reply:
    return Reply(application_body(context.state))


def get_guild(call: Call, context: Context) -> Reply:
    return Reply(guild_body(_guild(call, context), context.state))


def get_guild_member(call: Call, context: Context) -> Reply:
    user = context.state.user(call.ids[1])
    if user is None or not user.member:
        raise unknown_member()
    return Reply(member_body(user, _guild(call, context)))


def _user(user_id: str, context: Context) -> User:
    user = context.state.user(user_id) if is_snowflake(user_id) else None
    if user is None:
        raise unknown_user()
    return user


def _guild(call: Call, context: Context) -> str:
    """The open world's guild answers to any id."""
    if context.state.strict and call.ids[0] != context.state.guild_id:
        raise unknown_guild()
    return call.ids[0]


OPERATIONS: Mapping[Operation, Callable[[Call, Context], Reply]] = {
    "create_dm": create_dm,
    "create_message": create_message,
    "list_messages": list_messages,
    "get_message": get_message,
    "update_message": update_message,
    "delete_message": delete_message,
    "get_channel": get_channel,
    "update_channel": update_channel,
    "get_my_user": get_my_user,
    "get_user": get_user,
    "get_my_oauth2_application": get_my_application,
    "get_guild": get_guild,
    "list_guild_channels": list_guild_channels,
    "get_guild_member": get_guild_member,
}
