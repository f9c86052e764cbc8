"""The only wiring: settings to adapters. Adapters are imported when they are first used."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.config import Settings
from speakerbot.errors import ConfigError
from speakerbot.ports.channel import OnLimited
from speakerbot.ports.store import Store

if TYPE_CHECKING:
    from speakerbot.delivery.session import Connect, CountingChannel
    from speakerbot.templates import Templates


def store(settings: Settings, *, read_only: bool = False) -> Store:
    """Opens the store the settings name. Read-only, nothing is created or changed."""
    from speakerbot.stores import open_store

    if not read_only:
        _refuse_lost_disk(settings.database_url)
    opened = open_store(settings.database_url, read_only=read_only)
    if read_only:
        opened.check()
    else:
        opened.prepare()
    return opened


def _refuse_lost_disk(url: str) -> None:
    """A scheduled Fly Machine's own disk is thrown away: what was sent would be forgotten."""
    if "FLY_MACHINE_ID" not in os.environ or not url.startswith("sqlite:"):
        return
    path = Path(url.removeprefix("sqlite:///")).absolute()
    if any(os.path.ismount(folder) for folder in path.parents if folder != Path(path.anchor)):
        return
    raise ConfigError(
        f"DATABASE_URL: {path} lies on this Fly Machine's own disk, which is not kept between "
        "runs. Use MongoDB (mongodb://…), or put the file on a mounted volume"
    )


def templates(settings: Settings) -> Templates:
    from speakerbot.templates import Templates

    return Templates(settings.templates)


def discord(settings: Settings) -> Connect:
    """Connects to Discord when called. Raises ConfigError at once if there is no token."""
    token = settings.discord_token
    if not token:
        raise ConfigError(
            "DISCORD_TOKEN is not set: put the bot's token into the environment or .env "
            "(developer portal, your application, Bot), or add --dry-run to send nothing"
        )

    def connect(
        on_limited: OnLimited,
    ) -> AbstractAsyncContextManager[CountingChannel]:
        from speakerbot.channels.discord.channel import DiscordChannel
        from speakerbot.delivery.nonces import longest_send

        return DiscordChannel(
            token,
            settings.discord_api_base,
            timeout=longest_send(settings.lease),
            on_limited=on_limited,
        )

    return connect
