"""Channels, direct messages, users and the guild."""

from __future__ import annotations

from speakerbot.testing.discord import refusals
from speakerbot.testing.discord.bodies import channel_body, user_body
from speakerbot.testing.discord.call import Call, Context, Reply
from speakerbot.testing.discord.forms import channel_form, dm_form
from speakerbot.testing.discord.guild_bodies import (
    application_body,
    guild_body,
    member_body,
    own_user_body,
)
from speakerbot.testing.discord.places import User
from speakerbot.testing.discord.sending import check_new_dm, check_thread_limit
from speakerbot.testing.discord.snowflakes import is_snowflake


def create_dm(call: Call, context: Context) -> Reply:
    """Returns the channel that exists, or makes it."""
    state = context.state
    user = _user(str(dm_form(call.body).recipient_id or ""), context)
    if user.bot or user.dms == "cannot_be_opened":
        raise refusals.dms_closed(user.closed_code, opening=True)
    channel = state.dm_of(user.id)
    if channel is None:
        check_new_dm(state)
        channel = state.open_dm(user.id)
    return Reply(channel_body(channel, state))


def get_channel(call: Call, context: Context) -> Reply:
    return Reply(channel_body(context.channel(call.ids[0]), context.state))


def update_channel(call: Call, context: Context) -> Reply:
    """Threads only. One that is locked stays as it is: the bot may not manage threads."""
    channel, form = context.channel(call.ids[0]), channel_form(call.body)
    if channel.kind != "thread" or channel.locked or form.locked or not channel.writable:
        raise refusals.missing_permissions()
    if channel.archived and form.archived is False:
        check_thread_limit(context.state)
    if form.archived is not None:
        channel.archived = form.archived
    if form.name is not None:
        channel.name = form.name
    return Reply(channel_body(channel, context.state))


def get_my_user(_call: Call, context: Context) -> Reply:
    return Reply(own_user_body(context.state))


def get_user(call: Call, context: Context) -> Reply:
    return Reply(user_body(_user(call.ids[0], context)))


def get_my_application(_call: Call, context: Context) -> Reply:
    return Reply(application_body(context.state))


def get_guild(call: Call, context: Context) -> Reply:
    return Reply(guild_body(_guild(call, context), context.state))


def list_guild_channels(call: Call, context: Context) -> Reply:
    """Without threads, as Discord does."""
    _guild(call, context)
    channels = [c for c in context.state.channels.values() if c.kind == "channel" and c.visible]
    return Reply([channel_body(channel, context.state) for channel in channels])


def get_guild_member(call: Call, context: Context) -> Reply:
    user = context.state.user(call.ids[1])
    if user is None or not user.member:
        raise refusals.unknown_member()
    return Reply(member_body(user, _guild(call, context)))


def _user(user_id: str, context: Context) -> User:
    user = context.state.user(user_id) if is_snowflake(user_id) else None
    if user is None:
        raise refusals.unknown_user()
    return user


def _guild(call: Call, context: Context) -> str:
    """The open world's guild answers to any id."""
    if context.state.strict and call.ids[0] != context.state.guild_id:
        raise refusals.unknown_guild()
    return call.ids[0]
