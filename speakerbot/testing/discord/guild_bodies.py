"""Discord's JSON for the guild, its members and the bot's application."""

from __future__ import annotations

from speakerbot.testing.discord.bodies import MEMBER_PERMISSIONS, user_body
from speakerbot.testing.discord.places import User
from speakerbot.testing.discord.rich_bodies import Json
from speakerbot.testing.discord.snowflakes import created_at
from speakerbot.testing.discord.state import State


def guild_body(guild_id: str, state: State) -> Json:
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
        "roles": [_everyone(guild_id)],
        **dict.fromkeys(absent.split()),
        **dict.fromkeys(zero.split(), 0),
        **dict.fromkeys(("widget_enabled", "premium_progress_bar_enabled", "nsfw"), False),
        **{name: [] for name in ("features", "emojis", "stickers")},
    }


def _everyone(guild_id: str) -> Json:
    return {
        "id": guild_id,
        "name": "@everyone",
        "permissions": str(MEMBER_PERMISSIONS),
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


def member_body(user: User, guild_id: str) -> Json:
    absent = ("avatar", "banner", "communication_disabled_until", "nick", "premium_since")
    return {
        "user": user_body(user),
        "roles": [],
        "joined_at": created_at(guild_id).isoformat(),
        "flags": 0,
        **dict.fromkeys(absent),
        **dict.fromkeys(("pending", "mute", "deaf"), False),
    }


def own_user_body(state: State) -> Json:
    return {**user_body(state.bot), "mfa_enabled": False, "locale": "en-US", "verified": True}


def application_body(state: State) -> Json:
    counts = ("guild", "user_install", "user_authorization")
    return {
        "id": state.bot.id,
        "name": state.bot.name,
        "icon": None,
        "description": "",
        "type": None,
        "bot": user_body(state.bot),
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": 0,
        "flags_new": "0",
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user_body(User("1", "owner")),
        "explicit_content_filter": 0,
        "team": None,
        "eligible_oauth2_scopes": [],
        **{f"approximate_{count}_count": 0 for count in counts},
    }
