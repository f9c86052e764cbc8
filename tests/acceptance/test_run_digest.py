"""``run digest`` as a scheduler starts it, against a loopback Discord."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.clock import real_now
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

CHANNEL = "1201234567890123999"


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": "token",
            "DISCORD_API_BASE": running.base_url,
            "DISCORD_LOGS_CHANNEL_ID": CHANNEL,
        }
        yield running


def _run(cli: Cli, now: str, *args: str) -> Any:
    return cli.json("run", "digest", "--now", now, *args)


def test_it_tells_what_really_happened_once_a_day(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    """The ledger keeps real time, so the day is today's."""
    today = real_now().replace(hour=17, minute=0)
    talk = Talk("t1", "1", "ada", "Analytical engines", today.date())
    unreachable = Talk("t2", "2", "grace", "Compilers", today.date() + timedelta(days=1))
    store.talks.put([talk, unreachable])
    store.people.put([Person("p", name="Edsger", opted_out=frozenset({"all"}))])
    discord.world.close_dms("2")
    now = today.isoformat()
    reminded = cli.json("run", "reminders", "--now", now)
    assert (reminded["counts"]["sent"], reminded["counts"]["undeliverable"]) == (1, 1)
    assert _run(cli, now)["counts"]["sent"] == 1
    [digest] = [message for message in discord.messages if message.channel_id == CHANNEL]
    counted = "1 sent, 0 failed and to be tried again, 1 undeliverable, 0 unknown."
    assert counted in digest.content
    assert '- ada: "Analytical engines"' in digest.content.replace(f"**{today.date()}** ", "")
    assert "Edsger (all)" in digest.content
    requests = len(discord.requests)
    again = _run(cli, today.replace(hour=23).isoformat())
    assert [message["state"] for message in again["messages"]] == ["already_sent"]
    assert len(discord.requests) == requests
    tomorrow = (today + timedelta(days=1)).isoformat()
    assert _run(cli, tomorrow)["counts"]["sent"] == 1


def test_a_dry_run_needs_no_token(cli: Cli) -> None:
    document = cli.json("run", "digest", "--dry-run", DISCORD_LOGS_CHANNEL_ID=CHANNEL)
    assert [message["state"] for message in document["messages"]] == ["planned"]


def test_a_channel_that_refuses_us_is_an_error_of_the_settings_and_burns_nothing(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    now = real_now().isoformat()
    discord.world.forbid(CHANNEL, send=True)
    assert CHANNEL in cli.error("run", "digest", "--now", now, exit_code=78)
    discord.world.forbid(CHANNEL)
    assert _run(cli, now)["counts"]["sent"] == 1


def test_without_a_channel_it_names_the_setting(cli: Cli) -> None:
    error = cli.error("run", "digest", "--dry-run", exit_code=78)
    assert "DISCORD_LOGS_CHANNEL_ID" in error
