"""``run reminders`` as people and schedulers start it, against a loopback Discord."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.person import Person, parse_quiet_hours
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.testing.discord import Fault, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
TOKEN = "loopback.token.of.a.bot"
SOFIA, KAZ = "802345678901234563", "802345678901234564"
SOFIAS_TALK, KAZS_TALK = "f0cc2b005baeaa9abb3cb6a2", "98900893f517493faf9af27e"
SOFIAS_THREAD = "1301234567890123403"
DAY_OF = f"reminder.day_of/talk:{SOFIAS_TALK}/user:{SOFIA}/2026-11-20T16:00"
DAY_BEFORE = f"reminder.day_before/talk:{KAZS_TALK}/user:{KAZ}/2026-11-21T16:00"


def remind(cli: Cli, *args: str, now: str = NOW, **env: str) -> Any:
    return cli.json("run", "reminders", "--now", now, *args, **env)


def states(document: Any) -> dict[str, str]:
    return {message["key"]: message["state"] for message in document["messages"]}


def received(discord: LoopbackDiscord) -> list[str]:
    """Who got a DM."""
    users = {opened.channel_id: opened.user_id for opened in discord.dms_opened}
    return sorted(users.get(message.channel_id, "") for message in discord.messages)


def book(cli: Cli, *talks: Talk) -> None:
    opened = open_store(cli.database_url)
    opened.prepare()
    opened.talks.put(talks)
    opened.close()


def known(cli: Cli, *people: Person) -> None:
    opened = open_store(cli.database_url)
    opened.prepare()
    opened.people.put(people)
    opened.close()


TALK = Talk("t1", "42", "ada", "Engines", date(2026, 11, 20))


def test_of_the_samples_exactly_two_are_due_and_a_second_run_sends_none(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    """Sofia speaks today, and the Node bot has sent her day-before reminder only; Kaz speaks
    tomorrow and has booked an hour ago. The other talks are over, weeks away or completed."""
    first = remind(cli)
    assert states(first) == {DAY_OF: "sent", DAY_BEFORE: "sent"}
    assert (first["counts"]["planned"], first["counts"]["sent"]) == (2, 2)
    assert received(discord) == [SOFIA, KAZ]
    assert len(discord.requests) == 4, "two channels opened, two messages"
    second = remind(cli)
    assert states(second) == {DAY_OF: "already_sent", DAY_BEFORE: "already_sent"}
    assert second["counts"]["sent"] == 0
    assert len(discord.requests) == 4, "nothing to send asks Discord nothing"


def test_two_talks_an_evening_and_a_co_speaker_are_reminded_once_each(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    """Grace takes no direct messages; later somebody hands her part to Eve."""
    discord.world.close_dms("43")
    discord.world.add_thread("900", "1")
    cli.env["SPEAKERBOT_TIMEZONE"] = "Europe/Berlin"
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = "0d@16:00"
    shared = replace(TALK, thread_id="900", co_speakers=(Speaker("43", "grace"),))
    late = Talk("t2", "42", "ada", "Looms", TALK.date, starts_at=time(20), room="Hall 2")
    book(cli, shared, late)
    first = remind(cli)
    messages = sorted(first["messages"], key=lambda each: str(each["key"]))
    assert [each["key"].split("/", 1)[1].rpartition("/")[0] for each in messages] == [
        "talk:t1/user:42",
        "talk:t1/user:43",
        "talk:t2/user:42",
    ]
    assert set(states(first).values()) == {"sent"}
    texts = [each["text"] for each in messages]
    assert texts[1] == (
        "<@43> Hi grace! This is a reminder that you're speaking today (2026-11-20) about "
        '"Engines". See you soon!'
    )
    assert '(Friday 2026-11-20, 20:00) about "Looms". Your time: <t:1795201200:F>' in texts[2]
    again = remind(cli)
    assert set(states(again).values()) == {"already_sent"}
    cli.out("talks", "edit", "t1", "--speaker", "44=eve")
    handed = remind(cli)
    assert [each["recipient"] for each in handed["messages"] if each["state"] == "sent"] == (
        ["user:44"]
    )
    assert len(discord.messages) == 4
    explained = cli.json("explain", "person", "43", "--now", NOW)["messages"]
    assert [each["state"] for each in explained] == ["sent"]


def test_the_document_of_a_run_has_these_keys(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    document = remind(cli, "--limit", "1")
    run_id, took = document.pop("run_id"), document.pop("duration_ms")
    assert (type(run_id), type(took)) == (str, int)
    assert document == {
        "job": "reminders",
        "occurrence": None,
        "dry_run": False,
        "now": NOW,
        "messages": [
            {
                "key": DAY_OF,
                "kind": "reminder.day_of",
                "recipient": f"user:{SOFIA}",
                "route": "dm",
                "text": discord.messages[0].content,
                "due_at": "2026-11-20T16:00:00Z",
                "expires_at": "2026-11-21T00:00:00Z",
                "reason": "talk on 2026-11-20, 0d@16:00 reached at 2026-11-20 16:00 UTC",
                "state": "sent",
            }
        ],
        "counts": {
            "planned": 1,
            "sent": 1,
            "already_sent": 0,
            "skipped": {},
            "failed": {},
            "undeliverable": 0,
            "unknown": 0,
        },
    }
    assert cli.json("runs", "show", run_id)["counts"]["sent"] == 1


def test_a_limit_leaves_the_rest_to_the_next_run(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    remind(cli, "--limit", "1")
    assert received(discord) == [SOFIA]
    assert states(remind(cli)) == {DAY_OF: "already_sent", DAY_BEFORE: "sent"}


@pytest.mark.parametrize("user", [KAZ, "kaz-at-home"])
def test_only_one_person_by_either_id(
    cli: Cli, samples: Path, discord: LoopbackDiscord, user: str
) -> None:
    known(cli, Person("kaz-at-home", KAZ))
    assert states(remind(cli, "--only", user)) == {DAY_BEFORE: "sent"}
    assert received(discord) == [KAZ]


def test_only_never_widens_who_gets_something(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    known(cli, Person("p", KAZ, opted_out=frozenset({"reminders"})))
    assert states(remind(cli, "--only", KAZ)) == {DAY_BEFORE: "held_back"}
    assert discord.messages == []


@pytest.mark.parametrize("user", ["kas", ""])
def test_only_somebody_nobody_knows_is_a_mistake_and_not_everybody(
    cli: Cli, samples: Path, discord: LoopbackDiscord, user: str
) -> None:
    said = cli.misused("run", "reminders", "--now", NOW, "--only", user)
    assert f"'{user}' is not a person we know" in said
    assert discord.messages == []


def test_a_dry_run_needs_no_token_and_leaves_no_trace(cli: Cli, samples: Path) -> None:
    before, beside = samples.read_bytes(), sorted(cli.folder.iterdir())
    document = remind(cli, "--dry-run")
    assert states(document) == {DAY_OF: "planned", DAY_BEFORE: "planned"}
    assert document["dry_run"] is True
    assert samples.read_bytes() == before
    assert sorted(cli.folder.iterdir()) == beside


def test_a_dry_run_without_a_store_makes_none(cli: Cli) -> None:
    assert remind(cli, "--dry-run")["messages"] == []
    assert list(cli.folder.iterdir()) == []


def test_a_dry_run_shows_who_is_left_out_and_why(cli: Cli, samples: Path) -> None:
    known(cli, Person("p", KAZ, opted_out=frozenset({"all"})))
    document = remind(cli, "--dry-run")
    held = next(message for message in document["messages"] if message["key"] == DAY_BEFORE)
    assert (held["state"], held["reason"]) == ("held_back", "opted out of reminders")
    assert document["counts"]["skipped"] == {"opted_out": 1}
    rows = cli.out("run", "reminders", "--dry-run", "--now", NOW).splitlines()
    assert [row.split("\t")[0] for row in rows[1:3]] == ["planned", "held_back"]
    assert rows[-1].startswith("reminders: 1 planned, 1 skipped (opted_out)")


def test_without_a_token_nothing_is_tried(cli: Cli, samples: Path) -> None:
    error = cli.error("run", "reminders", "--now", NOW, exit_code=78)
    assert error.startswith("DISCORD_TOKEN is not set")
    assert "--dry-run" in error


def test_a_refused_token_ends_the_run_and_burns_nothing(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    discord.inject(Fault(kind="error", status=401, times=None))
    error = cli.error("run", "reminders", "--now", NOW, exit_code=77)
    assert error.startswith("DISCORD_TOKEN was refused")
    discord.clear_faults()
    document = remind(cli)
    assert document["counts"]["sent"] == 2


def test_every_wrong_setting_is_named_at_once(cli: Cli) -> None:
    error = cli.error(
        "run",
        "reminders",
        exit_code=78,
        SPEAKERBOT_TIMEZONE="Mars/Olympus",
        SPEAKERBOT_REMINDER_OFFSETS="1d",
        SPEAKERBOT_RATE="fast",
    )
    assert [line.split(":")[0] for line in error.splitlines()] == [
        "SPEAKERBOT_TIMEZONE",
        "SPEAKERBOT_REMINDER_OFFSETS",
        "SPEAKERBOT_RATE",
        "DISCORD_TOKEN is not set",
    ]


def test_a_store_of_an_unknown_kind_is_named_with_the_known_ones(cli: Cli) -> None:
    error = cli.error(
        "run", "reminders", "--dry-run", exit_code=78, DATABASE_URL="postgres://u:pa55@h/d"
    )
    assert "postgres://" in error
    assert "sqlite:///" in error
    assert "mongodb://" in error
    assert "pa55" not in error


def test_a_corrupt_store_is_left_as_it_is(cli: Cli) -> None:
    file = cli.folder / "store.db"
    file.write_bytes(b"no database at all " * 100)
    before = file.read_bytes()
    error = cli.error("run", "reminders", exit_code=78, DISCORD_TOKEN=TOKEN)
    assert str(file) in error
    assert "left as it is" in error
    assert file.read_bytes() == before


def test_a_mongodb_that_cannot_be_reached_is_said_within_seconds(cli: Cli) -> None:
    url = "mongodb://u:pa55@127.0.0.1:1/talks?timeoutMS=300"
    error = cli.error("run", "reminders", exit_code=69, DATABASE_URL=url, DISCORD_TOKEN=TOKEN)
    assert "127.0.0.1:1" in error
    assert "pa55" not in error


@pytest.mark.parametrize("switch", ["SPEAKERBOT_ENABLED", "PROACTIVE_REMINDERS_ENABLED"])
def test_a_kill_switch_stops_it_loudly_whatever_else_is_missing(cli: Cli, switch: str) -> None:
    done = cli.run("run", "reminders", "--now", NOW, "--json", **{switch: "false"})
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert (document["messages"], document["skipped_because"]) == ([], "disabled")
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["level"]) == ("run_skipped", "warning")
    assert (line["reason"], line["run_id"]) == ("disabled", document["run_id"])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("yesterday", "is not an ISO 8601 time"),
        ("0001-01-01T00:00:00+05:00", "the years 1970 to 2999"),
    ],
)
def test_a_time_that_is_none_is_refused(cli: Cli, now: str, said: str) -> None:
    assert said in cli.misused("run", "reminders", "--dry-run", "--now", now)


def test_whatever_a_topic_holds_it_arrives_whole_and_pings_nobody(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    topics = (
        "@everyone and @here and <@&5>, look",
        "```py\nprint()``` `x` **bold** _it_",
        "x" * 2000,
        "שלום \u202e txt.exe",
        "日本語 🎌 " * 300,
        "{{ 7 * 7 }} {% for x in y %}",
    )
    days = [TALK.date + timedelta(days=number) for number in range(len(topics))]
    talks = zip(topics, days, strict=True)
    book(cli, *(Talk(str(day), f"{day:%d}", "ada", topic, day) for topic, day in talks))
    offsets = ",".join(f"{number}d@16:00" for number in range(len(topics)))
    assert remind(cli, SPEAKERBOT_REMINDER_OFFSETS=offsets)["counts"]["sent"] == len(topics)
    for message in discord.messages:
        assert not message.everyone_notified
        assert message.roles_notified == message.users_notified == ()
        assert len(message.content.encode("utf-16-le")) // 2 <= 2000
        assert "\n" not in message.content
        assert message.content.endswith(("See you soon!", "Looking forward to your talk!"))
    assert any("{{ 7 \\* 7 }}" in message.content for message in discord.messages)


def test_quiet_hours_defer_a_reminder_and_drop_nothing(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    quiet = parse_quiet_hours("07:00-13:00")  # 16:05 UTC is 11:05 there
    known(cli, Person("p", KAZ, timezone="America/New_York", quiet_hours=quiet))
    document = remind(cli)
    assert states(document) == {DAY_OF: "sent", DAY_BEFORE: "held_back"}
    [held] = [message for message in document["messages"] if message["key"] == DAY_BEFORE]
    assert held["reason"] == "quiet hours until 13:00 (America/New_York)"
    assert states(remind(cli, now="2026-11-20T18:05:00Z"))[DAY_BEFORE] == "sent"


def test_closed_dms_lead_to_the_thread_with_a_mention(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    discord.world.close_dms(SOFIA)
    discord.world.close_dms(KAZ)
    document = remind(cli)
    assert states(document) == {DAY_OF: "sent", DAY_BEFORE: "undeliverable"}
    [message] = discord.messages
    assert message.channel_id == SOFIAS_THREAD
    assert message.content.startswith(f"<@{SOFIA}> Hi sofia-dev!")
    assert message.users_notified == (SOFIA,)
    assert document["counts"]["undeliverable"] == 1, "a recipient's failure does not fail the run"
    assert states(remind(cli))[DAY_BEFORE] == "undeliverable", "it is not tried again"


def test_a_talk_that_moves_gets_the_reminders_of_its_new_date_and_no_others(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    remind(cli)
    assert store.talks.reschedule(KAZS_TALK, date(2026, 11, 25))
    sent = len(discord.messages)
    assert states(remind(cli, now="2026-11-21T16:05:00Z")) == {}
    document = remind(cli, now="2026-11-24T16:05:00Z")
    assert states(document) == {DAY_BEFORE.replace("2026-11-21", "2026-11-25"): "sent"}
    assert len(discord.messages) == sent + 1


def flags(store: Store, talk: str) -> tuple[datetime | None, datetime | None]:
    found = store.talks.get(talk)
    assert found is not None
    return found.sent_tminus1_at, found.sent_day_of_at


def test_beside_the_node_bot_its_flags_are_set_and_put_back_where_nothing_was_sent(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    discord.world.close_dms(KAZ)
    before, _ = flags(store, SOFIAS_TALK)
    remind(cli)
    now = datetime.fromisoformat(NOW)
    assert flags(store, SOFIAS_TALK) == (before, now)
    assert flags(store, KAZS_TALK) == (None, None)


def test_where_no_node_bot_runs_its_flags_are_left_alone(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    before = flags(store, SOFIAS_TALK)
    remind(cli, NODE_BOT_COEXIST="false")
    assert len(discord.messages) == 2
    assert flags(store, SOFIAS_TALK) == before


def test_of_two_reminders_a_day_the_second_goes_although_the_first_has_set_the_flag(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    book(cli, TALK)
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = "0d@09:00,0d@18:00"
    remind(cli, now="2026-11-20T09:05:00Z")
    document = remind(cli, now="2026-11-20T18:05:00Z")
    assert list(states(document).values()) == ["sent"]
    assert len(discord.messages) == 2


def test_two_runs_at_once_divide_the_work(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    with ThreadPoolExecutor(2) as both:
        documents = list(both.map(lambda _: remind(cli), range(2)))
    assert sum(document["counts"]["sent"] for document in documents) == 2
    assert received(discord) == [SOFIA, KAZ]


def test_every_line_of_the_log_is_json_names_the_run_and_tells_no_secret(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    discord.inject(
        Fault(kind="rate_limit", on="create_message", retry_after=0.1),
        Fault(kind="error", on="create_message", status=503, nth=2),
    )
    done = cli.run("run", "reminders", "--now", NOW, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["run_id"] for line in lines} == {document["run_id"]}
    assert {(line["job"], line["occurrence"]) for line in lines} == {("reminders", None)}
    assert lines[0]["event"] == "store_opened"
    failed = next(line for line in lines if line["event"] == "message_retried_soon")
    assert datetime.fromisoformat(failed["retry_at"]).tzinfo is not None
    last = lines[-1]
    assert (last["event"], last["sent"], last["failed"]) == ("run_finished", 2, {})
    assert last["rate_limited"] == 1
    assert TOKEN not in done.stderr
    assert "MCP servers" not in done.stderr
    assert "sofia-dev" not in done.stderr


def test_the_tables_of_a_run_are_rows_where_no_terminal_is(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    rows = cli.out("run", "reminders", "--now", NOW).splitlines()
    assert [row.count("\t") for row in rows] == [5, 5, 5, 0]
    assert rows[-1].startswith("reminders: 2 planned, 2 sent (")


def test_messages_are_sent_even_if_nobody_reads_what_is_printed(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with cli.start("run", "reminders", "--now", NOW, stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate()
    assert process.returncode == 0, err
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert "output_lost" in events
    assert "run_finished" in events
    assert len(discord.messages) == 2


def test_a_topic_that_the_terminal_cannot_show_does_not_end_the_run(
    cli: Cli, samples: Path
) -> None:
    now = "2026-11-26T16:05:00Z"
    shown = cli.out("run", "reminders", "--dry-run", "--now", now, PYTHONIOENCODING="ascii")
    assert "evaluating Japanese prompts" in shown


def test_a_lease_that_covers_no_send_is_warned_of(cli: Cli, discord: LoopbackDiscord) -> None:
    done = cli.run("run", "reminders", SPEAKERBOT_LEASE="30s")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    [warned] = [line for line in lines if line["event"] == "lease_short"]
    assert (warned["lease"], warned["level"]) == ("30s", "warning")
