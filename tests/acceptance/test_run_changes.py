"""``run changes`` as a scheduler starts it, against a loopback Discord."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
LATER = "2026-11-20T17:05:00Z"
ADA = Talk("a", "101", "ada", "Engines", date(2026, 11, 27), thread_id="901")
BOB = Talk("b", "102", "bob", "Bots", date(2026, 11, 28))
MOVED = replace(ADA, date=date(2026, 11, 29))


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": "token",
            "DISCORD_API_BASE": running.base_url,
            "SPEAKERBOT_NEW_DM_EVERY": "0s",
        }
        yield running


@pytest.fixture
def community(cli: Cli, store: Store, discord: LoopbackDiscord) -> Store:
    """Two talks, which their speakers know of."""
    store.talks.put([ADA, BOB])
    assert _run(cli)["messages"] == []
    assert discord.requests == []
    return store


def _run(cli: Cli, *args: str, now: str = NOW, **env: str) -> Any:
    return cli.json("run", "changes", "--now", now, *args, **env)


def _heard(discord: LoopbackDiscord) -> list[tuple[str, str]]:
    """Who has read what, in direct messages."""
    return [
        (str(conversation.user_id), line.message.content)
        for conversation in discord.transcript()
        for line in conversation.lines
    ]


def test_a_dry_run_shows_the_changes_and_the_run_sends_them_once(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    community.talks.put([MOVED, Talk("c", "103", "eve", "Evals", date(2026, 12, 4))])
    community.talks.delete(BOB.id)
    dry = _run(cli, "--dry-run")
    assert {(m["recipient"], m["reason"]) for m in dry["messages"]} == {
        ("user:101", "moved from 2026-11-27 to 2026-11-29"),
        ("user:102", "the talk on 2026-11-28 was cancelled"),
        ("user:103", "booked for 2026-12-04"),
    }
    assert discord.requests == []
    real = _run(cli)
    assert real["counts"]["sent"] == 3
    shown = {message["key"]: message["text"] for message in dry["messages"]}
    assert {message["key"]: message["text"] for message in real["messages"]} == shown
    assert {text for _, text in _heard(discord)} == set(shown.values())
    requests = len(discord.requests)
    second = _run(cli, now=LATER)
    assert (second["messages"], second["counts"]["planned"]) == ([], 0)
    assert len(discord.requests) == requests


def test_a_cancelled_talk_whose_date_another_took_is_two_notices_to_the_right_people(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    community.talks.delete(ADA.id)
    community.talks.put([Talk("c", "103", "eve", "Evals", ADA.date)])
    _run(cli)
    assert sorted(_heard(discord)) == [
        ("101", 'Hi ada! Your talk about "Engines" on 2026-11-27 was cancelled.'),
        (
            "103",
            (
                'Hi eve! You are booked to speak on 2026-11-27 about "Evals". '
                "Looking forward to your talk!"
            ),
        ),
    ]


def test_a_change_undone_before_anybody_heard_is_not_announced(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    community.talks.put([MOVED])
    assert _run(cli, "--limit", "0")["counts"]["sent"] == 0
    community.talks.put([ADA])
    assert _run(cli, now=LATER)["messages"] == []
    assert discord.messages == []


def test_undoing_what_was_sent_but_never_recorded_is_announced(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    """The answer is lost, the run dies; meanwhile the talk moves back."""
    community.talks.put([MOVED])
    discord.inject(Fault(kind="lost_response", on="create_message", times=None))
    lost = _run(cli, "--timeout", "3s")
    assert [message["state"] for message in lost["messages"]] == ["failed"]
    discord.clear_faults()
    community.talks.put([ADA])
    with sqlite3.connect(cli.folder / "store.db") as db:
        db.execute("UPDATE deliveries SET retry_at = 0")
    _run(cli, now=LATER)
    _run(cli, now=LATER)
    assert [text for _, text in _heard(discord)] == [
        'Hi ada! Your talk about "Engines" was moved from 2026-11-27 to 2026-11-29.',
        'Hi ada! Your talk about "Engines" was moved from 2026-11-29 to 2026-11-27.',
    ]
    assert _run(cli, now=LATER)["messages"] == []


def test_closed_direct_messages_lead_to_the_thread(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    discord.world.add_thread("901", "1")
    discord.world.close_dms("101")
    community.talks.delete(ADA.id)
    [message] = _run(cli)["messages"]
    assert (message["state"], message["route"]) == ("sent", "thread")
    [post] = [m for m in discord.messages if m.channel_id == "901"]
    assert post.content.startswith("<@101> Hi ada! Your talk")
    assert post.users_notified == ("101",)


def test_limit_and_only_leave_the_other_changes_to_later_runs(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    community.talks.put([MOVED, replace(BOB, date=date(2026, 12, 5))])
    assert _run(cli, "--only", "102")["counts"]["sent"] == 1
    assert [user for user, _ in _heard(discord)] == ["102"]
    assert _run(cli, "--limit", "0", now=LATER)["counts"]["sent"] == 0
    assert _run(cli, now=LATER)["counts"]["sent"] == 1
    assert [user for user, _ in _heard(discord)] == ["102", "101"]


def test_opting_out_of_changes_holds_back_and_leaves_reminders(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    cli.out("people", "opt-out", "101", "changes")
    community.talks.put([MOVED])
    for args in (["--dry-run"], []):
        [message] = _run(cli, *args)["messages"]
        assert (message["state"], message["reason"]) == ("held_back", "opted out of changes")
    assert _run(cli, now=LATER)["messages"] == []
    assert discord.messages == []
    reminded = cli.json("run", "reminders", "--now", "2026-11-28T16:05:00Z", "--dry-run")
    assert {message["recipient"] for message in reminded["messages"]} == {"user:101", "user:102"}


def test_quiet_hours_only_delay(cli: Cli, community: Store, discord: LoopbackDiscord) -> None:
    cli.out("people", "set", "101", "--quiet-hours", "16:00-17:00")
    community.talks.put([MOVED])
    [message] = _run(cli)["messages"]
    assert message["reason"] == "quiet hours until 17:00 (UTC)"
    assert _run(cli, now=LATER)["counts"]["sent"] == 1


def test_topics_are_announced_where_the_setting_says_so(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    community.talks.put([replace(ADA, topic="Looms")])
    assert _run(cli)["messages"] == []
    community.talks.put([replace(ADA, topic="Cards")])
    [message] = _run(cli, SPEAKERBOT_CHANGES_TOPIC="true")["messages"]
    assert 'changed from "Looms" to "Cards"' in message["text"]


def test_two_runs_at_once_send_each_notice_once(
    cli: Cli, community: Store, discord: LoopbackDiscord
) -> None:
    talks = [Talk(f"t{n}", str(200 + n), f"s{n}", "x", date(2026, 12, 1 + n)) for n in range(30)]
    community.talks.put(talks)
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda _: cli.run("run", "changes", "--now", NOW), range(2)))
    _run(cli)
    assert sorted(user for user, _ in _heard(discord)) == sorted(talk.user_id for talk in talks)


def test_a_run_with_nothing_to_say_imports_nothing_of_the_network(
    cli: Cli, community: Store
) -> None:
    done = cli.run("run", "changes", "--now", NOW, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "speakerbot.domain.talk_changes" in loaded
    assert not loaded & {"discord", "jinja2", "aiohttp", "pymongo", "speakerbot.delivery.session"}


def test_a_dry_run_before_the_first_run_says_that_there_is_nothing_to_compare_with(
    cli: Cli, store: Store
) -> None:
    store.talks.put([ADA])
    document = _run(cli, "--dry-run")
    assert (document["messages"], document["counts"]["skipped"]) == ([], {"first_snapshot": 1})


def test_a_snapshot_of_a_newer_version_is_refused(cli: Cli, community: Store) -> None:
    with sqlite3.connect(cli.folder / "store.db") as db:
        db.execute("PRAGMA user_version = 99")
    for args in (["--dry-run"], []):
        error = cli.error("run", "changes", *args, exit_code=78)
        assert "a newer speakerbot wrote it" in error


def test_the_sandbox_shows_what_would_be_read(cli: Cli, community: Store) -> None:
    community.talks.put([MOVED])
    shown = json.loads(cli.out("sandbox", "changes", "--now", NOW, "--json"))
    [conversation] = shown["conversations"]
    assert conversation["messages"][0]["text"].endswith("from 2026-11-27 to 2026-11-29.")
    assert len(_run(cli, "--dry-run")["messages"]) == 1


def test_a_person_known_by_another_id_is_found_by_it(cli: Cli, community: Store) -> None:
    community.people.put([Person("ada", discord_user_id="101")])
    community.talks.put([MOVED])
    assert len(_run(cli, "--dry-run", "--only", "ada")["messages"]) == 1
