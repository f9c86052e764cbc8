"""Creating, editing and deleting messages."""

from __future__ import annotations

from speakerbot.testing.discord import refusals
from speakerbot.testing.discord.bodies import message_body
from speakerbot.testing.discord.call import Call, Context, Reply
from speakerbot.testing.discord.forms import (
    MessageForm,
    check_content,
    message_form,
    without_unusable_emoji,
)
from speakerbot.testing.discord.mentions import notified
from speakerbot.testing.discord.places import Channel
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.state import State


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


def update_message(call: Call, context: Context) -> Reply:
    channel = context.channel(call.ids[0])
    message = _message_in(channel, call.ids[1])
    if message.author_id != context.state.bot.id:
        raise refusals.not_the_author()
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
        raise refusals.missing_permissions()
    context.state.delete(message)
    return Reply(None, 204)


def _existing(message: Message, state: State) -> Reply:
    if message.deleted:
        raise refusals.unknown_message()
    return Reply(message_body(message, state, nonce=True))


def _check_sendable(channel: Channel, state: State) -> None:
    if channel.kind == "dm":
        _check_dm(channel, state)
    elif not channel.writable:
        raise refusals.missing_permissions()
    elif channel.locked:
        raise refusals.thread_locked()
    elif channel.archived:
        if not channel.sends_unarchive:
            raise refusals.thread_archived()
        check_thread_limit(state)


def _check_dm(channel: Channel, state: State) -> None:
    user = state.user(channel.user_id or "")
    if user is None:
        raise refusals.dms_closed(50007)
    if user.dms != "open":
        raise refusals.dms_closed(user.closed_code)
    if not channel.acquainted:
        check_new_dm(state)


def check_new_dm(state: State) -> None:
    """Whether the bot may begin to write to somebody. Raises Refusal 40003, 20026."""
    if state.new_dms == "too_fast":
        raise refusals.opening_dms_too_fast()
    if state.new_dms == "quarantined":
        raise refusals.quarantined()


def check_thread_limit(state: State) -> None:
    """Whether one more thread may become active. Raises Refusal 160006."""
    if state.threads_exhausted:
        raise refusals.too_many_threads()


def _message_in(channel: Channel, message_id: str) -> Message:
    """One that may be changed: nothing in the archive may."""
    message = channel.find(message_id)
    if message is None:
        raise refusals.unknown_message()
    if channel.archived:
        raise refusals.thread_archived()
    return message


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
