"""``speakerbot sandbox``: what people would see, without touching anything."""

from __future__ import annotations

import json
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
KAZ = "802345678901234564"


def test_it_shows_each_conversation_and_leaves_the_data_as_it_is(cli: Cli, samples: Path) -> None:
    """It needs no token, and runs even where the kill switch is on."""
    before = samples.read_bytes()
    document = cli.json("sandbox", "reminders", "--now", NOW, SPEAKERBOT_ENABLED="false")
    shown = {each["name"]: each for each in document["conversations"]}
    assert set(shown) == {"sofia-dev", "kaz"}
    sofia = shown["sofia-dev"]
    assert sofia["kind"] == "dm"
    [message] = sofia["messages"]
    assert message["author"] == "speakerbot"
    assert message["text"].startswith("Hi sofia-dev! This is a reminder that you're speaking today")
    assert samples.read_bytes() == before
    assert cli.json("runs", "list")["runs"] == []


def test_in_a_pipe_it_is_a_line_a_message_and_the_log_stays_json(cli: Cli, samples: Path) -> None:
    done = cli.run("sandbox", "reminders", "--now", NOW)
    assert done.returncode == 0
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    assert sorted((place, author) for place, author, _ in rows) == [
        ("DM with kaz", "speakerbot"),
        ("DM with sofia-dev", "speakerbot"),
    ]
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line["sandbox"] for line in lines)
    assert (lines[-1]["event"], lines[-1]["sent"]) == ("run_finished", 2)


def test_it_shows_what_stands_under_a_message_that_asks(cli: Cli, samples: Path) -> None:
    on = {"SPEAKERBOT_CONFIRM": "reactions"}
    document = cli.json("sandbox", "reminders", "--now", NOW, **on)
    [message] = document["conversations"][0]["messages"]
    assert message["reactions"] == {"✅": 1, "❌": 1}
    shown = cli.out("sandbox", "reminders", "--now", NOW, **on)
    assert shown.count("✅ 1 ❌ 1") == 2


def test_it_shows_the_events_that_a_server_would_have(cli: Cli, store: Store) -> None:
    store.talks.put(
        [Talk("t1", KAZ, "kaz", "Agents", date(2026, 11, 21), starts_at=time(18), room="Hall")]
    )
    document = cli.json("sandbox", "events", "--now", NOW)
    assert document["conversations"] == []
    assert document["events"] == [
        {
            "name": "Agents",
            "description": 'kaz: "Agents"\n\nspeakerbot:t1',
            "place": "Hall",
            "starts_at": "2026-11-21T18:00:00Z",
            "ends_at": "2026-11-21T19:00:00Z",
        }
    ]
    assert cli.out("sandbox", "events", "--now", NOW).startswith(
        "event: Agents\t2026-11-21 18:00 to 19:00 UTC, Hall\tkaz: "
    )
    assert list(store.server_events.all()) == []


def test_it_honours_what_people_wish(cli: Cli, samples: Path, store: Store) -> None:
    store.people.put([Person("p", KAZ, opted_out=frozenset({"reminders"}))])
    document = cli.json("sandbox", "reminders", "--now", NOW)
    assert [each["name"] for each in document["conversations"]] == ["sofia-dev"]


def test_where_nothing_is_due_it_says_so(cli: Cli) -> None:
    assert cli.out("sandbox", "reminders", "--now", NOW).startswith("Nothing is due")


def test_a_job_nobody_knows_is_named_with_those_there_are(cli: Cli) -> None:
    said = cli.misused("sandbox", "remind")
    assert "'remind' is not a job; did you mean 'reminders'?" in said


def test_a_channel_has_its_own_place_in_it(cli: Cli, samples: Path) -> None:
    channel = {"PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": "1201234567890123400"}
    rows = cli.out("sandbox", "weekly", "--now", NOW, **channel).splitlines()
    [(place, _, text)] = [row.split("\t") for row in rows]
    assert place == "#announcements"
    assert text.startswith("## Upcoming Talks 1. **2026-11-20** - sofia-dev")
