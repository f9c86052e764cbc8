"""The only wiring: settings to adapters. Adapters are imported when they are first used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.config import Settings, read_settings
from speakerbot.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from speakerbot.domain.job_registry import JobRegistry
    from speakerbot.ports.channel import Channels
    from speakerbot.ports.store import Store
    from speakerbot.templates import Templates


def settings_for_run(
    jobs: JobRegistry, job: str | None, *, schedule: str | None = None, dry_run: bool
) -> Settings:
    """All that a run of ``job`` needs, as ``schedule`` of the file where that is given, checked
    before anything is opened; ``job`` None: of every schedule in the file. Raises ConfigError
    naming every problem at once."""
    settings, problems = read_settings()
    runs = [job] if job else list(jobs.names)

    def check(what: Callable[[], object]) -> None:
        try:
            what()
        except ConfigError as error:
            problems.extend(error.problems)

    def check_schedules() -> None:
        from speakerbot.schedules.reading import read_schedules

        found = read_schedules(settings.schedules, jobs)
        named = found if schedule is None else [found.get(schedule)]
        runs[:] = [each.job for each in named if each.enabled]

    check(lambda: check_store_address(settings, dry_run=dry_run))
    if schedule or not job:
        check(check_schedules)
    if not dry_run and any(settings.runs(each) for each in runs):
        check(lambda: _token(settings))
    if problems:
        raise ConfigError(*problems)
    return settings


def check_store_address(settings: Settings, *, dry_run: bool = False) -> None:
    """Raises ConfigError for an address that no store can have, and, but for a dry run, for one
    whose file this machine would lose. The store itself is not asked."""
    from speakerbot.stores import check_address

    check_address(settings.database_url)
    if not dry_run:
        _refuse_lost_disk(settings.database_url)


def store(settings: Settings, *, read_only: bool = False) -> Store:
    """Opens the store the settings name. Read-only, nothing is created or changed."""
    from speakerbot.stores import open_store

    if not read_only:
        _refuse_lost_disk(settings.database_url)
    opened = open_store(
        settings.database_url, read_only=read_only, beside_node_bot=settings.node_bot_coexist
    )
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


def _token(settings: Settings) -> str:
    if not settings.discord_token:
        raise ConfigError(
            "DISCORD_TOKEN is not set: put the bot's token into the environment or .env "
            "(developer portal, your application, Bot), or add --dry-run to send nothing"
        )
    return settings.discord_token


def templates(overrides: Path | None = None) -> Templates:
    """The texts, with those in the folder ``overrides`` in place of the built-in ones."""
    from speakerbot.channels.discord.access import CAPABILITIES as DISCORD
    from speakerbot.channels.inbox.channel import CAPABILITIES as INBOX
    from speakerbot.templates import Templates

    return Templates({"discord": DISCORD, "inbox": INBOX}, overrides)


def channels(settings: Settings) -> Channels:
    """Every channel that routes of these settings name; none is opened yet. Raises ConfigError if
    there is no token."""
    from speakerbot.channels.discord.access import discord
    from speakerbot.channels.inbox.channel import inbox

    found = [
        discord(
            _token(settings),
            settings.discord_api_base,
            rate=settings.rate,
            new_dm_every=settings.new_dm_every,
        )
    ]
    if "inbox" in settings.reminder_routes:
        found.append(inbox())
    return {access.name: access for access in found}
