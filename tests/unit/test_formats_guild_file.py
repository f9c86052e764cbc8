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
GOOD = {"guildId": "7", "proactiveAnnouncementsChannelId": "9"}


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
        ({"guildId": "8", "updatedAt": "today"}, "updatedAt: must be a date"),
        ({"guildId": "8", "updatedBy": 5}, "updatedBy: must be a text"),
        ({"guildId": "7"}, "line 2, guildId: 7 is also on line 1"),
    ],
)
def test_a_bad_field_is_named_with_its_line(change: dict[str, Any], problem: str) -> None:
    text = f"{json.dumps(GOOD)}\n{json.dumps(GOOD | {'guildId': '8'} | change)}\n"
    source = Source(text, "json", ImportProblems("guildsettings.jsonl"))
    assert len(list(guild_file.read(source))) == 1
    [found] = source.problems.found
    assert problem in found
