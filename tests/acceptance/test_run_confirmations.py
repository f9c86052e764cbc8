"""``SPEAKERBOT_CONFIRM`` as people set it up, see it and script against it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.confirmation import Answer
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.stores import open_store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

ASKED, AGAIN, ESCALATED = "2026-11-20T16:05:00Z", "2026-11-20T20:10:00Z", "2026-11-21T00:15:00Z"
ADA, GRACE, ORGANISERS = "42", "43", "900"
TALK = Talk("t1", ADA, "ada", "Engines", date(2026, 11, 21), co_speakers=(Speaker(GRACE, "grace"),))
ON = {"SPEAKERBOT_CONFIRM": "reactions", "DISCORD_LOGS_CHANNEL_ID": ORGANISERS}


@pytest.fixture
def booked(cli: Cli, discord: LoopbackDiscord) -> Cli:
    opened = open_store(cli.database_url)
    opened.prepare()
    opened.talks.put([TALK])
    opened.close()
    discord.world.add_channel(ORGANISERS)
    cli.env |= ON
    return cli


def run(cli: Cli, now: str, *args: str, **env: str) -> Any:
    return cli.json("run", "reminders", "--now", now, *args, **env)


def sent(document: Any) -> list[str]:
    return [each["key"] for each in document["messages"] if each["state"] == "sent"]


def react(discord: LoopbackDiscord, user: str, emoji: str) -> None:
    """Under the first message that asks them."""
    users = {opened.channel_id: opened.user_id for opened in discord.dms_opened}
    asked = [m for m in discord.messages if users.get(m.channel_id) == user]
    discord.world.react(asked[0].id, user, emoji)


def test_each_speaker_answers_for_themselves_and_the_organisers_hear_of_it(
    booked: Cli, discord: LoopbackDiscord
) -> None:
    assert len(sent(run(booked, ASKED))) == 2
    react(discord, ADA, "✅")
    react(discord, GRACE, "❌")
    key = f"confirm.declined/talk:t1/channel:{ORGANISERS}/2026-11-21/user:{GRACE}"
    assert sent(run(booked, AGAIN)) == [key]
    assert sent(run(booked, ESCALATED)) == []
    [talk] = booked.json("talks", "list", "--all")["talks"]
    assert {each["user_id"]: each["answer"] for each in talk["speakers"]} == {
        ADA: "yes",
        GRACE: "no",
    }
    assert "ada confirmed, grace can't make it" in booked.out("talks", "list", "--all")
    assert "ada confirmed, grace can't make it" in booked.out("talks", "show", "t1")
    explained = booked.json("explain", "talk", "t1", "--now", AGAIN)
    assert [each["answer"] for each in explained["talk"]["speakers"]] == ["yes", "no"]
    what = {each["key"]: each["what"] for each in explained["messages"]}
    day_of = f"reminder.day_of/talk:t1/user:{GRACE}/2026-11-21T16:00"
    assert what[day_of] == "the speaker has said that they can't make it"
    digest = booked.json("run", "digest", "--dry-run", "--now", AGAIN)
    assert '"Engines" (ada confirmed, grace can\'t make it)' in digest["messages"][0]["text"]


def test_who_does_not_answer_is_asked_again_and_then_the_organisers_are_told(
    booked: Cli, discord: LoopbackDiscord
) -> None:
    run(booked, ASKED)
    react(discord, GRACE, "✅")
    assert sent(run(booked, AGAIN)) == [f"confirm.again/talk:t1/user:{ADA}/2026-11-21"]
    escalated = f"confirm.escalated/talk:t1/channel:{ORGANISERS}/2026-11-21/user:{ADA}"
    assert sent(run(booked, ESCALATED)) == [escalated]
    before = len(discord.messages)
    assert sent(run(booked, ESCALATED)) == []
    assert len(discord.messages) == before
    told = [m.content for m in discord.messages if m.channel_id == ORGANISERS]
    about = 'for their talk about "Engines" on 2026-11-21.'
    assert told == [f"ada has not said yet whether they will be there {about}"]


def test_how_long_to_wait_can_be_set(booked: Cli) -> None:
    run(booked, ASKED)
    soon = "2026-11-20T16:40:00Z"
    assert sent(run(booked, soon)) == []
    assert len(sent(run(booked, soon, SPEAKERBOT_CONFIRM_AGAIN="30m"))) == 2


def test_a_dry_run_needs_no_token_and_says_that_it_does_not_look(booked: Cli) -> None:
    run(booked, ASKED)
    del booked.env["DISCORD_TOKEN"]
    done = booked.run("run", "reminders", "--dry-run", "--now", AGAIN, "--json")
    document = json.loads(done.stdout)
    again = [each for each in document["messages"] if each["kind"] == "confirm.again"]
    assert [each["state"] for each in again] == ["planned", "planned"]
    assert "a dry run does not look" in again[0]["reason"]
    assert "not_read" in done.stderr


def test_the_preview_shows_what_comes_of_no_answer(booked: Cli) -> None:
    schedules = {"schedules": [{"name": "reminders", "job": "reminders", "cron": "@hourly"}]}
    booked.env["SPEAKERBOT_SCHEDULES"] = booked.file("schedules.json", json.dumps(schedules))
    days = booked.json("preview", "--days", "2", "--now", "2026-11-20T15:00:00Z")["days"]
    kinds = [each["kind"] for day in days for each in day["messages"]]
    assert kinds.count("confirm.again") == kinds.count("confirm.escalated") == 2


@pytest.mark.parametrize("value", ["links", "buttons", "maybe", "on", "Reactions"])
def test_any_other_way_is_refused_and_reactions_are_named(cli: Cli, value: str) -> None:
    said = cli.error("run", "reminders", "--dry-run", SPEAKERBOT_CONFIRM=value, exit_code=78)
    assert "SPEAKERBOT_CONFIRM" in said
    assert "reactions" in said


def test_off_is_a_value_too(cli: Cli, samples: Path) -> None:
    cli.out("run", "reminders", "--dry-run", SPEAKERBOT_CONFIRM="off")


def test_all_that_is_wrong_is_named_at_once(cli: Cli) -> None:
    wrong = {"SPEAKERBOT_CONFIRM": "mail", "SPEAKERBOT_CONFIRM_AGAIN": "soon"}
    said = cli.error("run", "reminders", "--dry-run", exit_code=78, **wrong)
    assert "SPEAKERBOT_CONFIRM:" in said
    assert "SPEAKERBOT_CONFIRM_AGAIN:" in said


def test_a_run_warns_where_the_organisers_have_no_channel(booked: Cli) -> None:
    done = booked.run("run", "reminders", "--now", ASKED, DISCORD_LOGS_CHANNEL_ID="")
    assert done.returncode == 0
    assert "organisers_not_told" in done.stderr
    assert "DISCORD_LOGS_CHANNEL_ID" in done.stderr
    off = booked.run(
        "run", "reminders", "--now", ASKED, DISCORD_LOGS_CHANNEL_ID="", SPEAKERBOT_CONFIRM="off"
    )
    assert "organisers_not_told" not in off.stderr


def test_an_answer_is_forgotten_when_the_store_is_pruned(booked: Cli) -> None:
    opened = open_store(booked.database_url)
    old = Answer("confirm", "t0", ADA, date(2020, 1, 1), "yes", datetime(2020, 1, 1, tzinfo=UTC))
    opened.answers.put([old])
    opened.close()
    assert booked.json("store", "prune", "--dry-run")["answers"] == 1
    assert "1 answers" in booked.out("store", "prune")
    assert booked.json("store", "prune")["answers"] == 0
