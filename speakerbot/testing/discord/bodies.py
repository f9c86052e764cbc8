"""Discord's JSON for what exists, as far as its OpenAPI document requires it."""

from __future__ import annotations

from speakerbot.testing.discord.places import Channel, User
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.rich_bodies import Json, component_bodies, embed_bodies
from speakerbot.testing.discord.snowflakes import created_at
from speakerbot.testing.discord.state import State

VIEW_CHANNEL, SEND_MESSAGES, READ_HISTORY = 1 << 10, 1 << 11, 1 << 16
SEND_IN_THREADS, EMBED_LINKS, ATTACH_FILES = 1 << 38, 1 << 14, 1 << 15
MEMBER_PERMISSIONS = (
    VIEW_CHANNEL | SEND_MESSAGES | READ_HISTORY | SEND_IN_THREADS | EMBED_LINKS | ATTACH_FILES
)


def user_body(user: User) -> Json:
    body: Json = {
        "id": user.id,
        "username": user.name,
        "avatar": None,
        "discriminator": "0000" if user.bot else "0",
        "public_flags": 0,
        "flags": 0,
        "global_name": None if user.bot else user.name,
        "primary_guild": None,
    }
    return {**body, "bot": True} if user.bot else body


def message_body(message: Message, state: State, *, nonce: bool) -> Json:
    """``nonce``: whether it is shown."""
    extras = message.extras or {}
    edited = message.edits[-1].at.isoformat() if message.edits else None
    body: Json = {
        "id": message.id,
        "type": 0,
        "channel_id": message.channel_id,
        "author": _person(message.author_id, state),
        "content": message.content,
        "timestamp": message.at.isoformat(),
        "edited_timestamp": edited,
        "mentions": [_person(user, state) for user in message.users_notified],
        "mention_roles": message.roles_notified,
        "mention_everyone": message.everyone_notified,
        "attachments": [],
        "embeds": embed_bodies(extras.get("embeds", [])),
        "components": component_bodies(extras.get("components", [])),
        "flags": 0,
        "pinned": False,
        "tts": False,
    }
    if nonce and message.nonce is not None:
        body["nonce"] = message.nonce
    return body


def _person(user_id: str, state: State) -> Json:
    return user_body(state.users.get(user_id) or User(user_id, "deleted_user"))


def channel_body(channel: Channel, state: State) -> Json:
    body: Json = {"id": channel.id, "last_message_id": channel.last_message_id, "flags": 0}
    if channel.kind == "dm":
        return {**body, "type": 1, "recipients": [_person(channel.user_id or "", state)]}
    body |= {"guild_id": state.guild_id, "name": channel.name, "parent_id": channel.parent_id}
    if channel.kind == "thread":
        return {**body, **_thread_parts(channel, state)}
    return {**body, "type": 0, "position": 0, "permission_overwrites": _denied(channel, state)}


def _thread_parts(thread: Channel, state: State) -> Json:
    made = created_at(thread.id).isoformat()
    return {
        "type": 11,
        "owner_id": state.bot.id,
        "message_count": len(thread.messages),
        "total_message_sent": len(thread.messages),
        "member_count": 1,
        "thread_metadata": {
            "archived": thread.archived,
            "archive_timestamp": made,
            "auto_archive_duration": 1440,
            "locked": thread.locked,
            "create_timestamp": made,
        },
    }


def _denied(channel: Channel, state: State) -> list[Json]:
    """The bot's permission overwrite, so that clients can see what it may not do."""
    deny = 0 if channel.visible else VIEW_CHANNEL
    deny |= 0 if channel.writable else SEND_MESSAGES | SEND_IN_THREADS
    deny |= 0 if channel.history else READ_HISTORY
    if not deny:
        return []
    return [{"id": state.bot.id, "type": 1, "allow": "0", "deny": str(deny)}]
