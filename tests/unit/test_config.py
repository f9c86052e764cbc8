"""Settings: where they come from, and how what is wrong with them is said."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from speakerbot.config import Settings, environment, load
from speakerbot.domain.reminder_offsets import DayOffset
from speakerbot.errors import ConfigError

STORE = {"DATABASE_URL": "sqlite:///x.db"}


def problems(**variables: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        load({**STORE, **variables})
    return refused.value.problems


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = load(STORE)
    assert settings == Settings(
        database_url="sqlite:///x.db",
        timezone=ZoneInfo("UTC"),
        reminder_offsets=(DayOffset(1, time(16)), DayOffset(0, time(16))),
        reminder_routes=("dm", "thread"),
        lease=timedelta(minutes=5),
        rate=45.0,
        new_dm_every=timedelta(seconds=5),
        schedules=Path("deploy/schedules.json"),
        node_bot_coexist=True,
    )
    assert settings.discord_api_base == "https://discord.com/api/v10"


def test_every_problem_is_in_one_message_and_names_its_variable() -> None:
    wrong = {
        "SPEAKERBOT_TIMEZONE": "Mars/Olympus",
        "SPEAKERBOT_REMINDER_OFFSETS": "1d",
        "SPEAKERBOT_REMINDER_ROUTES": "dm,pigeon",
        "SPEAKERBOT_FALLBACK_CHANNEL_ID": "#general",
        "SPEAKERBOT_CONFIRM": "mail",
        "SPEAKERBOT_CONFIRM_AGAIN": "0h",
        "SPEAKERBOT_DATE_ORDER": "ymd",
        "SPEAKERBOT_WEEKLY_MODE": "replace",
        "SPEAKERBOT_ENGAGEMENT_EVERY": "0d",
        "SPEAKERBOT_ENGAGEMENT_EMPTY_DAYS": "0",
        "SPEAKERBOT_LEASE": "5",
        "SPEAKERBOT_KEEP": "29d",
        "SPEAKERBOT_KEEP_TEXTS": "1d",
        "SPEAKERBOT_RATE": "nan",
        "SPEAKERBOT_NEW_DM_EVERY": "soon",
        "SPEAKERBOT_TEMPLATES": "/no/such/folder",
        "SPEAKERBOT_ENABLED": "maybe",
        "PROACTIVE_REMINDERS_ENABLED": "nope",
        "PROACTIVE_WEEKLY_ENABLED": "2",
        "NODE_BOT_COEXIST": "perhaps",
        "DISCORD_API_BASE": "discord.com",
        "DISCORD_GUILD_ID": "my guild",
    }
    found = problems(**wrong)
    assert sorted(problem.split(":")[0] for problem in found) == sorted(wrong)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SPEAKERBOT_TIMEZONE", "Europe", "not a time zone; write e.g. Europe/Berlin"),
        ("SPEAKERBOT_TIMEZONE", "../../etc/passwd", "not a time zone"),
        ("SPEAKERBOT_REMINDER_OFFSETS", "1d@16:00,soon", "'soon' is not an offset"),
        ("SPEAKERBOT_REMINDER_ROUTES", "dm,dm", "twice"),
        ("SPEAKERBOT_RATE", "0", "requests a second, e.g. 45"),
        ("SPEAKERBOT_RATE", "inf", "requests a second"),
        ("SPEAKERBOT_LEASE", "0s", "longer than nothing"),
        ("DISCORD_GUILD_ID", "１２３", "digits only"),
        ("SPEAKERBOT_TEMPLATES", "/no/such/folder", "templates eject"),
    ],
)
def test_a_problem_says_what_to_write_instead(variable: str, value: str, said: str) -> None:
    [problem] = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")
    assert said in problem


def test_the_fallback_channel_has_to_be_named_where_it_is_a_route() -> None:
    [problem] = problems(SPEAKERBOT_REMINDER_ROUTES="dm,channel")
    assert "SPEAKERBOT_FALLBACK_CHANNEL_ID" in problem
    settings = load(
        {
            **STORE,
            "SPEAKERBOT_REMINDER_ROUTES": "dm, channel",
            "SPEAKERBOT_FALLBACK_CHANNEL_ID": "7",
        }
    )
    assert settings.reminder_routes == ("dm", "channel")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"DATABASE_URL": "sqlite:///a.db", "MONGO_URI": "mongodb://b/c"}, "sqlite:///a.db"),
        ({"DATABASE_URL": "  ", "MONGO_URI": "mongodb://b/c"}, "mongodb://b/c"),
        ({"MONGO_URI": "mongodb://b/c"}, "mongodb://b/c"),
    ],
)
def test_the_store_is_database_url_else_the_node_bots(variables: dict[str, str], url: str) -> None:
    assert load(variables).database_url == url


def test_without_either_it_is_a_file_in_the_users_data_folder() -> None:
    url = load({}).database_url
    assert url.startswith("sqlite:////")
    assert url.endswith("speakerbot/speakerbot.db")


@pytest.mark.parametrize(
    ("variables", "reminders", "weekly", "changes"),
    [
        ({}, True, True, True),
        ({"SPEAKERBOT_ENABLED": "false"}, False, False, False),
        ({"SPEAKERBOT_ENABLED": "OFF"}, False, False, False),
        ({"PROACTIVE_REMINDERS_ENABLED": "false"}, False, True, True),
        ({"PROACTIVE_WEEKLY_ENABLED": "0"}, True, False, True),
        ({"SPEAKERBOT_ENABLED": "", "PROACTIVE_WEEKLY_ENABLED": "yes"}, True, True, True),
    ],
)
def test_the_kill_switch_stops_every_job_and_the_node_bots_switches_one(
    variables: dict[str, str], reminders: bool, weekly: bool, changes: bool
) -> None:
    settings = load({**STORE, **variables})
    assert settings.runs("reminders") is reminders
    assert settings.runs("weekly") is weekly
    assert settings.runs("changes") is changes


def test_secrets_are_not_shown_with_the_settings() -> None:
    settings = load({"DATABASE_URL": "mongodb://u:pa55@h/d", "DISCORD_TOKEN": "abc.def"})
    assert "pa55" not in repr(settings)
    assert "abc.def" not in repr(settings)


def test_the_environment_wins_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DISCORD_TOKEN=from-file\nSPEAKERBOT_RATE=40\n# a comment\n")
    found = environment({"DISCORD_TOKEN": "from-environment"}, tmp_path)
    assert found == {"DISCORD_TOKEN": "from-environment", "SPEAKERBOT_RATE": "40"}


def test_a_value_in_the_env_file_is_read_as_the_node_bot_reads_it(tmp_path: Path) -> None:
    """Quotes go, a password with ${ stays as it is."""
    (tmp_path / ".env").write_text('DISCORD_TOKEN="a b"\nMONGO_URI=mongodb://u:${HOME}x@h/d\n')
    found = environment({"HOME": "/home/me"}, tmp_path)
    assert found["DISCORD_TOKEN"] == "a b"
    assert found["MONGO_URI"] == "mongodb://u:${HOME}x@h/d"


def test_without_a_file_there_is_only_the_environment(tmp_path: Path) -> None:
    assert environment({"A": "1"}, tmp_path) == {"A": "1"}


def test_an_env_file_can_be_named_or_turned_off(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "other.env").write_text("B=2\n")
    assert "A" not in environment({"SPEAKERBOT_ENV_FILE": ""}, tmp_path)
    assert environment({"SPEAKERBOT_ENV_FILE": "other.env"}, tmp_path)["B"] == "2"


def test_a_named_env_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SPEAKERBOT_ENV_FILE: there is no file .*gone\.env"):
        environment({"SPEAKERBOT_ENV_FILE": "gone.env"}, tmp_path)


def test_an_env_file_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"DISCORD_TOKEN=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"\.env: .*UTF-8"):
        environment({}, tmp_path)


def unknown(**variables: str) -> dict[str, str]:
    """What is said of names that are not settings, by name."""
    with capture_logs() as lines:
        load({**STORE, **variables})
    return {line["setting"]: line["hint"] for line in lines if line["event"] == "setting_unknown"}


def test_a_misspelt_setting_is_named_with_the_one_that_may_be_meant() -> None:
    assert unknown(SPEAKERBOT_TIMEZON="UTC", DISCORD_TOKN="x", PROACTIVE_WEEKLY_ENABLE="1") == {
        "SPEAKERBOT_TIMEZON": "did you mean SPEAKERBOT_TIMEZONE?",
        "DISCORD_TOKN": "did you mean DISCORD_TOKEN?",
        "PROACTIVE_WEEKLY_ENABLE": "did you mean PROACTIVE_WEEKLY_ENABLED?",
    }


def test_settings_of_others_and_our_own_are_not_misspelt() -> None:
    known = {"SPEAKERBOT_ENV_FILE": "", "DISCORD_CLIENT_ID": "1", "DISCORD_WEBHOOK": "x"}
    assert unknown(**known, HOME="/", SPEAKERBOT_RATE="40") == {}
