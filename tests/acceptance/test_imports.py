"""What a process imports: most runs find nothing due, and must cost next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

HEAVY = {
    "aiohttp",
    "asyncio",
    "bson",
    "dateparser",
    "discord",
    "humanize",
    "icalendar",
    "jinja2",
    "msgspec",
    "platformdirs",
    "pydantic",
    "pymongo",
    "rich",
    "stamina",
}
LOGGING = {"asyncio", "rich"}
"""What structlog imports by itself."""
CALM = "2026-11-24T09:00:00Z"
"""No sample talk has anything due then."""


PROBE = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from cli.main import main
main()
"""


def imported(cli: Cli, *args: str, **env: str) -> set[str]:
    """Every module that the command line had imported when it ended."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args],
        env=cli.env | env,
        cwd=cli.folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def heavy(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules} & HEAVY


def test_the_version_costs_the_command_line_alone(cli: Cli) -> None:
    modules = imported(cli, "--version")
    assert heavy(modules) == set()
    assert not modules & {"structlog", "sqlite3", "cli.run"}


@pytest.mark.parametrize("gate", [(), ("--schedule", "reminders", "--cron", "@hourly")])
def test_a_run_that_finds_nothing_due_imports_nothing_heavy(
    cli: Cli, samples: Path, gate: tuple[str, ...]
) -> None:
    modules = imported(cli, "run", "reminders", "--now", CALM, *gate, DISCORD_TOKEN="token")
    assert heavy(modules) <= LOGGING
    assert "jobs.reminders" in modules


def test_a_look_of_a_timed_job_that_finds_nothing_imports_nothing_of_sending(
    cli: Cli, samples: Path
) -> None:
    tick = ("run", "starting", "--cron", "@hourly", "--horizon", "75m")
    modules = imported(cli, *tick, DISCORD_TOKEN="token")
    assert heavy(modules) <= LOGGING
    assert "jobs.starting" in modules
    assert not modules & {"cronsim", "speakerbot.runs.runner", "speakerbot.runs.occurrence_lock"}


def test_a_tick_whose_occurrence_is_done_does_not_even_import_its_job(
    cli: Cli, samples: Path
) -> None:
    tick = ("run", "reminders", "--now", CALM, "--cron", "@hourly")
    cli.out(*tick, DISCORD_TOKEN="token")
    modules = imported(cli, *tick, DISCORD_TOKEN="token")
    assert heavy(modules) <= LOGGING
    assert not modules & {"jobs.reminders", "speakerbot.runner", "speakerbot.templates"}


def test_a_dry_run_needs_the_texts_and_nothing_of_the_network(cli: Cli, samples: Path) -> None:
    modules = imported(cli, "run", "reminders", "--dry-run", "--now", "2026-11-20T16:05:00Z")
    assert heavy(modules) - LOGGING == {"jinja2"}


def test_a_run_on_mongodb_imports_no_sqlite(cli: Cli) -> None:
    url = "mongodb://127.0.0.1:1/talks?timeoutMS=200"
    modules = imported(cli, "run", "reminders", DATABASE_URL=url, DISCORD_TOKEN="token")
    assert "pymongo" in modules
    assert "sqlite3" not in modules
    assert heavy(modules) - LOGGING == {"pymongo", "bson"}


def test_the_calm_day_is_calm(cli: Cli, samples: Path) -> None:
    """Else the tests above would prove nothing."""
    assert datetime.fromisoformat(CALM).tzinfo is not None
    assert cli.json("run", "reminders", "--dry-run", "--now", CALM)["messages"] == []
