"""A job run for real, against a Discord inside this process and a copy of the data."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.ports.store import Store
from speakerbot.runs.service import RunRequest, RunService
from speakerbot.stores import open_store
from speakerbot.stores.copying import copy

if TYPE_CHECKING:
    from speakerbot.testing.discord import Conversation, LoopbackDiscord

ANNOUNCEMENTS, ORGANISERS = "1001", "1002"
"""Stand in for channels that nobody has set yet: a sandbox shows what they would get."""


def run(
    job: str,
    jobs: JobRegistry,
    settings: Settings,
    source: Store,
    now: datetime | None,
    log: Any,
) -> tuple[Conversation, ...]:
    """What people would see. ``source`` is only read; no request leaves this process."""
    from speakerbot.testing.discord import LoopbackDiscord

    data = open_store("sqlite:///:memory:")
    data.prepare()
    copy(source, data)
    with LoopbackDiscord().running_in_thread() as discord:
        sandboxed = replace(
            settings,
            announcements_channel_id=settings.announcements_channel_id or ANNOUNCEMENTS,
            logs_channel_id=settings.logs_channel_id or ORGANISERS,
            discord_token="sandbox",  # noqa: S106  # the loopback takes any
            discord_api_base=discord.base_url,
            new_dm_every=timedelta(0),
            enabled=True,
            disabled_jobs=frozenset(),
        )
        _populate(discord, data, sandboxed)
        service = RunService(sandboxed, jobs, open_store=lambda *_, **__: data, log=log)
        service.run(RunRequest(job, now=now), ())
        return discord.transcript()


def _populate(discord: LoopbackDiscord, data: Store, settings: Settings) -> None:
    """The people, threads and channels the messages go to, by their names where we know them."""
    for channel_id, name in _channels(data, settings):
        discord.world.add_channel(channel_id, name)
    for talk in data.talks.all():
        discord.world.add_user(talk.user_id, talk.username)
        if talk.thread_id:
            discord.world.add_thread(talk.thread_id, "1", f"{talk.username}'s sign-up thread")


def _channels(data: Store, settings: Settings) -> list[tuple[str, str]]:
    named = [
        (settings.announcements_channel_id, "announcements"),
        (settings.fallback_channel_id, "fallback"),
        (settings.logs_channel_id, "organisers"),
        *((str(g["proactiveAnnouncementsChannelId"]), "announcements") for g in data.guilds.all()),
    ]
    return [(channel_id, name) for channel_id, name in named if channel_id]
