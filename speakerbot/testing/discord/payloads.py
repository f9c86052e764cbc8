"""Discord's JSON objects for what exists, as far as its OpenAPI document requires it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from speakerbot.testing.discord.clock import created_at
from speakerbot.testing.discord.records import DiscordMessage, EventStatus, ScheduledEvent
from speakerbot.testing.discord.world import GuildState, LoopbackChannel, LoopbackUser

ADD_REACTIONS, VIEW_CHANNEL, SEND_MESSAGES, READ_HISTORY = 1 << 6, 1 << 10, 1 << 11, 1 << 16
SEND_IN_THREADS, EMBED_LINKS, ATTACH_FILES = 1 << 38, 1 << 14, 1 << 15
MEMBER_PERMISSIONS = (
    ADD_REACTIONS
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | READ_HISTORY
    | SEND_IN_THREADS
    | EMBED_LINKS
    | ATTACH_FILES
)
CREATE_EVENTS, MANAGE_EVENTS = 1 << 44, 1 << 33
EVENT_STATUSES: dict[EventStatus, int] = {
    "scheduled": 1,
    "active": 2,
    "completed": 3,
    "canceled": 4,
}
GUILD_ONLY, EXTERNAL = 2, 3
Json = dict[str, Any]


def user_payload(user: LoopbackUser) -> Json:
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


def message_payload(message: DiscordMessage, state: GuildState, *, nonce: bool) -> Json:
    """``nonce``: whether it is shown."""
    extras = message.extras or {}
    edited = message.edits[-1].at.isoformat() if message.edits else None
    body: Json = {
        "id": message.id,
        "type": 0,
        "channel_id": message.channel_id,
        "author": person_payload(message.author_id, state),
        "content": message.content,
        "timestamp": message.at.isoformat(),
        "edited_timestamp": edited,
        "mentions": [person_payload(user, state) for user in message.users_notified],
        "mention_roles": message.roles_notified,
        "mention_everyone": message.everyone_notified,
        "attachments": [],
        "embeds": embed_payloads(extras.get("embeds", [])),
        "components": component_payloads(extras.get("components", [])),
        "flags": 0,
        "pinned": False,
        "tts": False,
    }
    if nonce and message.nonce is not None:
        body["nonce"] = message.nonce
    if message.reactions:
        reactions = message.reactions.items()
        body["reactions"] = [_reaction(emoji, users, state) for emoji, users in reactions]
    return body


def _reaction(emoji: str, users: tuple[str, ...], state: GuildState) -> Json:
    name, _, emoji_id = emoji.partition(":")
    return {
        "emoji": {"id": emoji_id or None, "name": name},
        "count": len(users),
        "count_details": {"burst": 0, "normal": len(users)},
        "me": state.bot.id in users,
        "me_burst": False,
        "burst_colors": [],
    }


def person_payload(user_id: str, state: GuildState) -> Json:
    return user_payload(state.users.get(user_id) or LoopbackUser(user_id, "deleted_user"))


def event_payload(event: ScheduledEvent, state: GuildState, *, user_count: bool) -> Json:
    """``user_count``: whether it is shown."""
    body: Json = {
        "id": event.id,
        "guild_id": event.guild_id,
        "name": event.name,
        "description": event.description,
        "channel_id": None,
        "creator_id": event.creator_id,
        "creator": person_payload(event.creator_id, state),
        "image": None,
        "scheduled_start_time": event.starts_at.isoformat(),
        "scheduled_end_time": event.ends_at.isoformat(),
        "status": EVENT_STATUSES[event.status],
        "entity_type": EXTERNAL,
        "entity_id": None,
        "entity_metadata": {"location": event.location},
        "recurrence_rule": None,
        "privacy_level": GUILD_ONLY,
        "guild_scheduled_event_exceptions": [],
    }
    return {**body, "user_count": len(event.interested)} if user_count else body


def channel_payload(channel: LoopbackChannel, state: GuildState) -> Json:
    body: Json = {"id": channel.id, "last_message_id": channel.last_message_id, "flags": 0}
    if channel.kind == "dm":
        return {**body, "type": 1, "recipients": [person_payload(channel.user_id or "", state)]}
    body |= {"guild_id": state.guild_id, "name": channel.name, "parent_id": channel.parent_id}
    if channel.kind == "thread":
        return {**body, **_thread_parts(channel, state)}
    return {**body, "type": 0, "position": 0, "permission_overwrites": _denied(channel, state)}


def _thread_parts(thread: LoopbackChannel, state: GuildState) -> Json:
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


def _denied(channel: LoopbackChannel, state: GuildState) -> list[Json]:
    """The bot's permission overwrite, so that clients can see what it may not do."""
    deny = 0 if channel.visible else VIEW_CHANNEL
    deny |= 0 if channel.writable else SEND_MESSAGES | SEND_IN_THREADS
    deny |= 0 if channel.history else READ_HISTORY
    deny |= 0 if channel.reactable else ADD_REACTIONS
    if not deny:
        return []
    return [{"id": state.bot.id, "type": 1, "allow": "0", "deny": str(deny)}]


def guild_payload(guild_id: str, state: GuildState) -> Json:
    absent = (
        "icon description home_header splash discovery_splash banner application_id afk_channel_id "
        "system_channel_id widget_channel_id max_presences vanity_url_code rules_channel_id "
        "safety_alerts_channel_id public_updates_channel_id incidents_data"
    )
    zero = (
        "system_channel_flags verification_level default_message_notifications mfa_level "
        "explicit_content_filter max_stage_video_channel_users max_video_channel_users "
        "premium_tier premium_subscription_count nsfw_level"
    )
    return {
        "id": guild_id,
        "name": state.guild_name,
        "owner_id": "1",
        "region": "deprecated",
        "preferred_locale": "en-US",
        "afk_timeout": 300,
        "max_members": 500_000,
        "roles": [_everyone(guild_id, state)],
        **dict.fromkeys(absent.split()),
        **dict.fromkeys(zero.split(), 0),
        **dict.fromkeys(("widget_enabled", "premium_progress_bar_enabled", "nsfw"), False),
        **{name: [] for name in ("features", "emojis", "stickers")},
    }


def _everyone(guild_id: str, state: GuildState) -> Json:
    events = CREATE_EVENTS if state.creates_events else 0
    events |= MANAGE_EVENTS if state.manages_events else 0
    return {
        "id": guild_id,
        "name": "@everyone",
        "permissions": str(MEMBER_PERMISSIONS | events),
        "position": 0,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def member_payload(user: LoopbackUser, guild_id: str) -> Json:
    absent = ("avatar", "banner", "communication_disabled_until", "nick", "premium_since")
    return {
        "user": user_payload(user),
        "roles": [],
        "joined_at": created_at(guild_id).isoformat(),
        "flags": 0,
        **dict.fromkeys(absent),
        **dict.fromkeys(("pending", "mute", "deaf"), False),
    }


def own_user_payload(state: GuildState) -> Json:
    return {**user_payload(state.bot), "mfa_enabled": False, "locale": "en-US", "verified": True}


def application_payload(state: GuildState) -> Json:
    counts = ("guild", "user_install", "user_authorization")
    return {
        "id": state.bot.id,
        "name": state.bot.name,
        "icon": None,
        "description": "",
        "type": None,
        "bot": user_payload(state.bot),
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": 0,
        "flags_new": "0",
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user_payload(LoopbackUser("1", "owner")),
        "explicit_content_filter": 0,
        "team": None,
        "eligible_oauth2_scopes": [],
        **{f"approximate_{count}_count": 0 for count in counts},
    }


def embed_payloads(embeds: list[Json]) -> list[Json]:
    return [_embed(embed) for embed in embeds]


def component_payloads(components: list[Json]) -> list[Json]:
    """Components are numbered through the message, unless they have an ``id``."""
    return _numbered(components, count(1))


def _embed(embed: Json) -> Json:
    body = {"type": "rich", **embed}
    if "fields" in embed:
        body["fields"] = [{"inline": False, **field} for field in embed["fields"]]
    return body


def _numbered(components: list[Json], numbers: Iterator[int]) -> list[Json]:
    bodies = []
    for component in components:
        body = {"id": next(numbers), **component}
        if "components" in component:
            body["components"] = _numbered(component["components"], numbers)
        bodies.append(body)
    return bodies
