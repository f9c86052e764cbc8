"""``run starting`` as a scheduler starts it, on the real clock, against a loopback Discord."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

CHANNEL, ROLE = "1201234567890123400", "1201234567890123411"
TICK = ("run", "starting", "--schedule", "starting", "--cron", "@hourly")
STAY = (*TICK, "--horizon", "3m")
SOON = 10.0
"""Seconds in which a run ends once it is asked to."""
DAY = "2026-11-21"


@pytest.fixture
def cli(cli: Cli, discord: LoopbackDiscord) -> Cli:
    cli.env["PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"] = CHANNEL
    return cli


def book(store: Store, cli: Cli, due_in: float, *ids: str) -> datetime:
    """Talks that start at a full minute, one to two from now, and are announced in so many seconds.
    Returns when that is."""
    now = datetime.now(UTC)
    start = now.replace(second=0, microsecond=0) + timedelta(minutes=3)
    due = (now + timedelta(seconds=due_in)).replace(microsecond=0)
    cli.env["SPEAKERBOT_STARTING_BEFORE"] = f"{(start - due).seconds}s"
    store.talks.put(
        [
            Talk(each, "1", each, "Kites", start.date(), starts_at=start.time(), room="Annex")
            for each in ids or ("ada",)
        ]
    )
    return due


def at_noon(store: Store, *ids: str) -> None:
    """Talks of a day to come, at 19:00."""
    day = datetime.fromisoformat(DAY).date()
    clock = datetime.fromisoformat(f"{DAY}T19:00").time()
    store.talks.put([Talk(each, "1", each, "Kites", day, starts_at=clock) for each in ids])


@contextmanager
def running(cli: Cli, *args: str) -> Iterator[subprocess.Popen[str]]:
    with cli.start(*args) as process:
        try:
            yield process
        finally:
            process.kill()


def logs_until(process: subprocess.Popen[str], event: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if json.loads(line)["event"] == event:
            return
    raise AssertionError(f"it ended without {event}")


def ended(process: subprocess.Popen[str], code: int = 0) -> Any:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return json.loads(out)


def sent_at(store: Store) -> list[datetime]:
    return sorted(each.sent_at for each in store.ledger.list() if each.sent_at)


def test_it_waits_and_posts_to_the_second(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    cli.env["SPEAKERBOT_STARTING_MENTION"] = ROLE
    due = book(store, cli, 6, "ada", "grace")
    document = cli.json(*STAY)
    assert [message["state"] for message in document["messages"]] == ["sent", "sent"]
    assert document["occurrence"] is None
    assert {post.channel_id for post in discord.messages} == {CHANNEL}
    for post in discord.messages:
        assert post.content.startswith(f"<@&{ROLE}> **Starting <t:")
        assert post.content.endswith(': "Kites", Annex')
        assert post.allowed_mentions == {"parse": [], "roles": [ROLE]}
    assert all(due <= at < due + timedelta(seconds=2) for at in sent_at(store))
    assert cli.json(*TICK)["messages"][0]["state"] == "already_sent"
    assert len(discord.messages) == 2


def test_two_that_wait_for_the_same_share_it(
    cli: Cli, store: Store, discord: LoopbackDiscord
) -> None:
    due = book(store, cli, 7, "ada", "grace", "edsger")
    with running(cli, *STAY, "--json") as one, running(cli, *STAY, "--json") as other:
        documents = [ended(one), ended(other)]
    posts = sorted(post.content for post in discord.messages)
    assert len(posts) == len(set(posts)) == 3
    assert sum(document["counts"]["sent"] for document in documents) == 3
    assert min(sent_at(store)) >= due


def test_one_that_is_asked_to_end_while_it_waits_leaves_it_to_the_next(
    cli: Cli, store: Store, discord: LoopbackDiscord
) -> None:
    book(store, cli, 9)
    with running(cli, *STAY, "--json") as process:
        logs_until(process, "run_waits")
        assert [run["outcome"] for run in cli.json("runs", "list")["runs"]] == ["running"]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ended(process, 143)
        assert time.monotonic() - began < SOON
    assert [run["outcome"] for run in cli.json("runs", "list")["runs"]] == ["stopped"]
    assert discord.messages == []
    cli.json(*STAY)
    assert len(discord.messages) == 1


@pytest.mark.parametrize(
    ("meanwhile", "posts"),
    [
        (lambda cli, _: cli.out("talks", "cancel", "ada", "--yes"), 0),
        (lambda _, store: store.talks.reschedule("ada", _tomorrow()), 0),
        (lambda _, store: store.talks.put([_another(store)]), 2),
    ],
    ids=["cancelled", "moved", "booked"],
)
def test_what_changes_while_it_waits_counts(
    cli: Cli,
    store: Store,
    discord: LoopbackDiscord,
    meanwhile: Callable[[Cli, Store], object],
    posts: int,
) -> None:
    book(store, cli, 8)
    with running(cli, *STAY, "--json") as process:
        logs_until(process, "run_waits")
        meanwhile(cli, store)
        ended(process)
    assert len(discord.messages) == posts


def _tomorrow() -> Any:
    return (datetime.now(UTC) + timedelta(days=1)).date()


def _another(store: Store) -> Talk:
    talk = store.talks.get("ada")
    assert talk
    return replace(talk, id="grace", username="grace", user_id="2")


def test_a_look_that_finds_nothing_says_so_and_is_stored(cli: Cli, store: Store) -> None:
    at_noon(store, "ada")
    done = cli.run(*TICK, "--json")
    assert (done.returncode, json.loads(done.stdout)["messages"]) == (0, [])
    assert '"reason": "not_due", "event": "run_skipped"' in done.stderr
    assert list(store.runs.list()) == []
    looked = datetime.fromisoformat(store.marks.get("look starting") or "")
    assert datetime.now(UTC) - looked < timedelta(minutes=1)


def test_what_is_about_occurrences_has_no_effect(cli: Cli) -> None:
    done = cli.run(*TICK, "--grace", "6h", "--wait", "0s", "--share")
    assert done.returncode == 0
    [warning] = [
        line
        for line in map(json.loads, done.stderr.splitlines())
        if line["event"] == "options_without_effect"
    ]
    assert warning["options"] == "--grace, --wait, --share"
    assert "starting has no occurrences" in warning["hint"]


def test_without_a_channel_a_person_is_told_and_a_scheduler_is_not_failed(
    cli: Cli, store: Store
) -> None:
    del cli.env["PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"]
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in cli.error("run", "starting", exit_code=78)
    assert "not_due" in cli.run(*TICK).stderr
    book(store, cli, -1)
    done = cli.run(*TICK)
    assert done.returncode == 0
    assert '"reason": "not_configured"' in done.stderr


class TestUnderRunDue:
    @pytest.fixture(autouse=True)
    def schedules(self, cli: Cli) -> None:
        entry = {"name": "soon", "job": "starting", "cron": "@hourly", "args": ["--horizon", "75m"]}
        cli.env["SPEAKERBOT_SCHEDULES"] = cli.file(
            "schedules.json", json.dumps({"schedules": [entry]})
        )

    def test_it_is_silent_where_nothing_is_due_and_does_not_stay(
        self, cli: Cli, store: Store, discord: LoopbackDiscord
    ) -> None:
        book(store, cli, 60)
        done = cli.run("run", "due")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert discord.messages == []
        book(store, cli, -1)
        cli.out("run", "due")
        assert len(discord.messages) == 1

    def test_the_list_of_runs_tells_when_it_last_looked(self, cli: Cli, store: Store) -> None:
        [timed] = cli.json("runs", "list")["timed"]
        assert timed == {"schedule": "soon", "job": "starting", "last_look": None, "late": True}
        assert "never looked: late" in cli.run("runs", "list").stderr
        cli.out("run", "due")
        [timed] = cli.json("runs", "list")["timed"]
        assert timed["last_look"] is not None
        assert timed["late"] is False
        assert cli.run("runs", "list").stderr == ""
        store.marks.put("look soon", "2026-11-20T16:00:00Z")
        late = "schedule soon (starting) last looked 2026-11-20 16:00 UTC: late"
        assert late in cli.run("runs", "list").stderr

    def test_preview_and_explain_know_when_it_goes_out(self, cli: Cli, store: Store) -> None:
        at_noon(store, "ada", "grace")
        now = f"{DAY}T12:20:00Z"
        [day] = cli.json("preview", "--days", "1", "--now", now)["days"][:1]
        found = [(each["key"], each["due_at"]) for each in day["messages"]]
        assert sorted(found) == [
            (f"starting/talk:{each}/channel:{CHANNEL}/{DAY}", f"{DAY}T18:45:00Z")
            for each in ("ada", "grace")
        ]
        explained = cli.json("explain", "talk", "ada", "--now", now)["messages"]
        [post] = [each for each in explained if each["kind"] == "starting"]
        assert (post["state"], post["next_at"]) == ("not_due", f"{DAY}T18:45:00Z")


def test_a_sandbox_shows_what_people_would_see(cli: Cli, store: Store) -> None:
    at_noon(store, "ada")
    shown = cli.out("sandbox", "starting", "--now", f"{DAY}T18:50:00Z")
    assert '**Starting <t:1795287600:R>:** ada: "Kites"' in shown
    assert list(store.ledger.list()) == []


def test_the_digest_counts_it(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    cli.env["DISCORD_LOGS_CHANNEL_ID"] = "1201234567890123422"
    book(store, cli, -1)
    cli.out(*TICK)
    cli.out("run", "digest")
    assert "**Last 24 hours:** 1 sent" in discord.messages[-1].content
