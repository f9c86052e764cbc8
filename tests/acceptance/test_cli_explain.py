"""``speakerbot explain`` as people and programs read it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
SCHEDULES = {"schedules": [{"name": "every-hour", "job": "reminders", "cron": "@hourly"}]}
KEY = "reminder.day_before/talk:t1/user:80/2026-11-21T16:00"


@pytest.fixture(autouse=True)
def community(cli: Cli, store: Store) -> None:
    store.talks.put([Talk("t1", "80", "kaz", "Agents that sleep", date(2026, 11, 21))])
    cli.file("schedules.json", json.dumps(SCHEDULES))
    cli.env["SPEAKERBOT_SCHEDULES"] = "schedules.json"


def test_a_talk_before_and_after_its_reminder_was_sent(cli: Cli) -> None:
    before = cli.json("explain", "talk", "2026-11-21", "--now", NOW)
    assert before["talk"]["username"] == "kaz"
    assert [(m["kind"], m["state"], m["next_at"]) for m in before["messages"]] == [
        ("reminder.day_before", "planned", NOW),
        ("reminder.day_of", "not_due", "2026-11-21T16:00:00Z"),
    ]
    with LoopbackDiscord().running_in_thread() as discord:
        discord.world.add_user("80", "kaz")
        cli.out(
            "run", "reminders", "--now", NOW,
            DISCORD_API_BASE=discord.base_url, DISCORD_TOKEN="t",
        )  # fmt: skip
        [sent] = discord.messages
    after = cli.json("explain", "talk", "t1", "--now", NOW)["messages"][0]
    assert (after["state"], after["next"], after["next_at"]) == ("already_sent", "nothing", None)
    assert (after["route"], after["message_id"]) == ("dm", sent.id)
    assert cli.json("explain", "key", KEY, "--now", NOW) == after


def test_a_hidden_talk_with_messages_says_what_is_wrong_with_it(cli: Cli) -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        discord.world.add_user("80", "kaz")
        env = {"DISCORD_API_BASE": discord.base_url, "DISCORD_TOKEN": "t"}
        cli.out("run", "reminders", "--now", NOW, **env)
    with closing(sqlite3.connect(cli.folder / "store.db")) as hands, hands:
        hands.execute("UPDATE talks SET date = 'soon'")
    hidden = "its date is the text 'soon', not a date from 1970-01-01 to 2999-12-31"
    shown = " ".join(cli.on_terminal("explain", "talk", "t1").split())
    assert f"Talk t1 is in the store but hidden: {hidden}. Correct it there" in shown
    assert "gone" not in shown
    document = cli.json("explain", "talk", "t1")
    assert (document["talk"], document["hidden"]) == (None, hidden)
    assert [each["key"] for each in document["messages"]] == [KEY]


def test_a_person_and_their_wishes(cli: Cli, store: Store) -> None:
    store.people.put([Person("p1", "80", "Kaz", opted_out=frozenset({"reminders"}))])
    for user in ("80", "p1"):
        document = cli.json("explain", "person", user, "--now", NOW)
        assert document["person"]["opted_out"] == ["reminders"]
        assert [m["next"] for m in document["messages"]] == ["nothing: opted out of reminders"] * 2


def test_off_a_terminal_it_is_one_line_a_message(cli: Cli) -> None:
    head, *rows = [
        line.split("\t") for line in cli.out("explain", "person", "80", "--now", NOW).splitlines()
    ]
    assert head == ["kind", "recipient", "state", "what", "next", "key"]
    assert [row[-1] for row in rows] == [KEY, "reminder.day_of/talk:t1/user:80/2026-11-21T16:00"]


def test_without_schedules_it_still_tells_what_it_can(cli: Cli) -> None:
    cli.env["SPEAKERBOT_SCHEDULES"] = "nowhere.json"
    done = cli.run("explain", "key", KEY, "--now", NOW, "--json")
    assert done.returncode == 0
    assert "no schedule runs reminders" in json.loads(done.stdout)["next"]
    assert "nowhere.json: there is no such file" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["talk", "2027-01-01"], "there is no talk '2027-01-01'"),
        (["person", "99"], "nothing is known about '99'"),
        (["key", "nonsense"], "nothing is known about 'nonsense'"),
    ],
)
def test_what_nobody_knows_is_said_to_be_unknown(cli: Cli, words: list[str], said: str) -> None:
    assert said in cli.error("explain", *words, exit_code=65)


def test_it_writes_nothing(cli: Cli, store: Store) -> None:
    store.close()
    before = (cli.folder / "store.db").read_bytes()
    cli.out("explain", "talk", "t1", "--now", NOW)
    assert (cli.folder / "store.db").read_bytes() == before
