"""``run weekly`` as a scheduler starts it, against a loopback Discord."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.delivery import DeliveryChange
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, DiscordMessage, Fault, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

CHANNEL = "1201234567890123400"
BOT = "1400000000000000000"
MONDAY = "2026-11-16T17:00:00Z"
LATER = "2026-11-16T18:00:00Z"
LONG = "x" * 900
HEADING = "## Upcoming Talks\n\n"


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": "token",
            "DISCORD_API_BASE": running.base_url,
            "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": CHANNEL,
        }
        yield running


@pytest.fixture(autouse=True)
def _two_talks(store: Store) -> None:
    _book(store, 17, 22)


def _book(store: Store, *days: int, topic: str = "Topic") -> None:
    """Talks on these days of November 2026."""
    talks = [Talk(f"t{day}", str(day), "ada", topic, date(2026, 11, day)) for day in days]
    store.talks.put(talks)


def _run(cli: Cli, now: str = MONDAY, *args: str, **env: str) -> Any:
    return cli.json("run", "weekly", "--now", now, *args, **env)


def _edit(cli: Cli, now: str = LATER, *args: str) -> Any:
    return _run(cli, now, "--edit-only", *args, SPEAKERBOT_WEEKLY_MODE="edit")


def _states(document: Any) -> list[str]:
    return [message["state"] for message in document["messages"]]


def _shown(discord: LoopbackDiscord) -> list[str]:
    """What stands in the channel, oldest first."""
    return [message.content for message in discord.messages if not message.deleted]


def _ours(discord: LoopbackDiscord) -> list[DiscordMessage]:
    return [message for message in discord.messages if message.nonce is not None]


def test_it_posts_the_week_once(cli: Cli, discord: LoopbackDiscord) -> None:
    document = _run(cli)
    [message] = document["messages"]
    assert message["key"] == f"weekly/schedule/channel:{CHANNEL}/2026-W47"
    assert (message["state"], message["route"]) == ("sent", "channel")
    assert document["counts"]["sent"] == 1
    assert _shown(discord) == [
        f'{HEADING}1. **2026-11-17** - ada: "Topic"\n2. **2026-11-22** - ada: "Topic"'
    ]
    requests = len(discord.requests)
    again = _run(cli, "2026-11-22T23:59:00Z")
    assert _states(again) == ["already_sent"]
    assert len(discord.requests) == requests, "nothing to do asks Discord nothing"


def test_a_run_with_nothing_to_do_loads_neither_discord_nor_jinja(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    _run(cli)
    done = cli.run("run", "weekly", "--now", MONDAY, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "speakerbot.runs.routes" in loaded
    assert not loaded & {"discord", "jinja2", "aiohttp", "pymongo"}


def test_the_next_week_is_another_post(cli: Cli, discord: LoopbackDiscord) -> None:
    _run(cli)
    _run(cli, "2026-11-23T17:00:00Z")
    assert len(discord.messages) == 2
    assert "No talks are scheduled for this week" in discord.messages[1].content


def test_a_schedule_runs_an_occurrence_once(cli: Cli, discord: LoopbackDiscord) -> None:
    schedule = ("--cron", "0 17 * * MON", "--timezone", "America/Los_Angeles", "--grace", "24h")
    first = _run(cli, "2026-11-17T02:00:00Z", *schedule)
    assert first["occurrence"] == "2026-11-17T01:00:00Z"
    assert _states(first) == ["sent"]
    second = _run(cli, "2026-11-17T03:00:00Z", *schedule)
    assert second["skipped_because"] == "already_done"
    assert len(discord.messages) == 1


def test_a_dry_run_needs_no_token_and_says_that_it_does_not_look(cli: Cli, store: Store) -> None:
    document = _run(cli, MONDAY, "--dry-run", PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID=CHANNEL)
    [message] = document["messages"]
    assert message["state"] == "planned"
    assert message["text"].startswith(HEADING)
    assert "a dry run does not look" in message["reason"]
    assert store.ledger.get([message["key"]]) == {}


def test_a_long_schedule_arrives_in_parts_in_order(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _book(store, *range(16, 23), topic=LONG)
    assert _states(_run(cli)) == ["sent"] * 4
    numbers = [
        line[0] for text in _shown(discord) for line in text.splitlines() if line[:1].isdigit()
    ]
    assert numbers == ["1", "2", "3", "4", "5", "6", "7"]
    assert _states(_run(cli)) == ["already_sent"] * 4
    assert len(discord.messages) == 4


def test_a_part_that_fails_keeps_back_those_after_it(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _book(store, *range(16, 23), topic=LONG)
    discord.inject(Fault(kind="error", on="create_message", status=503, nth=2))
    document = _run(cli)
    assert document["counts"]["failed"] == {"service": 1}
    assert document["counts"]["skipped"] == {"in_order": 2}
    assert sorted(_states(document)) == ["failed", "held_back", "held_back", "sent"]
    assert len(discord.messages) == 1
    waiting = _run(cli)
    assert _states(waiting) == ["already_sent", "failed", "held_back", "held_back"]


def test_two_runs_at_once_post_once_and_in_order(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _book(store, *range(16, 23), topic=LONG)
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda _: _run(cli), range(2)))
    _run(cli)
    texts = _shown(discord)
    assert len(texts) == 4
    assert texts[0].startswith(HEADING)
    assert [text[0] for text in texts[1:]] == ["3", "5", "7"]


def test_the_bots_own_post_of_the_week_counts(cli: Cli, discord: LoopbackDiscord) -> None:
    discord.world.post(CHANNEL, "42", f"{HEADING}says somebody else")
    by_the_bot = discord.world.post(CHANNEL, BOT, f"{HEADING}1. **2026-11-17** - ada: …")
    now = _now()
    document = _run(cli, now)
    [message] = document["messages"]
    assert message["state"] == "already_sent"
    assert message["text"] == by_the_bot.content
    assert document["counts"]["already_sent"] == 1
    assert _ours(discord) == []
    shown = cli.json("deliveries", "show", message["key"])
    assert shown["message_id"] == by_the_bot.id
    assert _states(_run(cli, now)) == ["already_sent"]


def test_beside_no_node_bot_nobody_looks(cli: Cli, discord: LoopbackDiscord) -> None:
    discord.world.post(CHANNEL, BOT, HEADING)
    assert _states(_run(cli, _now(), NODE_BOT_COEXIST="false")) == ["sent"]
    assert [request.operation for request in discord.requests] == ["create_message"]


def test_a_post_of_ours_is_not_taken_for_the_bots(cli: Cli, discord: LoopbackDiscord) -> None:
    """The ledger knows it; a week that begins within minutes of it gets its own."""
    _run(cli, "2026-11-15T23:00:00Z")
    _run(cli, "2026-11-16T00:00:00Z")
    assert len(_ours(discord)) == 2


def test_an_edit_keeps_the_post_true(cli: Cli, discord: LoopbackDiscord, store: Store) -> None:
    _run(cli)
    _book(store, 18, 23)
    planned = _edit(cli, LATER, "--dry-run")
    assert _states(planned) == ["planned"]
    assert planned["messages"][0]["reason"].startswith("edit")
    assert "2026-11-18" in planned["messages"][0]["text"]
    edited = _edit(cli)
    assert _states(edited) == ["sent"]
    [post] = discord.messages
    assert len(post.edits) == 1
    assert "2. **2026-11-18**" in post.content
    assert "2026-11-23" not in post.content, "it was not among the days of the post"
    requests = len(discord.requests)
    assert _states(_edit(cli)) == ["already_sent"]
    assert len(discord.requests) == requests


def test_an_edit_run_posts_no_first_one(cli: Cli, discord: LoopbackDiscord) -> None:
    assert _edit(cli)["counts"]["skipped"] == {"nothing_posted": 1}
    assert discord.messages == []


def test_an_edit_that_fails_is_tried_again_and_keeps_its_occurrence_open(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    scheduled = ("--cron", "@hourly", "--schedule", "weekly-edit")
    _run(cli)
    _book(store, 18)
    discord.inject(Fault(kind="lost_response", on="update_message"))
    failed = _edit(cli, LATER, *scheduled)
    assert sum(failed["counts"]["failed"].values()) == 1
    [record] = store.ledger.list()
    assert (record.state, record.edit_failures, record.attempts) == ("sent", 1, 1)
    assert record.retry_at is not None
    waiting = _edit(cli)
    assert _states(waiting) == ["failed"]
    assert waiting["counts"]["skipped"] == {"retry_later": 1}
    due = DeliveryChange(record, record._replace(retry_at=None, revision="due"))
    assert store.ledger.swap([due])
    occurrence = store.occurrences.get("weekly-edit", datetime(2026, 11, 16, 18, tzinfo=UTC))
    assert occurrence is not None
    assert occurrence.standing == "open"
    assert store.occurrences.swap(
        "weekly-edit", occurrence, occurrence._replace(retry_at=None, revision="due")
    )
    assert _states(_edit(cli, "2026-11-16T18:20:00Z", *scheduled)) == ["sent"]
    assert "2026-11-18" in discord.messages[0].content
    done = _edit(cli, "2026-11-16T18:40:00Z", *scheduled)
    assert done["skipped_because"] == "already_done"


def test_in_edit_mode_a_plain_run_edits_too_and_posts_what_is_missing(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    assert _states(_run(cli, SPEAKERBOT_WEEKLY_MODE="edit")) == ["sent"]
    _book(store, 18)
    assert _states(_run(cli, LATER, SPEAKERBOT_WEEKLY_MODE="edit")) == ["sent"]
    [post] = discord.messages
    assert "2. **2026-11-18**" in post.content
    assert _states(_run(cli, LATER, SPEAKERBOT_WEEKLY_MODE="edit")) == ["already_sent"]


def test_in_post_mode_a_booking_changes_nothing_however_long_the_week(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _book(store, 17, 22, topic=LONG)
    assert _states(_run(cli)) == ["sent"]
    _book(store, 18, 19, topic=LONG)
    for now in (MONDAY, LATER, "2026-11-17T09:00:00Z"):
        assert _states(_run(cli, now)) == ["already_sent"]
    assert len(discord.messages) == 1


def test_a_crash_between_two_parts_and_changes_meanwhile(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    """Each talk of the first list that is left, exactly once; a later booking not at all."""
    _book(store, *range(17, 23), topic=LONG)
    discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message", nth=2))
    assert sorted(_states(_run(cli))) == ["failed", "held_back", "sent"]
    store.talks.delete("t18")
    store.talks.delete("t19")
    _book(store, 16, topic="Topic")
    for record in store.ledger.list(state="failed"):
        due = record._replace(retry_at=None, revision="due")
        store.ledger.swap([DeliveryChange(record, due)])
    _run(cli, LATER)
    lines = [line for text in _shown(discord) for line in text.splitlines() if line[:1].isdigit()]
    days = [line.partition("**")[2][:10] for line in lines]
    assert days == [f"2026-11-{day}" for day in (17, 18, 20, 21, 22)]
    assert [line[0] for line in lines] == list("12345")


def test_the_schedule_that_edits_is_off_without_a_word_unless_posts_are_edited(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    args = ("run", "weekly", "--edit-only", "--schedule", "weekly-edit", "--now", MONDAY)
    shipped = {"SPEAKERBOT_SCHEDULES": str(Path(__file__).parents[2] / "deploy/schedules.json")}
    done = cli.run(*args, "--json", **shipped)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["skipped_because"] == "disabled"
    document = cli.json(*args, **shipped, SPEAKERBOT_WEEKLY_MODE="edit")
    assert document["counts"]["skipped"] == {"nothing_posted": 1}


def test_a_deleted_post_is_posted_again_once(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _run(cli)
    discord.world.delete_message(discord.messages[0].id)
    _book(store, 18)
    document = _edit(cli)
    assert document["counts"]["skipped"] == {"deleted": 1}
    assert document["messages"][-1]["key"].endswith("/2026-W47/again")
    assert len(_shown(discord)) == 1
    assert "2026-11-18" in _shown(discord)[0]
    assert _states(_edit(cli)) == ["already_sent"]
    discord.world.delete_message(discord.messages[1].id)
    _book(store, 19)
    _edit(cli)
    _edit(cli)
    assert _shown(discord) == []


def test_a_schedule_that_grows_gets_another_part(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _run(cli)
    _book(store, *range(16, 23), topic=LONG)
    assert _states(_edit(cli)) == ["sent"] * 4
    assert [text[0] for text in _shown(discord)] == ["#", "3", "5", "7"]
    for day in range(18, 23):
        store.talks.delete(f"t{day}")
    _edit(cli)
    assert _shown(discord)[1:] == ["*Nothing more this week.*"] * 3
    assert _states(_edit(cli)) == ["already_sent"] * 4


def test_a_channel_that_refuses_us_is_an_error_of_the_settings_and_burns_nothing(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    discord.world.forbid(CHANNEL, read=True)
    error = cli.error("run", "weekly", "--now", MONDAY, exit_code=78)
    assert CHANNEL in error
    assert "cannot see this channel" in error
    discord.world.forbid(CHANNEL)
    assert _states(_run(cli)) == ["sent"]


def test_no_channel_at_all_names_both_ways_to_set_one(cli: Cli) -> None:
    error = cli.error("run", "weekly", "--dry-run", exit_code=78)
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in error
    assert "guild set-channel" in error


def test_only_one_persons_messages_are_no_posts(cli: Cli, discord: LoopbackDiscord) -> None:
    assert _run(cli, MONDAY, "--only", "17")["messages"] == []
    assert discord.messages == []


def test_a_switch_turns_it_off_loudly(cli: Cli, discord: LoopbackDiscord) -> None:
    done = cli.run("run", "weekly", "--now", MONDAY, PROACTIVE_WEEKLY_ENABLED="false")
    assert done.returncode == 0
    assert "run_skipped" in done.stderr
    assert "disabled" in done.stderr
    assert discord.messages == []


def test_a_part_whose_text_cannot_be_made_keeps_back_those_after_it(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    _book(store, *range(16, 23), topic=LONG)
    (cli.folder / "weekly.md").write_text("{% if part != 2 %}Part {{ part }}{% endif %}")
    for dry in (["--dry-run"], []):
        done = cli.run("run", "weekly", "--now", MONDAY, *dry, "--json", SPEAKERBOT_TEMPLATES=".")
        assert done.returncode == 78
        document = json.loads(done.stdout)
        sent = "planned" if dry else "sent"
        assert sorted(_states(document)) == sorted([sent, "failed", "held_back", "held_back"])
    assert _shown(discord) == ["Part 1"]
    _run(cli, LATER)
    assert len(_shown(discord)) == 4


def test_an_override_changes_the_text_and_a_broken_one_stops_the_post(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    (cli.folder / "texts").mkdir()
    own = cli.folder / "texts" / "weekly.md"
    own.write_text("Talks: {% for talk in talks %}{{ talk.topic }} {% endfor %}")
    assert _run(cli, SPEAKERBOT_TEMPLATES="texts")["messages"][0]["text"] == "Talks: Topic Topic"
    own.write_text("{{ talk }}")
    _book(store, 24)
    later = "2026-11-23T17:00:00Z"
    error = cli.error(
        "run", "weekly", "--now", later, exit_code=78, SPEAKERBOT_TEMPLATES=str(Path("texts"))
    )
    assert "weekly.md, line 1" in error
    assert len(discord.messages) == 1


def _now() -> str:
    """The present: what the loopback dates other people's posts with."""
    from speakerbot.clock import real_now

    return real_now().isoformat()
