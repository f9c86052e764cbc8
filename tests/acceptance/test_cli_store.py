"""``speakerbot store``: one community a store, what is in it, and what is forgotten when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.clock import real_now
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.ports.store import Store
from speakerbot.stores.sqlite.schema import STEPS
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
RUN = ("run", "reminders", "--now", NOW)
ONE, OTHER = "1201234567890123400", "1201234567890123499"


def owner(cli: Cli) -> Any:
    return cli.json("store", "info")["guild_id"]


def test_the_first_run_that_sends_takes_the_store_for_its_community(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    cli.json(*RUN, "--dry-run", DISCORD_GUILD_ID=ONE)
    assert owner(cli) is None
    cli.json(*RUN, DISCORD_GUILD_ID=ONE)
    assert owner(cli) == ONE
    assert len(discord.messages) == 2


def test_another_communitys_run_sends_nothing_and_names_both(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    store.marks.swap("guild", None, ONE)
    error = cli.error(*RUN, exit_code=78, DISCORD_GUILD_ID=OTHER)
    assert ONE in error
    assert OTHER in error
    assert "another database name" in error
    assert discord.messages == []
    assert list(store.ledger.list()) == []
    assert owner(cli) == ONE


def test_another_communitys_occurrence_stays_open(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    store.marks.swap("guild", None, ONE)
    cli.error(*RUN, "--cron", "@hourly", exit_code=78, DISCORD_GUILD_ID=OTHER)
    cli.json(*RUN, "--cron", "@hourly", DISCORD_GUILD_ID=ONE)
    assert len(discord.messages) == 2


def test_without_a_guild_nothing_is_recorded_or_checked(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    cli.json(*RUN)
    assert owner(cli) is None
    store.marks.swap("guild", None, ONE)
    cli.json("run", "reminders", "--now", "2026-11-21T16:05:00Z")
    assert len(discord.messages) > 2


def test_what_is_not_due_does_not_look_whose_the_store_is(
    cli: Cli, store: Store, discord: LoopbackDiscord
) -> None:
    store.marks.swap("guild", None, ONE)
    assert cli.json(*RUN, DISCORD_GUILD_ID=OTHER)["messages"] == []


def test_a_store_is_handed_over_only_on_purpose(cli: Cli, store: Store) -> None:
    store.marks.swap("guild", None, ONE)
    assert "--yes" in cli.misused("store", "set-guild", OTHER)
    shown = cli.json("store", "set-guild", OTHER, "--dry-run")
    assert shown == {"guild_id": OTHER, "before": ONE, "changed": True, "dry_run": True}
    assert owner(cli) == ONE
    assert cli.out("store", "set-guild", OTHER, "--yes") == (
        f"the store now belongs to guild {OTHER} (before: guild {ONE})\n"
    )
    assert owner(cli) == OTHER
    assert "unchanged" in cli.out("store", "set-guild", OTHER)
    assert "Discord" in cli.misused("store", "set-guild", "mine", "--yes")


def test_the_store_is_shown_with_its_place_version_and_counts(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    cli.out(*RUN)
    shown = cli.json("store", "info", DISCORD_GUILD_ID=OTHER)
    assert str(samples) in shown["place"]
    assert shown["schema_version"] == len(STEPS)
    assert (shown["guild_id"], shown["configured_guild_id"]) == (None, OTHER)
    assert shown["counts"]["deliveries"] == {"sent": 2}
    assert shown["counts"]["talks"] > 2
    plain = dict(line.split("\t") for line in cli.out("store", "info").splitlines())
    assert plain["deliveries sent"] == "2"
    assert plain["schema_version"] == str(len(STEPS))


def old(name: str, days: int) -> Delivery:
    at = real_now() - timedelta(days=days)
    key, state = f"kind/{name}/user:1/2026", DeliveryState.SENT
    return Delivery(key, "kind", "user:1", state, "1", "run", at, at, at, at, text="private")


def texts(store: Store) -> dict[str, str]:
    return {record.key.split("/")[1]: record.text for record in store.ledger.list()}


def fill(store: Store) -> None:
    records = (old("ancient", 401), old("old", 100), old("young", 3))
    store.ledger.swap([DeliveryChange(None, record) for record in records])


LEFT = {"old": "", "young": "private"}


def test_pruning_by_hand_says_what_it_forgets(cli: Cli, store: Store) -> None:
    fill(store)
    was_read = InboxMessage("old", "user:1", "private", real_now() - timedelta(days=31), real_now())
    store.inbox.put(was_read)
    shown = {
        "deliveries": 1,
        "texts": 1,
        "inbox_messages": 1,
        "answers": 0,
        "runs": 0,
        "older_than": "400d",
    }
    assert cli.json("store", "prune", "--dry-run") == {**shown, "dry_run": True}
    assert len(texts(store)) == 3
    assert store.inbox.get(["old"]) == {"old": was_read}
    assert cli.json("store", "prune") == {**shown, "dry_run": False}
    assert texts(store) == LEFT
    assert store.inbox.get(["old"]) == {}
    assert "would forget 1 deliveries" in cli.out("store", "prune", "--older-than", "60d",
                                                  "--dry-run")  # fmt: skip
    assert "at least 30d" in cli.misused("store", "prune", "--older-than", "1d")


@pytest.mark.parametrize("command", [RUN, ("run", "due", "--now", NOW)])
def test_a_run_that_sends_and_run_due_prune_at_their_end(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store, command: tuple[str, ...]
) -> None:
    cli.env["SPEAKERBOT_SCHEDULES"] = cli.file(
        "own.json", '{"schedules": [{"name": "weekly", "job": "weekly", "cron": "0 3 * * *"}]}'
    )
    fill(store)
    cli.run(*command, "--dry-run")
    assert len(texts(store)) == 3
    cli.run(*command)
    assert {name: text for name, text in texts(store).items() if name in LEFT} == LEFT
    assert "ancient" not in texts(store)


def test_a_run_that_sends_nothing_prunes_nothing(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    fill(store)
    cli.out(*RUN)
    assert len(texts(store)) == 3
    assert store.marks.get("pruned") is None
