"""Where messages go: a speaker's routes in the community's order, and the channels of posts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.domain.message import Route
from speakerbot.errors import ConfigError

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.domain.job_registry import PostsTo
    from speakerbot.ports.store import Guilds


def to_speaker(user_id: str, thread_id: str | None, settings: Settings) -> tuple[Route, ...]:
    """By DM, in the sign-up thread if there is one, in the fallback channel if there is one, in
    their web inbox: those of ``SPEAKERBOT_REMINDER_ROUTES``. Where others read along, the speaker
    is mentioned."""
    known = {"dm": Route("dm", user_id), "inbox": Route("inbox", f"user:{user_id}")}
    if thread_id:
        known["thread"] = Route("thread", thread_id, mention=user_id)
    if channel := settings.fallback_channel_id:
        known["channel"] = Route("channel", channel, mention=user_id, configured=True)
    return tuple(known[name] for name in settings.reminder_routes if name in known)


def announcement_channel(guilds: Guilds, settings: Settings) -> str:
    """The Discord id of the community's announcement channel: what its guild has set, else what
    the environment names. One query. Raises ConfigError naming both ways to set it."""
    of_guild = guilds.channel(settings.guild_id) if settings.guild_id else None
    if channel := of_guild or settings.announcements_channel_id:
        return channel
    raise ConfigError(
        "there is no announcement channel: set PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID to its id, or "
        "DISCORD_GUILD_ID to the server's and run `speakerbot guild set-channel ID`"
    )


def organisers_channel(settings: Settings) -> str:
    """The Discord id of the channel organisers read. Raises ConfigError if it is not set."""
    if channel := settings.logs_channel_id:
        return channel
    raise ConfigError("DISCORD_LOGS_CHANNEL_ID is not set: it names the channel organisers read")


def server(settings: Settings) -> str:
    """The Discord id of the community's server. Raises ConfigError if it is not set."""
    if guild_id := settings.guild_id:
        return guild_id
    raise ConfigError("DISCORD_GUILD_ID is not set: it names the community's server")


def check_configured(posts_to: PostsTo | None, guilds: Guilds, settings: Settings) -> None:
    """Raises ConfigError if what a job posts to is not set anywhere. At most one query."""
    if posts_to == "announcements":
        announcement_channel(guilds, settings)
    elif posts_to == "organisers":
        organisers_channel(settings)
    elif posts_to == "server":
        server(settings)


def is_configured(posts_to: PostsTo | None, guilds: Guilds, settings: Settings) -> bool:
    """Whether what a job posts to is set anywhere. At most one query."""
    try:
        check_configured(posts_to, guilds, settings)
    except ConfigError:
        return False
    return True


def only_route(channel_id: str, mention: str | None = None) -> tuple[Route, ...]:
    """The way of a post: if its channel refuses us, the settings are wrong, and a run after they
    are right sends it."""
    return (Route("channel", channel_id, mention, configured=True),)
