"""``speakerbot guild``: the channel of announcements, as the Node bot's guildsettings hold it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.open_store import all_or_nothing, to_change, to_read
from cli.options import AsJson, DryRun
from cli.output import amount, emit_json, say
from cli.terminal import show
from speakerbot.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from speakerbot.config import Settings
    from speakerbot.formats.guild_file import GuildEntry
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

CHANNEL = "proactiveAnnouncementsChannelId"
BY_US = "speakerbot"
"""``updatedBy`` of what this command sets: the bot writes a Discord user id there."""


@app.command("show", epilog="Example: speakerbot guild show")
def show_guild(as_json: AsJson = False) -> None:
    """Show which channel announcements go to, and where that is set."""
    with to_read() as (store, settings):
        document = _document(store, settings)
    if as_json:
        emit_json(document)
        return
    show(document.items())
    if settings.guild_id is None:
        say("DISCORD_GUILD_ID is not set: guildsettings are looked up by it")
    if document["channel_id"] is None:
        say(
            "no channel is set: `speakerbot guild set-channel ID`, "
            "or the setting PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"
        )


def _document(store: Store, settings: Settings) -> dict[str, Any]:
    known: Mapping[str, Any] = _by_guild(store).get(settings.guild_id or "", {})
    channel, source = known.get(CHANNEL), "guildsettings"
    if not channel:
        channel, source = settings.announcements_channel_id, "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"
    return {
        "guild_id": settings.guild_id,
        "channel_id": channel,
        "source": source if channel else None,
        "updated_at": known.get("updatedAt"),
        "updated_by": known.get("updatedBy"),
    }


def _by_guild(store: Store) -> dict[str, Mapping[str, Any]]:
    return {str(guild["guildId"]): guild for guild in store.guilds.all()}


@app.command("set-channel", epilog="Example: speakerbot guild set-channel 1201234567890123400")
def set_channel(
    channel: Annotated[str, typer.Argument(metavar="ID", help="A channel's Discord id.")],
    dry_run: DryRun = False,
) -> None:
    """Set the channel announcements go to; the Node bot posts there too."""
    from speakerbot.clock import real_now
    from speakerbot.formats.ids import snowflake

    try:
        snowflake(channel)
    except ValueError as problem:
        raise UsageError(f"ID: {problem}; copy it with Discord's developer mode on") from problem
    with to_change(dry_run=dry_run) as (store, settings):
        guild = settings.guild_id
        if guild is None:
            raise ConfigError("DISCORD_GUILD_ID is not set: which guild's channel is it?")
        before = store.guilds.channel(guild)
        if before == channel:
            say(f"unchanged: guild {guild} announces in channel {channel} already")
            return
        if not dry_run:
            store.guilds.set_channel(guild, channel, BY_US, real_now())
        done = "would announce" if dry_run else "now announces"
        say(f"guild {guild} {done} in channel {channel} (before: {before or 'none'})")


@app.command("import", epilog="Example: speakerbot guild import guildsettings.jsonl")
def import_guilds(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, allow_dash=True, metavar="FILE")
    ],
    dry_run: DryRun = False,
) -> None:
    """Take in a mongoexport of guildsettings: all of it, or nothing."""
    from speakerbot.formats import guild_file
    from speakerbot.formats.source import read_source

    source = read_source(file)
    guilds = list(guild_file.read(source))
    if not guilds and not source.problems.found:
        source.problems.add("", "there are no guilds in it")
    source.problems.refuse()
    with to_change(dry_run=dry_run) as (store, _), all_or_nothing(store, dry_run=dry_run):
        counts = _take_in(guilds, store, dry_run=dry_run)
    done = "would import" if dry_run else "imported"
    said = ", ".join(f"{counts.count(kind)} {kind}" for kind in ("new", "updated", "unchanged"))
    say(f"{done} {amount(len(guilds), 'guild')}: {said}")


def _take_in(guilds: list[GuildEntry], store: Store, *, dry_run: bool) -> list[str]:
    """What became of each: new, updated or unchanged."""
    from speakerbot.clock import real_now

    known = _by_guild(store)
    became = []
    for guild in guilds:
        before = known.get(guild.guild_id)
        if before and before.get(CHANNEL) == guild.channel_id:
            became.append("unchanged")
            continue
        if not dry_run:
            store.guilds.set_channel(
                guild.guild_id, guild.channel_id, guild.by or BY_US, guild.at or real_now()
            )
        became.append("updated" if before else "new")
    return became
