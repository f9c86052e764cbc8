"""A job run for real, against a Discord inside this process and a copy of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from speakerbot.clock import real_now
from speakerbot.config import Settings
from speakerbot.domain.delivery import DeliveryChange
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.ports.store import Store
from speakerbot.runs.service import RunRequest, RunService
from speakerbot.stores import open_store

if TYPE_CHECKING:
    from speakerbot.testing.discord import Conversation, LoopbackDiscord, ScheduledEvent

T = TypeVar("T")
_CHUNK = 500
_ALL = 1_000_000_000
ANNOUNCEMENTS, ORGANISERS, GUILD = "1001", "1002", "1003"
"""Stand in for channels and a server that are not set yet: a sandbox shows what they would get.
"""


class Sandboxed(NamedTuple):
    """What people would see. Nothing is remembered of the server's events: it has none before."""

    conversations: tuple[Conversation, ...]
    events: tuple[ScheduledEvent, ...]
    """Of the server."""


def run(
    job: str,
    jobs: JobRegistry,
    settings: Settings,
    source: Store,
    now: datetime | None,
    log: Any,
) -> Sandboxed:
    """What people would see. ``source`` is only read; no request leaves this process."""
    from speakerbot.testing.discord import LoopbackClock, LoopbackDiscord

    data = open_store("sqlite:///:memory:")
    data.prepare()
    _copy(source, data)
    # Events can only be made of what is still to come there, too.
    with LoopbackDiscord(clock=LoopbackClock(now)).running_in_thread() as discord:
        sandboxed = replace(
            settings,
            announcements_channel_id=settings.announcements_channel_id or ANNOUNCEMENTS,
            logs_channel_id=settings.logs_channel_id or ORGANISERS,
            guild_id=settings.guild_id or GUILD,
            discord_token="sandbox",  # noqa: S106  # the loopback takes any
            discord_api_base=discord.base_url,
            new_dm_every=timedelta(0),
            enabled=True,
            disabled_jobs=frozenset(),
        )
        _populate(discord, data, sandboxed)
        service = RunService(sandboxed, jobs, open_store=lambda *_, **__: data, log=log)
        service.run(RunRequest(job, now=now), ())
        events = tuple(event for event in discord.events if event.is_open)
        return Sandboxed(discord.transcript(), events)


def _copy(source: Store, target: Store) -> None:
    """Copies talks, people, answers, the announcement channels, the ledger, the snapshot and the
    calendar into the empty ``target``; ``source`` is only read. Shared limits and run records stay
    behind: they are not the data."""
    if source.snapshots.taken():
        target.snapshots.take(real_now())  # of no talks yet
    for entries in _chunks(source.snapshots.all()):
        target.snapshots.advance([(None, entry) for entry in entries])
    for shown in _chunks(source.calendar.all()):
        target.calendar.advance([(None, entry) for entry in shown])
    for talks in _chunks(source.talks.all()):
        target.talks.put(talks)
    for people in _chunks(source.people.all()):
        target.people.put(people)
    for records in _chunks(source.ledger.list(limit=_ALL)):
        target.ledger.swap([DeliveryChange(None, record) for record in records])
    for talks in _chunks(source.talks.all()):
        target.answers.put(list(source.answers.about([talk.id for talk in talks]).values()))
    for guild in source.guilds.all():
        target.guilds.set_channel(
            str(guild["guildId"]),
            str(guild["proactiveAnnouncementsChannelId"]),
            by=str(guild["updatedBy"]),
            at=guild["updatedAt"],
        )


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _populate(discord: LoopbackDiscord, data: Store, settings: Settings) -> None:
    """The people, threads and channels the messages go to, by their names where we know them."""
    for channel_id, name in _channels(data, settings):
        discord.world.add_channel(channel_id, name)
    for talk in data.talks.all():
        for user_id, username in talk.speakers:
            discord.world.add_user(user_id, username)
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
