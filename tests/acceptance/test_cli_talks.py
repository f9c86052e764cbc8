"""``speakerbot talks``, run as people run it."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.clock import real_now
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from tests.acceptance.conftest import COMMAND, SAMPLES

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = ("--now", "2026-11-20T16:05:00Z")
KAZ, KAZ_USER = "98900893f517493faf9af27e", "802345678901234564"
SOON = (real_now() + timedelta(days=30)).date()


def add(cli: Cli, *more: str, day: date = SOON) -> str:
    args = ("--user", "802", "--name", "kaz", "--topic", "Agents", "--date", day.isoformat())
    return cli.out("talks", "add", *args, *more)


def test_list_shows_what_is_to_come_one_line_a_talk(filled: Cli) -> None:
    header, *rows = filled.out("talks", "list", *NOW).splitlines()
    assert header.split("\t") == [
        "date", "start", "speaker", "topic", "state", "id", "room", "co-speakers", "answer",
    ]  # fmt: skip
    assert [row.split("\t")[0] for row in rows] == [
        "2026-11-20", "2026-11-21", "2026-11-27", "2026-12-04", "2026-12-11", "2027-01-08",
    ]  # fmt: skip
    assert len(max(rows, key=len)) > 1900, "the long topic is not shortened in a pipe"
    assert len(filled.out("talks", "list", "--all").splitlines()) == 10


def test_add_books_a_talk_and_prints_its_id(cli: Cli) -> None:
    said = add(cli, "--at", "19:30", "--thread", "77")
    [talk] = cli.json("talks", "list")["talks"]
    assert talk["id"] in said
    assert talk["starts_at"] == "19:30"
    assert talk["start"] == f"{SOON}T19:30:00Z"
    assert (talk["user_id"], talk["thread_id"], talk["completed"]) == ("802", "77", False)
    assert talk["booked_at"].endswith("Z")


FULL = (
    "--at", "19:30", "--length", "90m", "--room", "Hall 2", "--link", "https://talks.example/1",
    "--speaker", "803=mira", "--speaker", "804=ina",
)  # fmt: skip


def test_add_takes_all_that_a_talk_has(cli: Cli) -> None:
    said = add(cli, *FULL)
    assert "19:30 kaz, mira, ina" in said
    [talk] = cli.json("talks", "list")["talks"]
    assert (talk["length"], talk["room"], talk["link"]) == (90, "Hall 2", "https://talks.example/1")
    assert [each["username"] for each in talk["speakers"]] == ["kaz", "mira", "ina"]
    _, row = cli.out("talks", "list").splitlines()
    assert row.split("\t")[-3:] == ["Hall 2", "mira, ina", ""]
    assert "speakers\tkaz (802), mira (803), ina (804)" in cli.out("talks", "show", talk["id"])
    again = add(cli, "--speaker", "mira", day=SOON + timedelta(days=1))
    assert "kaz, mira" in again, "the first talk says how to call them"
    add(cli, "--speaker", "803", day=SOON + timedelta(days=2))
    assert "Hall 2" in cli.on_terminal("talks", "list")


def test_a_dry_run_of_add_adds_nothing(cli: Cli) -> None:
    assert "would add a talk" in add(cli, *FULL, "--dry-run")
    assert cli.json("talks", "list", "--all") == {"talks": []}


def test_edit_changes_what_is_named_and_says_so(cli: Cli) -> None:
    add(cli, *FULL)
    [before] = cli.json("talks", "list")["talks"]
    change = ("--topic", "Looms", "--at", "20:00", "--clear", "room", "--speaker", "ina")
    expected = [
        "  topic: Agents → Looms",
        "  at: 19:30 → 20:00",
        "  room: Hall 2 → (none)",
        "  speaker: mira (803), ina (804) → ina (804)",
    ]
    dry = cli.out("talks", "edit", before["id"], *change, "--dry-run").splitlines()
    assert dry[0].startswith(f"would change talk {before['id']}")
    assert dry[1:] == expected
    assert cli.json("talks", "list")["talks"] == [before]
    assert cli.out("talks", "edit", str(SOON), *change).splitlines()[1:] == expected
    [after] = cli.json("talks", "list")["talks"]
    assert after == before | {
        "topic": "Looms", "starts_at": "20:00", "start": f"{SOON}T20:00:00Z", "room": None,
        "speakers": [before["speakers"][0], before["speakers"][2]],
    }  # fmt: skip
    again = cli.out("talks", "edit", before["id"], *change)
    assert again == f"nothing to change: talk {before['id']} is so already\n"


def test_edit_clears_every_field_that_a_talk_need_not_have(cli: Cli) -> None:
    add(cli, *FULL, "--thread", "77")
    fields = ("at", "length", "room", "link", "thread", "speaker")
    cleared = [part for field in fields for part in ("--clear", field)]
    talk = cli.json("talks", "edit", str(SOON), *cleared)
    assert talk["changed"] == sorted(fields)
    assert len(talk["speakers"]) == 1
    assert {talk[name] for name in ("starts_at", "length", "room", "link", "thread_id")} == {None}
    assert cli.json("talks", "edit", str(SOON), *cleared)["changed"] == []


def test_edit_hands_a_talk_over(cli: Cli) -> None:
    add(cli, *FULL)
    handed = cli.json("talks", "edit", str(SOON), "--user", "mira")
    assert (handed["user_id"], handed["username"]) == ("803", "mira")
    assert handed["changed"] == ["name", "user"]
    error = cli.error("talks", "edit", str(SOON), "--user", "805", exit_code=2)
    assert "it is not known how to call them; add --name" in error
    handed = cli.json("talks", "edit", str(SOON), "--user", "805", "--name", "eve")
    assert (handed["user_id"], handed["username"]) == ("805", "eve")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("--length", "90s"), "--length: write whole minutes"),
        (("--length", "30d"), "--length: a length of 43200 minutes is out of range"),
        (("--link", "talks.example"), "--link: 'talks.example' is not a link"),
        (("--room", " "), "--room is empty"),
        (("--speaker", "805"), "--speaker 805: it is not known how to call them"),
        (("--at", "7pm"), "'7pm' is not a clock time"),
        (("--room", "B", "--clear", "room"), "--clear room takes away what --room gives"),
        (("--clear", "topic"), "Invalid value for '--clear'"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(
    cli: Cli, change: tuple[str, ...], problem: str
) -> None:
    add(cli, *FULL)
    assert problem in cli.misused("talks", "edit", str(SOON), *change)


def test_a_start_that_clocks_skip_is_refused_with_both_choices(cli: Cli) -> None:
    cli.env["SPEAKERBOT_TIMEZONE"] = "Europe/Berlin"
    day = ("--user", "802", "--name", "kaz", "--topic", "Agents", "--date", "2027-03-28")
    said = cli.error("talks", "add", *day, "--at", "02:30", exit_code=2)
    assert "--at: 02:30 does not exist on 2027-03-28 in Europe/Berlin" in said
    assert "write 01:30 or 03:30" in said
    cli.out("talks", "add", *day, "--at", "03:30")
    assert "02:30 does not exist" in cli.error(
        "talks", "edit", "2027-03-28", "--at", "02:30", exit_code=2
    )
    cli.out("talks", "edit", "2027-03-28", "--room", "Hall 2")


def test_reschedule_and_cancel_answer_in_json(filled: Cli) -> None:
    moved = filled.json("talks", "reschedule", KAZ, "2026-12-25", "--dry-run")
    assert (moved["date"], moved["changed"]) == ("2026-12-25", ["date"])
    assert filled.json("talks", "reschedule", KAZ, "2026-11-21")["changed"] == []
    assert filled.json("talks", "cancel", KAZ, "--yes")["id"] == KAZ


@pytest.mark.parametrize("user", ["kaz-id", "Kaz", f"<@{KAZ_USER}>"])
def test_add_takes_a_person_by_their_own_id_name_or_mention(cli: Cli, user: str) -> None:
    person = {"id": "kaz-id", "discord_user_id": KAZ_USER, "name": "kaz"}
    cli.file("people.jsonl", json.dumps(person))
    cli.out("people", "import", "people.jsonl")
    talk = cli.json("talks", "add", "--user", user, "--name", "kaz", "--topic", "Agents",
                    "--date", SOON.isoformat())  # fmt: skip
    assert talk["user_id"] == KAZ_USER


def test_add_refuses_a_person_without_a_discord_id(cli: Cli) -> None:
    cli.file("people.jsonl", '{"id": "ina-id", "name": "Ina"}')
    cli.out("people", "import", "people.jsonl")
    args = ("--name", "Ina", "--topic", "Agents", "--date", SOON.isoformat())
    error = cli.error("talks", "add", "--user", "ina", *args, exit_code=65)
    assert "Ina (ina-id) has no Discord id" in error


def test_a_booking_in_the_past_is_made_and_remarked_on(cli: Cli) -> None:
    assert "2020-01-01 is over, so no reminder will be sent" in add(cli, day=date(2020, 1, 1))


def test_a_date_may_hold_several_talks_and_names_one_only_if_there_is_one(filled: Cli) -> None:
    args = ("--user", "1", "--name", "x", "--topic", "y", "--date", "2026-11-21")
    added = filled.json("talks", "add", *args)["id"]
    for command in (("show",), ("cancel", "--yes"), ("reschedule", "2026-12-24")):
        name, *rest = command
        error = filled.misused("talks", name, "2026-11-21", *rest)
        assert "2 talks are on 2026-11-21; give the id of one" in error
        assert KAZ in error
        assert added in error
    assert "2 talks are on" in filled.misused("explain", "talk", "2026-11-21")
    filled.out("talks", "cancel", added, "--yes")
    assert filled.json("talks", "show", "2026-11-21")["id"] == KAZ


@pytest.mark.parametrize(
    ("change", "exit_code", "problem"),
    [
        ({"--user": "nobody"}, 65, "no person is known as 'nobody'"),
        ({"--user": "1" * 30}, 2, "is not a Discord id"),
        ({"--topic": " "}, 2, "--topic is empty"),
        ({"--date": "tomorrow"}, 2, "'tomorrow' is not a date"),
        ({"--date": "2026-02-30"}, 2, "'2026-02-30' is not a date"),
        ({"--date": "9999-12-31"}, 2, "9999-12-31 is out of range"),
        ({"--date": "1969-12-31"}, 2, "1969-12-31 is out of range"),
        ({"--at": "7pm"}, 2, "'7pm' is not a clock time"),
        ({"--thread": "#talks"}, 2, "--thread: '#talks' is not a Discord id"),
    ],
)
def test_a_booking_that_makes_no_sense_is_refused(
    cli: Cli, change: dict[str, str], exit_code: int, problem: str
) -> None:
    given = {"--user": "1", "--name": "x", "--topic": "y", "--date": SOON.isoformat()} | change
    args = [part for pair in given.items() for part in pair]
    done = cli.run("talks", "add", *args)
    assert done.returncode == exit_code
    assert problem in done.stderr
    assert cli.json("talks", "list", "--all") == {"talks": []}


@pytest.mark.parametrize("day", ["9999-12-31", "3000-01-01", "1969-12-31", "0001-01-01"])
def test_no_talk_can_be_moved_out_of_the_calendar(filled: Cli, day: str) -> None:
    said = filled.misused("talks", "reschedule", KAZ, day)
    assert f"{day} is out of range" in said
    assert filled.json("talks", "show", KAZ)["date"] == "2026-11-21"


@pytest.mark.parametrize("day", ["1970-01-01", "2999-12-31"])
def test_everything_can_be_asked_about_a_talk_at_the_end_of_the_calendar(
    cli: Cli, day: str
) -> None:
    cli.env["SPEAKERBOT_SCHEDULES"] = str(Path(__file__).parents[2] / "deploy" / "schedules.json")
    cli.env["SPEAKERBOT_TIMEZONE"] = "Pacific/Kiritimati"
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = "999d@16:00,9999h,0d@16:00"
    add(cli, "--at", "23:59", day=date.fromisoformat(day))
    talk = day
    dry, noon = ("--dry-run", "--now", f"{day}T12:00:00Z"), f"{day}T23:59:59-12:00"
    for command in (
        ("talks", "list", "--all"),
        ("talks", "show", talk),
        ("talks", "export"),
        ("talks", "export", "--format", "ics"),
        ("explain", "talk", talk),
        ("explain", "talk", talk, "--now", noon),
        ("preview", "--days", "3", "--now", f"{day}T00:00:00Z"),
        ("run", "reminders", *dry),
        ("run", "changes", *dry),
    ):
        cli.out(*command)


def test_a_talk_that_others_have_put_outside_of_the_calendar_stops_nothing(
    cli: Cli, store: Store
) -> None:
    store.talks.put([Talk("far", "1", "ada", "x", date.max)])
    for command in (
        ("talks", "list", "--all"),
        ("talks", "export", "--format", "ics"),
        ("run", "reminders", "--dry-run"),
        ("run", "changes", "--dry-run"),
    ):
        assert "far" not in cli.out(*command)


def test_show_names_a_talk_by_id_or_date_with_its_messages(filled: Cli, store: Store) -> None:
    by_id, by_date = (filled.json("talks", "show", name, *NOW) for name in (KAZ, "2026-11-21"))
    assert by_id == by_date
    assert by_id["username"] == "kaz"
    assert by_id["deliveries"] == []
    assert "topic\tAgents that" in filled.out("talks", "show", KAZ)


@pytest.mark.parametrize("command", [["show"], ["cancel", "--yes"], ["reschedule"]])
def test_an_unknown_talk_is_an_error_that_says_where_to_look(cli: Cli, command: list[str]) -> None:
    more = ["2026-12-01"] if command == ["reschedule"] else []
    error = cli.error("talks", *command, "2026-11-21", *more, exit_code=65)
    assert "there is no talk '2026-11-21'; `speakerbot talks list --all`" in error


@pytest.mark.parametrize(
    "command", [["talks", "show"], ["talks", "cancel", "--yes"], ["explain", "talk"]]
)
def test_a_talk_whose_date_cannot_be_read_is_not_called_missing(
    filled: Cli, command: list[str]
) -> None:
    with closing(sqlite3.connect(filled.folder / "store.db")) as hands, hands:
        hands.execute("UPDATE talks SET date = 'soon' WHERE id = ?", (KAZ,))
    error = filled.error(*command, KAZ, exit_code=65)
    assert f"talk {KAZ!r} is in the store but hidden: its date is the text 'soon'" in error
    assert "there is no talk" not in error


def test_reschedule_moves_a_talk_and_keeps_everything_else(filled: Cli) -> None:
    before = filled.json("talks", "show", KAZ)
    said = filled.out("talks", "reschedule", "2026-11-21", "2026-12-25")
    assert said.startswith(f"moved talk {KAZ} (kaz, ")
    assert "2026-11-21 → 2026-12-25" in said
    assert filled.json("talks", "show", KAZ) == before | {"date": "2026-12-25"}
    assert "is on 2026-12-25 already" in filled.out("talks", "reschedule", KAZ, "2026-12-25")


def test_cancel_deletes_a_talk_as_the_node_bot_does(filled: Cli) -> None:
    said = filled.out("talks", "cancel", "2026-11-21", "--yes")
    assert said.startswith(f"cancelled talk {KAZ} on 2026-11-21 (kaz, ")
    assert len(filled.json("talks", "list", "--all")["talks"]) == 8


def test_cancel_does_not_happen_unasked(filled: Cli) -> None:
    """In a script nobody can be asked, so it has to say --yes."""
    error = filled.error("talks", "cancel", KAZ, exit_code=2)
    assert "needs --yes" in error
    assert filled.json("talks", "show", KAZ)["username"] == "kaz"


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 9), (b"y\n", 8)])
def test_on_a_terminal_cancel_asks_and_does_what_it_is_told(
    filled: Cli, answer: bytes, left: int
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    try:
        done = subprocess.run(
            [COMMAND, "talks", "cancel", KAZ],
            env=filled.env,
            cwd=filled.folder,
            stdin=theirs,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"Cancel talk {KAZ} on 2026-11-21 (kaz, " in done.stderr
    assert done.stdout.startswith("cancelled" if left == 8 else "nothing was cancelled")
    assert len(filled.json("talks", "list", "--all")["talks"]) == left


@pytest.mark.parametrize(
    "command",
    [
        ["add", "--user", "1", "--name", "x", "--topic", "y", "--date", "2027-05-05"],
        ["reschedule", KAZ, "2027-05-05"],
        ["cancel", KAZ],
        ["import", str(SAMPLES)],
    ],
    ids=lambda command: str(command[0]),
)
def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    filled: Cli, command: list[str]
) -> None:
    filled.out("talks", "cancel", "2026-12-04", "--yes")
    before = filled.json("talks", "list", "--all")
    assert "would " in filled.out("talks", *command, "--dry-run").splitlines()[-1]
    assert filled.json("talks", "list", "--all") == before


def test_a_topic_cannot_steer_the_terminal(cli: Cli) -> None:
    """Topics are typed by strangers: no escape sequence of theirs is printed."""
    cli.file("talks.jsonl", json.dumps(document("\x1b[2J\x1b]0;owned\x07 two\nlines\ttabs")))
    cli.out("talks", "import", "talks.jsonl")
    for command in (["list", "--all"], ["show", "2026-11-21"], ["cancel", "2026-11-21", "--yes"]):
        printed = cli.out("talks", *command)
        assert not {"\x1b", "\x07"} & set(printed)
        assert "owned" in printed


def document(topic: str) -> dict[str, Any]:
    return {
        "discordUserId": KAZ_USER,
        "discordUsername": "kaz",
        "topic": topic,
        "scheduledDate": {"$date": "2026-11-21T00:00:00Z"},
    }


def test_nothing_but_results_is_on_standard_output(filled: Cli) -> None:
    done = filled.run("talks", "cancel", KAZ, "--yes")
    assert done.stdout.startswith("cancelled")
    [event] = [json.loads(line) for line in done.stderr.splitlines()]
    assert event["event"] == "store_opened"
    assert event["store"].endswith("store.db")


def test_talks_written_by_others_are_shown(cli: Cli, store: Store) -> None:
    from speakerbot.domain.talk import Talk

    store.talks.put(
        [Talk("abc", "802", "kaz", "Agents", SOON, None, starts_at=time(19, 30), extra={"a": [1]})]
    )
    talk = cli.json("talks", "show", "abc", SPEAKERBOT_TIMEZONE="Europe/Berlin")
    assert talk["booked_at"] is None
    assert talk["extra"] == {"a": [1]}
    start = datetime.fromisoformat(talk["start"])
    assert start.astimezone(UTC).hour in (17, 18)
