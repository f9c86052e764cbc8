"""``speakerbot templates`` as people run it, and what a broken text does to a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-21T16:05:00Z"


@pytest.fixture(autouse=True)
def talk(store: Store) -> None:
    store.talks.put([Talk("t1", "80", "kaz", "Agents", date(2026, 11, 21))])


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord().running_in_thread() as server:
        server.world.add_user("80", "kaz")
        cli.env |= {"DISCORD_API_BASE": server.base_url, "DISCORD_TOKEN": "t"}
        yield server


def test_eject_change_check_send(cli: Cli, discord: LoopbackDiscord) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "texts"
    assert "wrote texts/reminder.day_of.md" in cli.out("templates", "eject")
    (cli.folder / "texts" / "reminder.day_of.md").write_text("Your turn, {{ username }}!\n")
    assert "left texts/reminder.day_of.md as it is" in cli.out("templates", "eject")
    assert "texts are fine" in cli.out("templates", "check")
    cli.out("run", "reminders", "--now", NOW)
    assert [message.content for message in discord.messages] == ["Your turn, kaz!"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_broken_text_fails_the_messages_that_use_it_until_it_is_corrected(
    cli: Cli, discord: LoopbackDiscord, dry_run: bool
) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    (cli.folder / "reminder.day_of.md").write_text("Hi\n{{ nope }}")
    assert "line 2: 'nope' is unknown" in cli.error("templates", "check", exit_code=78)
    done = cli.run("run", "reminders", "--now", NOW, "--json", *(["--dry-run"] * dry_run))
    document = json.loads(done.stdout)
    assert done.returncode == 78
    [message] = document["messages"]
    assert (message["state"], message["text"]) == ("failed", "")
    assert "reminder.day_of.md, line 2: 'nope' is unknown" in message["reason"]
    assert document["counts"]["failed"] == {"config": 1}
    assert discord.requests == []
    (cli.folder / "reminder.day_of.md").unlink()
    cli.out("run", "reminders", "--now", NOW)
    assert len(discord.messages) == 1


def test_a_broken_text_that_no_message_uses_stops_nothing(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    (cli.folder / "reminder.days.md").write_text("{{ nope }}")
    cli.out("run", "reminders", "--now", NOW)
    assert len(discord.messages) == 1


def test_a_text_that_fails_for_one_talk_blocks_no_other_and_names_it(
    cli: Cli, discord: LoopbackDiscord, store: Store
) -> None:
    store.talks.put([Talk("t2", "43", "bea", "Kites", date(2026, 11, 22))])
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    for name in ("reminder.day_of", "reminder.day_before"):
        (cli.folder / f"{name}.md").write_text("{% if topic != 'Kites' %}Soon!{% endif %}")
    schedule = ("--schedule", "reminders", "--cron", "@hourly", "--timezone", "UTC")
    for minute in ("05", "25"):
        now = NOW.replace(":05:", f":{minute}:")
        done = cli.run("run", "reminders", "--now", now, *schedule)
        assert done.returncode == 78
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        [warning] = [line for line in lines if line["event"] == "message_failed"]
        assert (warning["subject"], warning["template"]) == ("talk:t2", "reminder.day_before")
        assert warning["level"] == "warning"
        assert [message.content for message in discord.messages] == ["Soon!"]
    assert list(store.ledger.find("talk:t2")) == [], "no attempt was made"
    (cli.folder / "reminder.day_before.md").unlink()
    cli.out("run", "reminders", "--now", NOW.replace(":05:", ":45:"), *schedule)
    assert len(discord.messages) == 2


def test_a_run_with_nothing_due_asks_for_no_text(cli: Cli, discord: LoopbackDiscord) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    (cli.folder / "reminder.day_of.md").write_text("{{")
    cli.out("run", "reminders", "--now", "2026-10-01T16:05:00Z")


def test_check_names_every_problem_and_every_stranger(cli: Cli) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    (cli.folder / "reminder.day_of.md").write_text("{% for a in range(60000) %}{% endfor %}")
    (cli.folder / "reminder.days.md").write_text("\n{{ topic.__class__ }}")
    (cli.folder / "remainder.hours.md").write_text("text")
    done = cli.run("templates", "check")
    assert done.returncode == 78
    assert "remainder.hours.md has no effect" in done.stdout
    assert "did you mean 'reminder.hours.md'?" in done.stdout
    assert "reminder.day_of.md, line 1: nothing can be called in a text" in done.stderr
    assert "reminder.days.md, line 2: attribute '__class__' is unknown" in done.stderr


KNOWN = (
    "asks, date, days, discord_relative, discord_time, length, link, room, speakers, starts_at, "
    "topic, username, weekday"
)


def test_show_says_what_a_text_can_use_and_how_it_comes_out(cli: Cli) -> None:
    shown = cli.out("templates", "show", "reminder.day_of")
    assert "{{ discord_time }}  e.g. <t:1795289400:F>" in shown
    assert "Your time: <t:1795289400:F> (<t:1795289400:R>). Place: Hall 2." in shown
    document = cli.json("templates", "show", "weekly")
    assert document["variables"]["talks"][0]["speakers"] == "edsger"
    assert '"Compilers" (Hall 2, <t:1795375800:F>)' in document["examples"][0]


def test_list_says_whose_wording_is_in_effect(cli: Cli) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "."
    (cli.folder / "reminder.day_of.md").write_text("text")
    rows = [line.split("\t") for line in cli.out("templates", "list").splitlines()]
    assert rows[0] == ["name", "wording", "variables"]
    assert ["reminder.day_of", "yours", KNOWN] in rows
    assert ["reminder.days", "ours", KNOWN] in rows
    [listed] = [
        text
        for text in cli.json("templates", "list")["templates"]
        if text["name"] == "reminder.day_of"
    ]
    assert listed["overridden"] is True


def test_show_gives_the_text_its_variables_and_how_it_comes_out(cli: Cli) -> None:
    shown = cli.out("templates", "show", "reminder.day_of")
    assert shown.startswith("Hi {{ username }}!")
    assert "{{ topic }}  e.g. Notes on the *Analytical* Engine" in shown
    assert r"\*Analytical\*" in shown
    document = cli.json("templates", "show", "reminder.day_of")
    assert document["overridden"] is False
    assert document["variables"]["username"] == "ada"
    assert document["examples"][0].startswith("Hi ada!")


def test_an_unknown_name_is_answered_with_those_there_are(cli: Cli) -> None:
    assert "reminder.day_before, reminder.day_of" in cli.error(
        "templates", "show", "nope", exit_code=65
    )


def test_eject_wants_to_be_told_where(cli: Cli) -> None:
    assert "add --folder DIR, or set SPEAKERBOT_TEMPLATES" in cli.error(
        "templates", "eject", exit_code=2
    )
    assert list(cli.folder.glob("*.md")) == []
    said = cli.out("templates", "eject", "--folder", "a/b", "--dry-run")
    assert "would write a/b/reminder.day_of.md" in said
    assert not (cli.folder / "a").exists()
    assert "set SPEAKERBOT_TEMPLATES=a/b" in cli.out("templates", "eject", "--folder", "a/b")
    assert (cli.folder / "a" / "b" / "reminder.day_of.md").is_file()


def test_a_folder_that_is_not_there_is_a_clear_error(cli: Cli) -> None:
    cli.env["SPEAKERBOT_TEMPLATES"] = "nowhere"
    assert "SPEAKERBOT_TEMPLATES: there is no folder" in cli.error(
        "templates", "check", exit_code=78
    )
