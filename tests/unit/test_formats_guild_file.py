"""Guild settings as the Node bot's documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from speakerbot.formats import guild_file
from speakerbot.formats.guild_file import GuildEntry
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Source, read_source

SAMPLES = Path(__file__).parents[2] / "samples" / "guildsettings.jsonl"
GUILD, OTHER = "701234567890123401", "701234567890123402"
GOOD = {"guildId": GUILD, "proactiveAnnouncementsChannelId": "1201234567890123400"}


def test_the_sample_is_read() -> None:
    assert list(guild_file.read(read_source(SAMPLES))) == [
        GuildEntry(
            guild_id="701234567890123401",
            channel_id="1201234567890123400",
            at=datetime(2026, 6, 15, 18, tzinfo=UTC),
            by="802345678901234561",
        )
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"guildId": None}, "line 2, guildId: missing"),
        ({"proactiveAnnouncementsChannelId": ""}, "proactiveAnnouncementsChannelId: missing"),
        ({"proactiveAnnouncementsChannelId": "#talks"}, "'#talks' is not a Discord id"),
        ({"guildId": OTHER, "updatedAt": "today"}, "updatedAt: must be a date"),
        ({"guildId": OTHER, "updatedBy": 5}, "updatedBy: must be a text"),
        ({"guildId": GUILD}, f"line 2, guildId: {GUILD} is also on line 1"),
        ({"guildId": "802"}, "line 2, guildId: '802' is not a Discord id, which has 17 to 20"),
    ],
)
def test_a_bad_field_is_named_with_its_line(change: dict[str, Any], problem: str) -> None:
    text = f"{json.dumps(GOOD)}\n{json.dumps(GOOD | {'guildId': OTHER} | change)}\n"
    source = Source(text, "json", ImportProblems("guildsettings.jsonl"))
    assert len(list(guild_file.read(source))) == 1
    [found] = source.problems.found
    assert problem in found
