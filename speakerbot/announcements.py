"""The channels of the settings that posts for everybody go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError
from speakerbot.messages import Route

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.ports import Guilds


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


def only_route(channel_id: str) -> tuple[Route, ...]:
    """The way of a post: if its channel refuses us, the settings are wrong, and a run after they
    are mended sends it."""
    return (Route("channel", channel_id, configured=True),)
