"""``speakerbot run events`` as a person, a pipe, a program and a scheduler see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

DAY = date.today() + timedelta(days=30)  # noqa: DTZ011 - any day that is still to come
ENGINES = Talk("t1", "80", "ada", "On engines", DAY, starts_at=time(18), room="Hall")
KITES = Talk("t2", "81", "kaz", "On kites", DAY + timedelta(days=1))
START = f"{DAY}T18:00:00Z"


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": "a-token",
            "DISCORD_API_BASE": running.base_url,
            "DISCORD_GUILD_ID": "900",
        }
        yield running


@pytest.fixture(autouse=True)
def community(store: Store) -> None:
    store.talks.put([ENGINES, KITES])


def test_a_program_reads_what_changed_beside_the_messages(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    document = cli.json("run", "events", "--json")
    assert document["messages"] == []
    assert document["changes"] == [
        {
            "action": "create",
            "thing": "event",
            "name": "On engines",
            "starts_at": START,
            "text": "create event “On engines”",
            "reason": "the talk had none",
            "state": "done",
        }
    ]
    assert document["counts"]["changes"] == {"created": 1}
    assert [event.name for event in discord.events] == ["On engines"]
    again = cli.json("run", "events", "--json")
    assert "changes" not in again
    assert "changes" not in again["counts"]


def test_a_pipe_gets_a_row_a_change(cli: Cli, discord: LoopbackDiscord) -> None:
    rows = [row.split("\t") for row in cli.out("run", "events").splitlines()]
    assert rows[0] == ["state", "due", "recipient", "route", "text", "why"]
    state, due, recipient, route, text, why = rows[1]
    assert (state, recipient, route) == ("done", "", "event")
    assert datetime.fromisoformat(due) == datetime.fromisoformat(START)
    assert (text, why) == ("create event “On engines”", "the talk had none")
    assert rows[2][0].startswith("events: 1 created (")


def test_a_dry_run_needs_no_token_and_asks_nobody(cli: Cli, store: Store) -> None:
    document = cli.json("run", "events", "--dry-run", "--json", DISCORD_GUILD_ID="900")
    assert [change["text"] for change in document["changes"]] == ["would create event “On engines”"]
    assert document["counts"]["changes"] == {"to_create": 1}
    assert list(store.server_events.all()) == []


def test_without_a_server_it_says_which_setting_is_missing(cli: Cli) -> None:
    done = cli.run("run", "events", DISCORD_TOKEN="a-token")
    assert done.returncode == 78
    assert "DISCORD_GUILD_ID is not set" in done.stderr


def test_a_schedule_without_a_server_is_not_configured(cli: Cli) -> None:
    done = cli.run(
        "run", "events", "--cron", "@hourly", "--schedule", "events", DISCORD_TOKEN="a-token"
    )
    assert done.returncode == 0
    assert '"reason": "not_configured"' in done.stderr


def test_a_missing_permission_is_one_line_and_78(cli: Cli, discord: LoopbackDiscord) -> None:
    discord.world.forbid_events(create=True, manage=True)
    done = cli.run("run", "events", "--json")
    assert done.returncode == 78
    assert json.loads(done.stdout)["changes"][0]["state"] == "failed"
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    refused = [line for line in said if line["event"] == "setting_refused"]
    assert [(line["setting"], line["id"]) for line in refused] == [("DISCORD_GUILD_ID", "900")]


def test_a_preview_names_the_events_in_their_own_list(cli: Cli, discord: LoopbackDiscord) -> None:
    schedules = {"schedules": [{"name": "events", "job": "events", "cron": "@hourly"}]}
    cli.file("schedules.json", json.dumps(schedules))
    cli.env["SPEAKERBOT_SCHEDULES"] = "schedules.json"
    days = cli.json("preview", "--days", "1")["days"]
    changes = [change for day in days for change in day.get("changes", [])]
    assert [(change["text"], change["schedule"]) for change in changes] == [
        ("would create event “On engines”", "events")
    ]
    assert all(day["messages"] == [] for day in days)
    assert "create event “On engines”" in cli.out("preview", "--days", "1")
