"""``speakerbot people``, run as people run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

SAMPLES = Path(__file__).parents[2] / "samples" / "people.csv"
KAZ = "802345678901234564"
OTHERS = "changes, checkins, timers"


def test_a_discord_id_nobody_knows_becomes_a_person(cli: Cli) -> None:
    said = cli.out("people", "opt-out", KAZ, "reminders")
    assert said == f"{KAZ} now gets every kind of message but reminders\n"
    person = cli.json("people", "show", KAZ)
    assert person == {
        "id": f"discord-{KAZ}",
        "discord_user_id": KAZ,
        "name": None,
        "timezone": None,
        "quiet_hours": None,
        "routes": [],
        "opted_out": ["reminders"],
        "extra": {},
    }
    assert cli.json("people", "show", f"discord-{KAZ}") == person


def test_opting_out_without_a_kind_is_out_of_everything(cli: Cli) -> None:
    assert cli.out("people", "opt-out", KAZ) == f"{KAZ} now gets no messages at all\n"
    assert cli.json("people", "show", KAZ)["opted_out"] == ["all"]
    again = cli.out("people", "opt-out", KAZ, "timers")
    assert again == f"unchanged: {KAZ} gets no messages at all already\n"


def test_opting_in_to_one_kind_while_out_of_all_says_what_then_holds(cli: Cli) -> None:
    cli.out("people", "opt-out", KAZ)
    said = cli.out("people", "opt-in", KAZ, "reminders")
    assert said.startswith(f"{KAZ} now gets every kind of message but {OTHERS}\n")
    assert f"`speakerbot people opt-in {KAZ}` lets every kind through" in said
    assert cli.out("people", "opt-in", KAZ) == f"{KAZ} now gets every kind of message\n"
    assert cli.json("people", "show", KAZ)["opted_out"] == []


def test_opting_in_somebody_nobody_knows_leaves_no_trace(cli: Cli) -> None:
    said = cli.out("people", "opt-in", KAZ)
    assert said == f"unchanged: {KAZ} gets every kind of message already\n"
    assert cli.json("people", "list") == {"people": []}


def test_wishes_are_set_and_taken_away(cli: Cli) -> None:
    args = ("--quiet-hours", "22:00-08:00", "--timezone", "Europe/Berlin", "--routes", "thread,dm")
    said = cli.out("people", "set", KAZ, *args, "--name", "kaz")
    assert said == (
        f"kaz ({KAZ}) now has name kaz, quiet hours 22:00-08:00, timezone Europe/Berlin, "
        "routes thread,dm\n"
    )
    person = cli.json("people", "show", KAZ)
    assert (person["quiet_hours"], person["timezone"]) == ("22:00-08:00", "Europe/Berlin")
    assert person["routes"] == ["thread", "dm"]
    none = ("--quiet-hours", "none", "--timezone", "none", "--routes", "none")
    assert "quiet hours none" in cli.out("people", "set", KAZ, *none)
    person = cli.json("people", "show", KAZ)
    assert (person["quiet_hours"], person["timezone"], person["routes"]) == (None, None, [])
    assert person["name"] == "kaz"


def test_quiet_hours_without_a_zone_go_by_the_communitys(cli: Cli) -> None:
    said = cli.out("people", "set", KAZ, "--quiet-hours", "22:00-08:00")
    assert "the community's time zone" in said


def test_everything_that_is_wrong_with_wishes_is_said_at_once(cli: Cli) -> None:
    args = ("--quiet-hours", "22-8", "--timezone", "Mars/Phobos", "--routes", "pigeon")
    error = cli.error("people", "set", KAZ, *args, exit_code=2)
    assert "--quiet-hours: '22-8' are not quiet hours; write e.g. 22:00-08:00" in error
    assert "--timezone: 'Mars/Phobos' is not a time zone" in error
    assert "--routes: 'pigeon' is not a route; choose from dm, thread, channel" in error
    assert cli.json("people", "list") == {"people": []}
    assert "nothing to set" in cli.error("people", "set", KAZ, exit_code=2)


@pytest.mark.parametrize("command", [["show"], ["opt-out"], ["set", "--name", "x"]])
def test_who_is_neither_known_nor_a_discord_id_is_an_error(cli: Cli, command: list[str]) -> None:
    error = cli.error("people", *command, "kaz", exit_code=65)
    assert "no person is known as 'kaz'; `speakerbot people list`" in error


@pytest.mark.parametrize("user", ["kaz", "Kaz", "@kaz", f"<@{KAZ}>", f"discord-{KAZ}"])
def test_whoever_is_known_may_be_called_by_name_or_mention(cli: Cli, user: str) -> None:
    cli.out("people", "set", KAZ, "--name", "Kaz")
    assert cli.out("people", "opt-out", user).startswith(f"Kaz ({KAZ}) now gets no messages")
    assert cli.json("people", "show", user)["opted_out"] == ["all"]
    assert cli.json("explain", "person", user)["person"]["id"] == f"discord-{KAZ}"
    assert len(cli.json("people", "list")["people"]) == 1


def test_a_name_of_several_people_changes_none_of_them(cli: Cli) -> None:
    for each in (KAZ, "2"):
        cli.out("people", "set", each, "--name", "kaz")
    for dry_run in ([], ["--dry-run"]):
        error = cli.error("people", "opt-out", "kaz", *dry_run, exit_code=2)
        assert (
            f"several people are known as 'kaz'; give the id of one:\n  kaz (2)\n  kaz ({KAZ})"
            in error
        )
    assert not any(each["opted_out"] for each in cli.json("people", "list")["people"])


def test_an_unknown_kind_is_wrong_usage_and_names_the_kinds(cli: Cli) -> None:
    done = cli.run("people", "opt-out", KAZ, "spam")
    assert done.returncode == 2
    assert "reminders" in done.stderr


@pytest.mark.parametrize(
    "command", [["opt-out", KAZ], ["set", KAZ, "--name", "kaz"], ["import", "p.csv"]]
)
def test_a_dry_run_changes_nothing(cli: Cli, command: list[str]) -> None:
    cli.file("p.csv", f"Discord ID\n{KAZ}\n")
    assert "would " in cli.out("people", *command, "--dry-run")
    assert [file.name for file in cli.folder.iterdir()] == ["p.csv"]


def test_one_invalid_time_zone_refuses_the_file(cli: Cli) -> None:
    error = cli.error("people", "import", str(SAMPLES), exit_code=65)
    assert "line 7 (Bo), timezone: 'Not/AZone' is not a time zone" in error
    assert cli.json("people", "list") == {"people": []}


def test_partial_imports_the_others_and_says_who_was_left_out(cli: Cli) -> None:
    said = cli.out("people", "import", str(SAMPLES), "--partial")
    assert said.endswith("\nimported 7 people: 7 new, 0 changed, 0 unchanged\n")
    assert "\nnote: left out: line 7 (Bo), timezone: 'Not/AZone'" in said
    names = {person["name"] for person in cli.json("people", "list")["people"]}
    assert names == {"Alex", "Noor", "Sam", "Ines", "Kit", "Uma", "Paz"}
    again = cli.out("people", "import", str(SAMPLES), "--partial")
    assert again.endswith("\nimported 7 people: 0 new, 0 changed, 7 unchanged\n")


@pytest.mark.parametrize("partial", [[], ["--partial"]])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"name,timezone\n", "there are no people in it"),
        (b'name\n"Sam\n', "line 2: not CSV: unexpected end of data"),
        (b"name\nSam\x81\n", "line 2: byte 0x81 at position 4 is not UTF-8"),
        (b"name,name\nSam,Sam\n", "line 1: two columns are called name"),
    ],
)
def test_what_is_wrong_with_the_whole_file_refuses_it_even_partially(
    cli: Cli, content: bytes, problem: str, partial: list[str]
) -> None:
    file = cli.file("people.csv", content)
    assert problem in cli.error("people", "import", file, *partial, exit_code=65)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_can_be_imported_elsewhere(cli: Cli, form: str) -> None:
    cli.out("people", "import", str(SAMPLES), "--partial")
    cli.out("people", "opt-out", KAZ, "timers")
    cli.out("people", "set", "name-kit", "--quiet-hours", "22:00-08:00", "--routes", "thread,dm")
    cli.out("people", "export", "--format", form, "-o", f"people.{form}")
    other = {"DATABASE_URL": f"sqlite:///{cli.folder / 'other.db'}"}
    cli.out("people", "import", f"people.{form}", **other)
    assert cli.json("people", "list", **other) == cli.json("people", "list")


def test_an_import_says_what_becomes_of_each_person(cli: Cli) -> None:
    cli.out("people", "set", KAZ, "--name", "kaz", "--timezone", "UTC")
    file = cli.file("people.csv", f"Discord ID,Name,Time zone\n{KAZ},kaz,Asia/Tokyo\n,Ina,\n")
    said = cli.out("people", "import", file)
    assert said.splitlines()[1:] == [
        f"line 2 (kaz)\tchanged\t{KAZ}\tkaz\ttimezone: UTC → Asia/Tokyo",
        "line 3 (Ina)\tnew\tname-ina\tIna\t",
        "imported 2 people: 1 new, 1 changed, 0 unchanged",
    ]
    document = cli.json("people", "import", file)
    assert document["counts"] == {"new": 0, "changed": 0, "unchanged": 2}
    assert [row["change"] for row in document["rows"]] == ["unchanged", "unchanged"]


def test_an_export_that_a_shell_has_named_csv_is_imported_too(cli: Cli) -> None:
    cli.out("people", "set", KAZ, "--name", "Kaz / Ina")
    file = cli.file("people.csv", cli.out("people", "export"))
    assert "0 changed, 1 unchanged" in cli.out("people", "import", file)


def test_the_suffix_of_its_file_tells_the_form_of_an_export(cli: Cli) -> None:
    cli.out("people", "set", KAZ, "--name", "Kaz / Ina")
    cli.out("people", "export", "-o", "people.csv")
    assert (cli.folder / "people.csv").read_text().startswith("id,name,discord_user_id,")
    assert "0 changed, 1 unchanged" in cli.out("people", "import", "people.csv")
    error = cli.error("people", "export", "-o", "people.ics", exit_code=2)
    assert "cannot tell from .ics what to write; give a name that ends in .jsonl" in error


def test_list_and_show_are_plain_rows_in_a_pipe(cli: Cli) -> None:
    cli.out("people", "set", KAZ, "--name", "kaz\tof\nnowhere")
    header, row = cli.out("people", "list").splitlines()
    assert len(header.split("\t")) == len(row.split("\t"))
    shown = cli.out("people", "show", KAZ)
    assert "name\tkaz of nowhere\n" in shown
    assert shown.endswith("gets every kind of message\n")
