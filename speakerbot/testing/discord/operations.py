"""What each operation of Discord's API does, and which errors it answers instead."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping

from speakerbot.testing.discord.calls import ApiCall, ApiContext, ApiResult
from speakerbot.testing.discord.clock import is_snowflake
from speakerbot.testing.discord.payloads import (
    application_payload,
    channel_payload,
    guild_payload,
    member_payload,
    message_payload,
    own_user_payload,
    person_payload,
    user_payload,
)
from speakerbot.testing.discord.records import DiscordMessage
from speakerbot.testing.discord.responses import (
    dms_closed,
    invalid_form,
    missing_access,
    missing_permissions,
    not_in_a_dm,
    not_the_author,
    opening_dms_too_fast,
    quarantined,
    reaction_blocked,
    thread_archived,
    thread_locked,
    too_many_reactions,
    too_many_threads,
    unknown_emoji,
    unknown_member,
    unknown_message,
    unknown_user,
)
from speakerbot.testing.discord.routing import Operation
from speakerbot.testing.discord.scheduled_events import (
    create_event,
    delete_event,
    get_event,
    list_events,
    update_event,
)
from speakerbot.testing.discord.validation import (
    MessageForm,
    check_content,
    check_emoji,
    notified,
    parse_channel_form,
    parse_dm_form,
    parse_message_form,
    without_unusable_emoji,
)
from speakerbot.testing.discord.world import GuildState, LoopbackChannel, LoopbackUser

MOST_REACTIONS = 20
"""Different emoji under one message."""


def create_message(call: ApiCall, context: ApiContext) -> ApiResult:
    """With ``enforce_nonce``, a nonce that was used returns the message that has it."""
    state, settings, now = context.state, context.settings, context.clock.now_ns()
    channel = context.channel(call.ids[0])
    _check_sendable(channel, state)
    form = parse_message_form(call.body)
    if form.enforce_nonce and form.nonce is not None:
        existing = context.nonces.find(channel.id, str(form.nonce), settings, now)
        if existing is not None:
            return _existing(existing, state)
    message = _message(form, channel, state)
    state.add_message(message, channel)
    context.nonces.remember(message, settings, now)
    return ApiResult(message_payload(message, state, nonce=True))


def _existing(message: DiscordMessage, state: GuildState) -> ApiResult:
    if message.deleted:
        raise unknown_message()
    return ApiResult(message_payload(message, state, nonce=True))


def _message(form: MessageForm, channel: LoopbackChannel, state: GuildState) -> DiscordMessage:
    text, extras = form.text(), form.extras()
    check_content(text, extras)
    stored = without_unusable_emoji(text, state.usable_emoji)
    told = notified(text, form.allowed_mentions)
    return DiscordMessage(
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


def update_message(call: ApiCall, context: ApiContext) -> ApiResult:
    channel = context.channel(call.ids[0])
    message = _message_in(channel, call.ids[1])
    if message.author_id != context.state.bot.id:
        raise not_the_author()
    form = parse_message_form(call.body)
    text, extras = form.text(message.content), form.extras(message.extras)
    check_content(text, extras)
    stored = without_unusable_emoji(text, context.state.usable_emoji)
    context.state.edit(message, stored, extras)
    return ApiResult(message_payload(message, context.state, nonce=context.settings.history_nonces))


def delete_message(call: ApiCall, context: ApiContext) -> ApiResult:
    channel = context.channel(call.ids[0])
    message = _message_in(channel, call.ids[1])
    if message.author_id != context.state.bot.id:
        _check_managing(channel)
    context.state.delete(message)
    return ApiResult(None, 204)


def add_my_reaction(call: ApiCall, context: ApiContext) -> ApiResult:
    """Putting it again changes nothing. One that others put needs no permission to add any."""
    state, channel = context.state, context.channel(call.ids[0])
    message = _message_with_history(channel, call.ids[1])
    if call.emoji not in message.reactions:
        check_emoji(call.emoji, state.usable_emoji)
        _check_new_reaction(message, channel)
    if channel.locked:
        raise thread_locked()
    people = (state.user(user) for user in (message.author_id, channel.user_id) if user)
    if any(person.blocks_bot for person in people if person):
        raise reaction_blocked()
    state.react(message, call.emoji, state.bot.id, added=True)
    return ApiResult(None, 204)


def _check_new_reaction(message: DiscordMessage, channel: LoopbackChannel) -> None:
    """Whether one more emoji may be put under it. Raises ApiError 50013, 30010."""
    if not channel.reactable:
        raise missing_permissions()
    if len(message.reactions) >= MOST_REACTIONS:
        raise too_many_reactions()


def delete_my_reaction(call: ApiCall, context: ApiContext) -> ApiResult:
    return _take_reaction(call, context.state.bot.id, context)


def delete_user_reaction(call: ApiCall, context: ApiContext) -> ApiResult:
    """Also the bot's own, by its id."""
    if call.ids[2] != context.state.bot.id:
        _check_managing(context.channel(call.ids[0]))
    return _take_reaction(call, call.ids[2], context)


def _take_reaction(call: ApiCall, user_id: str, context: ApiContext) -> ApiResult:
    """A user who did not react with this emoji is not an error; an unused emoji is."""
    message = _message_with_history(context.channel(call.ids[0]), call.ids[1])
    if call.emoji not in message.reactions:
        raise unknown_emoji()
    context.state.react(message, call.emoji, user_id, added=False)
    return ApiResult(None, 204)


def list_reactions(call: ApiCall, context: ApiContext) -> ApiResult:
    """Who reacted with one emoji, by id. None of them is a burst."""
    channel = context.channel(call.ids[0])
    message = _readable_message(channel, call.ids[1])
    if call.emoji not in message.reactions:
        check_emoji(call.emoji, context.state.usable_emoji)
    limit = _limit(call.query.get("limit", "25"))
    after = _snowflake_in(call.query, "after") if "after" in call.query else 0
    users = message.reactions.get(call.emoji, ()) if call.query.get("type", "0") == "0" else ()
    found = sorted((user for user in users if int(user) > after), key=int)[:limit]
    return ApiResult([person_payload(user, context.state) for user in found])


def _check_managing(channel: LoopbackChannel) -> None:
    """Whether the bot may take away what others made. Raises ApiError 50003, 50013."""
    if channel.kind == "dm":
        raise not_in_a_dm()
    if not channel.managed:
        raise missing_permissions()


def _message_with_history(channel: LoopbackChannel, message_id: str) -> DiscordMessage:
    """One whose reactions may be changed."""
    if not channel.history:
        raise missing_access()
    return _message_in(channel, message_id)


def _message_in(channel: LoopbackChannel, message_id: str) -> DiscordMessage:
    """One that may be changed: nothing in the archive may."""
    message = channel.find(message_id)
    if message is None:
        raise unknown_message()
    if channel.archived:
        raise thread_archived()
    return message


def get_message(call: ApiCall, context: ApiContext) -> ApiResult:
    message = _readable_message(context.channel(call.ids[0]), call.ids[1])
    return ApiResult(message_payload(message, context.state, nonce=context.settings.history_nonces))


def _readable_message(channel: LoopbackChannel, message_id: str) -> DiscordMessage:
    if not channel.history:
        raise missing_access()
    message = channel.find(message_id)
    if message is None:
        raise unknown_message()
    return message


def list_messages(call: ApiCall, context: ApiContext) -> ApiResult:
    """Newest first. Without Read Message History the list is empty, which is not an error."""
    channel = context.channel(call.ids[0])
    found = _page(channel.messages, call.query) if channel.history else []
    shown = context.settings.history_nonces
    return ApiResult([message_payload(m, context.state, nonce=shown) for m in reversed(found)])


def _page(messages: list[DiscordMessage], query: Mapping[str, str]) -> list[DiscordMessage]:
    """The part of ``messages`` (oldest first) that ``limit`` and one of ``before``, ``after`` and
    ``around`` ask for, oldest first. Raises ApiError 50035."""
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


def _message_number(message: DiscordMessage) -> int:
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


def create_dm(call: ApiCall, context: ApiContext) -> ApiResult:
    """Returns the channel that exists, or makes it."""
    state = context.state
    user = _user(str(parse_dm_form(call.body).recipient_id or ""), context)
    if user.bot or user.dms == "cannot_be_opened":
        raise dms_closed(user.closed_code, opening=True)
    channel = state.dm_of(user.id)
    if channel is None:
        _check_new_dm(state)
        channel = state.open_dm(user.id)
    return ApiResult(channel_payload(channel, state))


def get_channel(call: ApiCall, context: ApiContext) -> ApiResult:
    return ApiResult(channel_payload(context.channel(call.ids[0]), context.state))


def update_channel(call: ApiCall, context: ApiContext) -> ApiResult:
    """Threads only. One that is locked stays as it is: the bot may not manage threads."""
    channel, form = context.channel(call.ids[0]), parse_channel_form(call.body)
    if channel.kind != "thread" or channel.locked or form.locked or not channel.writable:
        raise missing_permissions()
    if channel.archived and form.archived is False:
        _check_thread_limit(context.state)
    if form.archived is not None:
        channel.archived = form.archived
    if form.name is not None:
        channel.name = form.name
    return ApiResult(channel_payload(channel, context.state))


def list_guild_channels(call: ApiCall, context: ApiContext) -> ApiResult:
    """Without threads, as Discord does."""
    context.guild(call.ids[0])
    channels = [c for c in context.state.channels.values() if c.kind == "channel" and c.visible]
    return ApiResult([channel_payload(channel, context.state) for channel in channels])


def _check_sendable(channel: LoopbackChannel, state: GuildState) -> None:
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


def _check_dm(channel: LoopbackChannel, state: GuildState) -> None:
    user = state.user(channel.user_id or "")
    if user is None:
        raise dms_closed(50007)
    if user.dms != "open":
        raise dms_closed(user.closed_code)
    if not channel.acquainted:
        _check_new_dm(state)


def _check_new_dm(state: GuildState) -> None:
    """Whether the bot may begin to write to somebody. Raises ApiError 40003, 20026."""
    if state.new_dms == "too_fast":
        raise opening_dms_too_fast()
    if state.new_dms == "quarantined":
        raise quarantined()


def _check_thread_limit(state: GuildState) -> None:
    """Whether one more thread may become active. Raises ApiError 160006."""
    if state.threads_exhausted:
        raise too_many_threads()


def get_my_user(_call: ApiCall, context: ApiContext) -> ApiResult:
    return ApiResult(own_user_payload(context.state))


def get_user(call: ApiCall, context: ApiContext) -> ApiResult:
    return ApiResult(user_payload(_user(call.ids[0], context)))


def get_my_application(_call: ApiCall, context: ApiContext) -> ApiResult:
    return ApiResult(application_payload(context.state))


def get_guild(call: ApiCall, context: ApiContext) -> ApiResult:
    return ApiResult(guild_payload(context.guild(call.ids[0]), context.state))


def get_guild_member(call: ApiCall, context: ApiContext) -> ApiResult:
    user = context.state.user(call.ids[1])
    if user is None or not user.member:
        raise unknown_member()
    return ApiResult(member_payload(user, context.guild(call.ids[0])))


def _user(user_id: str, context: ApiContext) -> LoopbackUser:
    user = context.state.user(user_id) if is_snowflake(user_id) else None
    if user is None:
        raise unknown_user()
    return user


OPERATIONS: Mapping[Operation, Callable[[ApiCall, ApiContext], ApiResult]] = {
    "create_dm": create_dm,
    "create_message": create_message,
    "list_messages": list_messages,
    "get_message": get_message,
    "update_message": update_message,
    "delete_message": delete_message,
    "add_my_message_reaction": add_my_reaction,
    "delete_my_message_reaction": delete_my_reaction,
    "delete_user_message_reaction": delete_user_reaction,
    "list_message_reactions_by_emoji": list_reactions,
    "get_channel": get_channel,
    "update_channel": update_channel,
    "get_my_user": get_my_user,
    "get_user": get_user,
    "get_my_oauth2_application": get_my_application,
    "get_guild": get_guild,
    "list_guild_channels": list_guild_channels,
    "get_guild_member": get_guild_member,
    "list_guild_scheduled_events": list_events,
    "create_guild_scheduled_event": create_event,
    "get_guild_scheduled_event": get_event,
    "update_guild_scheduled_event": update_event,
    "delete_guild_scheduled_event": delete_event,
}
