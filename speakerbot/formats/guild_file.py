"""The Node bot's ``guildsettings`` as Extended JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from speakerbot.formats.extended import instant_of
from speakerbot.formats.ids import discord_id
from speakerbot.formats.json_lines import Document, documents
from speakerbot.formats.source import Source
from speakerbot.formats.talk_fields import text

READ: dict[str, Callable[[Any], Any]] = {
    "guildId": discord_id,
    "proactiveAnnouncementsChannelId": discord_id,
    "updatedAt": instant_of,
    "updatedBy": text,
}
REQUIRED = ("guildId", "proactiveAnnouncementsChannelId")


@dataclass(frozen=True, slots=True)
class GuildEntry:
    """One guild's channel as a file gives it. ``at`` is aware, in UTC; None if it is not told."""

    guild_id: str
    channel_id: str
    at: datetime | None
    by: str | None


def read(source: Source) -> Iterator[GuildEntry]:
    """Guilds whose fields are all in order; every other problem becomes one of the source."""
    places: dict[str, str] = {}
    for place, document in documents(source):
        before = len(source.problems.found)
        values = _values(document, partial(source.problems.add, place))
        guild_id = values.get("guildId")
        if guild_id and (first := places.setdefault(guild_id, place)) != place:
            source.problems.add(place, f"{guild_id} is also on {first}", field="guildId")
        if len(source.problems.found) == before:
            yield GuildEntry(
                values["guildId"],
                values["proactiveAnnouncementsChannelId"],
                values.get("updatedAt"),
                values.get("updatedBy"),
            )


def _values(document: Document, add: Callable[..., None]) -> dict[str, Any]:
    values = {}
    for name, read_value in READ.items():
        value = document.get(name)
        if value is None or value == "":
            if name in REQUIRED:
                add("missing", field=name)
            continue
        try:
            values[name] = read_value(value)
        except ValueError as problem:
            add(str(problem), field=name)
    return values
