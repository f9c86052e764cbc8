"""``speakerbot guild``, run as people run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

SAMPLES = Path(__file__).parents[2] / "samples" / "guildsettings.jsonl"
GUILD = {"DISCORD_GUILD_ID": "701234567890123401"}
IN_STORE, IN_SETTINGS = "1201234567890123400", "555"


def test_without_any_setting_both_ways_to_set_a_channel_are_named(cli: Cli) -> None:
    said = cli.out("guild", "show")
    assert "DISCORD_GUILD_ID is not set" in said
    assert "`speakerbot guild set-channel ID`" in said
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in said
    assert cli.json("guild", "show")["channel_id"] is None


def test_the_sample_is_imported_once(cli: Cli) -> None:
    said = cli.out("guild", "import", str(SAMPLES))
    assert said == "imported 1 guild: 1 new, 0 updated, 0 unchanged\n"
    assert cli.json("guild", "show", **GUILD) == {
        "guild_id": GUILD["DISCORD_GUILD_ID"],
        "channel_id": IN_STORE,
        "source": "guildsettings",
        "updated_at": "2026-06-15T18:00:00Z",
        "updated_by": "802345678901234561",
    }
    again = cli.out("guild", "import", str(SAMPLES))
    assert again == "imported 1 guild: 0 new, 0 updated, 1 unchanged\n"


def test_guildsettings_go_before_the_setting(cli: Cli) -> None:
    env = {**GUILD, "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": IN_SETTINGS}
    shown = cli.json("guild", "show", **env)
    assert (shown["channel_id"], shown["source"]) == (
        IN_SETTINGS,
        "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID",
    )
    cli.out("guild", "import", str(SAMPLES))
    assert cli.json("guild", "show", **env)["channel_id"] == IN_STORE


def test_set_channel_says_what_it_changed(cli: Cli) -> None:
    guild = GUILD["DISCORD_GUILD_ID"]
    said = cli.out("guild", "set-channel", "77", **GUILD)
    assert said == f"guild {guild} now announces in channel 77 (before: none)\n"
    shown = cli.json("guild", "show", **GUILD)
    assert (shown["channel_id"], shown["updated_by"]) == ("77", "speakerbot")
    assert "announces in channel 77 already" in cli.out("guild", "set-channel", "77", **GUILD)
    assert "(before: 77)" in cli.out("guild", "set-channel", "78", **GUILD)


def test_a_channel_needs_a_guild(cli: Cli) -> None:
    assert "DISCORD_GUILD_ID is not set" in cli.error("guild", "set-channel", "77", exit_code=78)


def test_a_channels_name_is_not_an_id(cli: Cli) -> None:
    error = cli.error("guild", "set-channel", "#talks", exit_code=2, **GUILD)
    assert "'#talks' is not a Discord id" in error


@pytest.mark.parametrize("command", [["set-channel", "77"], ["import", str(SAMPLES)]])
def test_a_dry_run_makes_no_store(cli: Cli, command: list[str]) -> None:
    assert "would " in cli.out("guild", *command, "--dry-run", **GUILD)
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it is empty"),
        ("[]", "there are no guilds in it"),
        ('{"guildId": "7"}', "line 1, proactiveAnnouncementsChannelId: missing"),
        ('{"guildId": 7, "proactiveAnnouncementsChannelId": "9"}', "written as a text, in quotes"),
        ("guildId,channel\n7,9\n", "line 1: not JSON"),
    ],
)
def test_a_bad_file_is_refused_whole(cli: Cli, content: str, problem: str) -> None:
    file = cli.file("guildsettings.jsonl", content)
    assert problem in cli.error("guild", "import", file, exit_code=65)
