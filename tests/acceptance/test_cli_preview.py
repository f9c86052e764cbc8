"""``speakerbot preview`` as people and programs read it."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
NEW_YORK = "America/New_York"
SCHEDULES = {
    "schedules": [
        {"name": "every-hour", "job": "reminders", "cron": "@hourly"},
        {"name": "weekly", "job": "weekly", "cron": "0 17 * * MON"},
    ]
}


@pytest.fixture(autouse=True)
def community(cli: Cli, store: Store) -> None:
    store.talks.put(
        [
            Talk("t1", "80", "kaz", "Agents that sleep", date(2026, 11, 21)),
            Talk("t2", "81", "mira.codes", "x" * 300, date(2026, 11, 24)),
        ]
    )
    cli.file("schedules.json", json.dumps(SCHEDULES))
    cli.env["SPEAKERBOT_SCHEDULES"] = "schedules.json"
    cli.env["PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"] = "900"


def test_the_document_has_every_day_with_its_messages(cli: Cli) -> None:
    days = cli.json("preview", "--days", "4", "--now", NOW)["days"]
    assert [(day["date"], len(day["messages"])) for day in days] == [
        ("2026-11-20", 1),
        ("2026-11-21", 1),
        ("2026-11-22", 0),
        ("2026-11-23", 2),
        ("2026-11-24", 1),
    ]
    [message] = days[0]["messages"]
    assert message == {
        "key": "reminder.day_before/talk:t1/user:80/2026-11-21T16:00",
        "kind": "reminder.day_before",
        "recipient": "user:80",
        "route": "dm",
        "text": "Hi kaz! This is a reminder that you're scheduled to speak tomorrow (2026-11-21) "
        'about "Agents that sleep". Looking forward to your talk!',
        "due_at": "2026-11-20T16:00:00Z",
        "expires_at": "2026-11-21T00:00:00Z",
        "reason": "talk on 2026-11-21, 1d@16:00 reached at 2026-11-20 16:00 UTC",
        "state": "planned",
        "at": "2026-11-20T16:05:00Z",
        "local": "2026-11-20T16:05:00+00:00",
        "schedule": "every-hour",
        "job": "reminders",
    }


def test_its_messages_are_those_of_the_run(cli: Cli) -> None:
    shared = ("key", "text", "route", "due_at", "expires_at", "state")
    today = cli.json("preview", "--days", "0", "--now", NOW)["days"][0]["messages"]
    due = cli.json("run", "reminders", "--dry-run", "--now", NOW)["messages"]
    assert [[m[name] for name in shared] for m in today] == [
        [m[name] for name in shared] for m in due
    ]


def test_off_a_terminal_it_is_one_line_a_message_with_the_whole_text(cli: Cli) -> None:
    shown = cli.out("preview", "--days", "4", "--now", NOW, SPEAKERBOT_TIMEZONE=NEW_YORK)
    head, *rows = [line.split("\t") for line in shown.splitlines()]
    assert head == ["date", "local", "utc", "schedule", "job", "recipient", "route", "text"]
    assert all(len(row) == len(head) for row in rows)
    first = rows[0]
    assert first[:3] == ["2026-11-20", "16:00", "2026-11-20T21:00:00Z"]
    assert any("x" * 300 in row[-1] for row in rows)


def test_on_a_terminal_it_is_a_table_by_day_that_fits(cli: Cli) -> None:
    shown = cli.on_terminal("preview", "--days", "4", "--now", NOW, SPEAKERBOT_TIMEZONE=NEW_YORK)
    assert "Friday 20 November 2026" in shown
    assert "Saturday 21 November 2026" in shown
    assert re.search(r"16:00 +21:00Z +reminders +kaz +Hi kaz!", shown)
    assert "x" * 60 not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "messages until the end of" in shown


def test_a_quiet_time_is_said(cli: Cli) -> None:
    shown = cli.on_terminal("preview", "--days", "0", "--now", "2026-12-20T12:00:00Z",
        SPEAKERBOT_SCHEDULES=cli.file("one.json", json.dumps(
            {"schedules": [{"name": "r", "job": "reminders", "cron": "@hourly"}]})))  # fmt: skip
    assert "Nothing will go out until the end of 2026-12-20 (UTC)." in shown


def test_a_schedule_that_cannot_send_is_named(cli: Cli) -> None:
    cli.env["PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"] = ""
    done = cli.run("preview", "--days", "4", "--now", NOW, "--json")
    assert done.returncode == 0
    [obstacle] = json.loads(done.stdout)["obstacles"]
    assert obstacle["schedule"] == "weekly"
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in obstacle["problem"]
    assert "preview_incomplete" in done.stderr


def test_it_writes_nothing(cli: Cli, store: Store) -> None:
    store.close()
    before = (cli.folder / "store.db").read_bytes()
    cli.out("preview", "--days", "30", "--now", NOW)
    assert (cli.folder / "store.db").read_bytes() == before


def test_a_job_this_version_does_not_have_is_named(cli: Cli) -> None:
    entry = {"name": "timers", "job": "timers", "cron": "@hourly"}
    cli.file("schedules.json", json.dumps({"schedules": [*SCHEDULES["schedules"], entry]}))
    said = cli.error("preview", "--days", "1", "--now", NOW, exit_code=78)
    assert "'timers' is not a job; there are reminders, changes, weekly" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("", "the file is empty"),
        ('{"schedules": [{"name": "a", "job": "reminders", "cron": "61 * * * *"}]}', "cron"),
    ],
)
def test_bad_schedules_are_refused(cli: Cli, content: str | None, said: str) -> None:
    (cli.folder / "schedules.json").unlink()
    if content is not None:
        cli.file("schedules.json", content)
    assert said in cli.error("preview", exit_code=78)


@pytest.mark.parametrize("days", ["-1", "367", "many"])
def test_days_out_of_reach_are_refused(cli: Cli, days: str) -> None:
    assert "--days" in cli.error("preview", "--days", days, exit_code=2)
