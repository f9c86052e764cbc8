"""``run engagement`` as a scheduler starts it, against a loopback Discord."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

CHANNEL = "1201234567890123400"
NOW = "2026-11-20T16:05:00Z"


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": "token",
            "DISCORD_API_BASE": running.base_url,
            "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": CHANNEL,
        }
        yield running


def _run(cli: Cli, now: str = NOW, *args: str) -> Any:
    return cli.json("run", "engagement", "--now", now, *args)


def _book(store: Store, *days: date) -> None:
    store.talks.put([Talk(str(day), "1", "ada", "Topic", day) for day in days])


def test_it_asks_once_a_period(cli: Cli, discord: LoopbackDiscord, store: Store) -> None:
    _book(store, date(2026, 11, 13), date(2026, 12, 4))
    [message] = _run(cli)["messages"]
    assert (message["state"], message["recipient"]) == ("sent", f"channel:{CHANNEL}")
    [post] = discord.messages
    assert post.content == message["text"]
    assert "- Friday, **2026-11-27**\n- Friday, **2026-12-11**" in post.content
    store.talks.delete("2026-12-04")
    requests = len(discord.requests)
    for now in (NOW, "2026-11-21T16:00:00Z", "2026-11-24T16:00:00Z"):
        assert _run(cli, now)["counts"]["skipped"] == {"asked_recently": 1}, now
    assert len(discord.requests) == requests
    assert _run(cli, "2026-12-04T16:04:59Z")["messages"] == []
    assert _run(cli, "2026-12-04T16:06:00Z")["counts"]["sent"] == 1
    assert len(discord.messages) == 2


def test_a_coming_talk_needs_no_prompt(cli: Cli, discord: LoopbackDiscord, store: Store) -> None:
    _book(store, date(2026, 12, 3))
    assert _run(cli)["counts"]["skipped"] == {"talk_coming": 1}
    assert discord.messages == []
    done = cli.run("run", "engagement", "--now", NOW, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "speakerbot.runs.routes" in loaded
    assert not loaded & {"discord", "jinja2", "aiohttp", "pymongo"}


def test_many_runs_at_once_ask_once(cli: Cli, discord: LoopbackDiscord) -> None:
    with ThreadPoolExecutor(4) as all_at_once:
        documents = list(all_at_once.map(lambda _: _run(cli), range(4)))
    assert sum(document["counts"]["sent"] for document in documents) == 1
    assert len(discord.messages) == 1


def test_a_dry_run_shows_the_prompt_and_leaves_no_trace(cli: Cli, store: Store) -> None:
    document = cli.json(
        "run", "engagement", "--now", NOW, "--dry-run", PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID=CHANNEL
    )
    [message] = document["messages"]
    assert message["state"] == "planned"
    assert "never asked before" in message["reason"]
    assert list(store.ledger.list()) == []


def test_a_channel_that_refuses_us_is_an_error_of_the_settings_and_burns_nothing(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    discord.world.delete_channel(CHANNEL)
    assert CHANNEL in cli.error("run", "engagement", "--now", NOW, exit_code=78)
    discord.world.add_channel(CHANNEL)
    assert _run(cli)["counts"]["sent"] == 1


def test_no_channel_at_all_names_both_ways_to_set_one(cli: Cli) -> None:
    error = cli.error("run", "engagement", "--dry-run", exit_code=78)
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in error
    assert "guild set-channel" in error
