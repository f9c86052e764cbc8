"""Files of talks: ``talks import``, ``talks export`` and ``talks template``."""

from __future__ import annotations

import json
import time as clock
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from icalendar import Calendar

from speakerbot.clock import real_now
from speakerbot.ports.store import Store
from tests.acceptance.conftest import SAMPLES

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = ("--now", "2026-11-20T16:05:00Z")
KAZ, KAZ_USER = "98900893f517493faf9af27e", "802345678901234564"
SOON = (real_now() + timedelta(days=30)).date()


def test_import_says_what_it_did_and_doing_it_again_changes_nothing(cli: Cli) -> None:
    first = cli.out("talks", "import", str(SAMPLES))
    assert first.endswith("\nimported 9 talks: 9 new, 0 changed, 0 unchanged\n")
    assert "note: kept as they came, though nothing uses them: customNote" in first
    again = cli.out("talks", "import", str(SAMPLES))
    assert again.endswith("\nimported 9 talks: 0 new, 0 changed, 9 unchanged\n")


def test_a_dry_run_of_an_import_makes_no_store(cli: Cli) -> None:
    said = cli.out("talks", "import", str(SAMPLES), "--dry-run")
    assert said.endswith("\nwould import 9 talks: 9 new, 0 changed, 0 unchanged\n")
    assert list(cli.folder.iterdir()) == []


def test_one_bad_line_in_the_middle_and_nothing_is_imported(cli: Cli) -> None:
    lines = SAMPLES.read_text().splitlines()
    lines[4] = lines[4].replace("T00:00:00Z", "T18:00:00Z", 1)
    file = cli.file("talks.jsonl", "\n".join(lines))
    error = cli.error("talks", "import", file, exit_code=65)
    assert "talks.jsonl: nothing was imported" in error
    assert "line 5, scheduledDate: 2026-11-27T18:00:00Z is not midnight in UTC" in error
    assert cli.json("talks", "list", "--all") == {"talks": []}


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "jsonl"])
def test_bad_rows_in_the_middle_are_all_named_with_their_columns(cli: Cli, suffix: str) -> None:
    rows = [
        ["kaz", KAZ_USER, "Looms", "2027-01-14", "19:30"],
        ["kaz", "802", "Looms", "soon", "19:30"],
        ["kaz", KAZ_USER, "", "2027-01-28", "7"],
        ["kaz", KAZ_USER, "Weaving", "2027-02-04", ""],
    ]
    if suffix == "jsonl":
        names = ("discordUsername", "discordUserId", "topic", "scheduledDate")
        documents: list[dict[str, Any]] = [dict(zip(names, row, strict=False)) for row in rows]
        for each, row in zip(documents, rows, strict=True):
            each |= {
                "scheduledDate": {"$date": f"{row[3]}T00:00:00Z"},
                "speakerbot": {"startsAt": row[4]},
            }
        file = cli.file("talks.jsonl", "\n".join(map(json.dumps, documents)))
        named = ("line 2, discordUserId", "line 2, scheduledDate", "line 3, topic",
                 "line 3, speakerbot.startsAt")  # fmt: skip
    else:
        table = [["Speaker", "Discord ID", "Title", "Date", "Start time"], *rows]
        book = openpyxl.Workbook()
        for line in table:
            book.worksheets[0].append(line)
        book.save(cli.folder / "talks.xlsx")
        cli.file("talks.csv", "\n".join(map(",".join, table)))
        file, row_of = f"talks.{suffix}", "line" if suffix == "csv" else "row"
        named = (f"{row_of} 3, Discord ID", f"{row_of} 3, Date", f"{row_of} 4, Title",
                 f"{row_of} 4, Start time")  # fmt: skip
    error = cli.error("talks", "import", file, exit_code=65)
    assert [each for each in named if f"\n  {each}: " not in error] == []
    assert len(error.splitlines()) == 1 + len(named)
    assert cli.json("talks", "list", "--all") == {"talks": []}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("talks.jsonl", b"", "it is empty"),
        ("talks.csv", b"\r\n", "it is empty"),
        ("talks.json", b"[]", "there are no talks in it"),
        ("talks.csv", b"discordUserId,discordUsername,topic,scheduledDate\n", "there are no talks"),
        ("talks.ics", b"BEGIN:VCALENDAR\r\n", "`speakerbot talks sync` reads calendars"),
        ("talks.jsonl", b'{"topic": "caf\xe9"}\n', "line 1: byte 0xe9 at position 15 is not UTF-8"),
        ("talks.jsonl", b"{" + b" " * 2**20 + b"}", "line 1: longer than"),
        ("talks.txt", b"hello", "no column Discord ID, Speaker, Title, Date; the header"),
    ],
)
def test_a_file_that_is_not_a_list_of_talks_is_refused(
    cli: Cli, name: str, content: bytes, problem: str
) -> None:
    assert problem in cli.error("talks", "import", cli.file(name, content), exit_code=65)


def test_a_file_that_does_not_exist_is_wrong_usage(cli: Cli) -> None:
    assert "does not exist" in cli.run("talks", "import", "none.jsonl").stderr
    assert cli.run("talks", "import", "none.jsonl").returncode == 2


@pytest.mark.mongodb_server
def test_a_date_taken_beside_the_node_bot_is_named_with_its_talk(beside_node_bot: Cli) -> None:
    cli = beside_node_bot
    cli.out("talks", "import", str(SAMPLES))
    document = json.loads(SAMPLES.read_text().splitlines()[3]) | {"_id": "mine"}
    file = cli.file("more.jsonl", json.dumps(document))
    error = cli.error("talks", "import", file, exit_code=65)
    assert f"line 1, scheduledDate: 2026-11-21 is taken by kaz (talk {KAZ})" in error
    assert "1 new" in cli.out("talks", "import", file, "--dry-run", NODE_BOT_COEXIST="false")
    args = ("--user", "1", "--name", "x", "--topic", "y", "--date", "2026-11-21")
    error = cli.error("talks", "add", *args, exit_code=65)
    assert f"2026-11-21 is taken by talk {KAZ} (kaz, " in error
    error = cli.error("talks", "reschedule", "2026-11-20", "2026-11-21", exit_code=65)
    assert f"2026-11-21 is taken by talk {KAZ} (kaz, " in error
    error = cli.error("talks", "add", *args, exit_code=78, NODE_BOT_COEXIST="false")
    assert '.scheduledspeakers.dropIndex("scheduledDate_1")' in error


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_standard_input_is_imported_and_its_form_is_seen(filled: Cli, form: str) -> None:
    text = filled.out("talks", "export", "--format", form)
    other = {"DATABASE_URL": f"sqlite:///{filled.folder / 'other.db'}"}
    done = filled.run("talks", "import", "-", stdin=text, **other)
    assert "\nimported 9 talks: 9 new" in done.stdout, done.stderr
    problem = filled.run("talks", "import", "-", stdin='{"topic": 1}').stderr
    assert "standard input: nothing was imported" in problem


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_can_be_imported_elsewhere(filled: Cli, form: str) -> None:
    filled.out("talks", "export", "--format", form, "--output", f"talks.{form}")
    other = {"DATABASE_URL": f"sqlite:///{filled.folder / 'other.db'}"}
    filled.out("talks", "import", f"talks.{form}", **other)
    here, there = (filled.json("talks", "list", "--all", **env)["talks"] for env in ({}, other))
    if form == "csv":
        for talk in here:
            talk["extra"] = {}
    assert here == there
    again = filled.out("talks", "import", f"talks.{form}")
    assert again.endswith("imported 9 talks: 0 new, 0 changed, 9 unchanged\n")


PROGRAMME = SAMPLES.with_name("programme.csv")
DIFFERENCES = "date: 2027-01-14 → 2027-01-21; starts at: 19:00 → 19:30"
SHEET = f"Speaker,Discord ID,Title,Date,Start time\nkaz,{KAZ_USER},Looms,2027-01-14,7pm\n"


def test_an_import_says_what_becomes_of_each_row(cli: Cli) -> None:
    cli.out("talks", "import", cli.file("talks.csv", SHEET))
    more = (
        SHEET.replace("2027-01-14,7pm", "21 Jan 2027,7:30pm")
        + f"kaz,{KAZ_USER},Weaving,28 Jan 2027,\n"
    )
    said = cli.out("talks", "import", cli.file("talks.csv", more))
    assert said.splitlines() == [
        "row\tchange\twhen\tspeaker\ttopic\tchanges",
        "\t".join(("line 2", "changed", "Thu 2027-01-21 19:30", "kaz", "Looms", DIFFERENCES)),
        "line 3\tnew\tThu 2027-01-28\tkaz\tWeaving\t",
        "imported 2 talks: 1 new, 1 changed, 0 unchanged",
    ]
    assert len(cli.json("talks", "list", "--all")["talks"]) == 2


def test_an_import_tells_programs_the_same(cli: Cli) -> None:
    cli.out("talks", "import", cli.file("talks.csv", SHEET))
    file = cli.file("talks.csv", SHEET.replace("Looms,2027-01-14,7pm", "looms,21/01/2027,"))
    document = cli.json("talks", "import", file, "--dry-run")
    [row] = document["rows"]
    assert document["dry_run"] is True
    assert document["counts"] == {"new": 0, "changed": 1, "unchanged": 0}
    assert (row["row"], row["change"], row["username"]) == ("line 2", "changed", "kaz")
    assert row["changes"] == {
        "topic": {"old": "Looms", "new": "looms"},
        "date": {"old": "2027-01-14", "new": "2027-01-21"},
    }
    assert cli.json("talks", "list", "--all")["talks"][0]["topic"] == "Looms"


def test_an_import_is_shown_as_a_table_on_a_terminal(cli: Cli) -> None:
    shown = cli.on_terminal("talks", "import", cli.file("talks.csv", SHEET), "--dry-run")
    assert "│ line 2 │ new │" in shown
    assert "would import 1 talk: 1 new, 0 changed, 0 unchanged" in shown


def test_what_was_understood_of_a_sheet_is_said(cli: Cli) -> None:
    said = cli.out("talks", "import", str(PROGRAMME), "--dry-run")
    assert "note: dates without a year are the next ones: 3 December is " in said
    text = SHEET.replace("2027-01-14", "05/06/2027")
    file = cli.file("talks.csv", text)
    error = cli.error("talks", "import", file, exit_code=65)
    assert "line 2, Date: '05/06/2027' can be 5 June 2027 or 6 May 2027" in error
    said = cli.out("talks", "import", file, "--dry-run", SPEAKERBOT_DATE_ORDER="dmy")
    assert "note: dates are read with the day first, as SPEAKERBOT_DATE_ORDER=dmy says" in said
    assert "Sat 2027-06-05" in said


def test_a_start_that_no_clock_shows_is_refused(cli: Cli) -> None:
    file = cli.file("talks.csv", SHEET.replace("2027-01-14,7pm", "2027-03-28,2:30"))
    error = cli.error("talks", "import", file, exit_code=65, SPEAKERBOT_TIMEZONE="Europe/Berlin")
    assert "line 2, Start time: 02:30 does not exist on 2027-03-28 in Europe/Berlin" in error
    assert "write 01:30 or 03:30" in error


def test_map_names_columns_that_are_called_otherwise(cli: Cli) -> None:
    file = cli.file("talks.csv", SHEET.replace("Speaker", "Who").replace("Title", "What"))
    error = cli.error("talks", "import", file, exit_code=65)
    assert "line 1: no column Speaker, Title; the header names Who, Discord ID, What" in error
    cli.out("talks", "import", file, "--map", "Who=speaker", "--map", "What=title")
    error = cli.error("talks", "import", file, "--map", "Who=speeker", exit_code=2)
    assert "did you mean 'Speaker'?" in error


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_the_template_is_filled_in_and_imported(cli: Cli, suffix: str) -> None:
    cli.out("talks", "template", "-o", f"talks.{suffix}")
    error = cli.error("talks", "import", f"talks.{suffix}", exit_code=65)
    assert "there are no talks in it" in error
    row = ["kaz", KAZ_USER, "Looms", "2027-01-14", "19:30", "45", "Hall", "", "", ""]
    if suffix == "csv":
        with (cli.folder / "talks.csv").open("a") as sheet:
            sheet.write(",".join(row) + "\n")
    else:
        book = openpyxl.load_workbook(cli.folder / "talks.xlsx")
        book.worksheets[0].append(row)
        book.save(cli.folder / "talks.xlsx")
    said = cli.out("talks", "import", f"talks.{suffix}")
    assert "2 is the example of the template, and was left out" in said
    assert said.endswith("imported 1 talk: 1 new, 0 changed, 0 unchanged\n")
    assert cli.out("talks", "template").startswith("Speaker,Discord ID,Title,Date,Start time,")
    error = cli.error("talks", "template", "-o", "talks.ods", exit_code=2)
    assert "give a name that ends in .csv or .xlsx" in error


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("x.ics", "BEGIN:VCALENDAR\r\n"),
        ("x.csv", "_id,discordUserId,"),
        ("x.jsonl", '{"_id":'),
        ("x.JSON", '{"_id":'),
        ("x", '{"_id":'),
    ],
)
def test_the_suffix_of_its_file_tells_the_form_of_an_export(
    filled: Cli, name: str, begin: str
) -> None:
    filled.out("talks", "export", "-o", name)
    assert (filled.folder / name).read_bytes().startswith(begin.encode())
    filled.out("talks", "export", "-o", name, "--format", "csv")
    assert (filled.folder / name).read_text().startswith("_id,")
    error = filled.error("talks", "export", "-o", "x.xlsx", exit_code=2)
    assert "cannot tell from .xlsx what to write; give a name that ends in .jsonl" in error


def test_an_import_whose_output_is_not_read_does_not_hold_the_store(cli: Cli) -> None:
    """What it shows before it writes may wait in a pager for as long as somebody reads."""
    rows = [f"kaz,{KAZ_USER},Talk {number},2027-01-14," for number in range(3000)]
    file = cli.file("talks.csv", "\n".join([SHEET.splitlines()[0], *rows]))
    with cli.start("talks", "import", file) as importing:
        assert importing.stdout is not None
        importing.stdout.read(1)
        booking = ("--user", "802", "--name", "kaz", "--topic", "Agents", "--date", "2027-01-14")
        cli.out("talks", "add", *booking)
        moved = cli.file("one.csv", SHEET.replace("Looms", "Talk 7"))
        cli.out("talks", "import", moved)
        said = importing.stdout.read()
    assert importing.returncode == 0
    assert "somebody changed the store meanwhile; this was written:" in said
    assert said.endswith("imported 3,000 talks: 2,999 new, 0 changed, 1 unchanged\n")
    assert len(cli.json("talks", "list", "--all")["talks"]) == 3001


def test_the_calendar_holds_every_talk(filled: Cli) -> None:
    calendar = Calendar.from_ical(filled.out("talks", "export", "--format", "ics"))
    assert len(calendar.walk("VEVENT")) == 9
    assert f"{KAZ}@speakerbot" in {event["uid"] for event in calendar.walk("VEVENT")}


def events(cli: Cli) -> dict[str, tuple[int, str, date]]:
    """The calendar by talk id, as another program reads it: SEQUENCE, STATUS, DTSTART."""
    calendar = Calendar.from_ical(cli.out("talks", "export", "--format", "ics"))
    assert not calendar.errors
    found = calendar.walk("VEVENT")
    assert not any(event.errors for event in found)
    return {
        str(event["uid"]).removesuffix("@speakerbot"): (
            event.decoded("sequence"), str(event["status"]), event.decoded("dtstart"),
        )
        for event in found
    }  # fmt: skip


def test_the_calendar_follows_every_command_at_once(filled: Cli) -> None:
    first = events(filled)
    assert {(sequence, status) for sequence, status, _ in first.values()} == {(0, "CONFIRMED")}
    filled.out("talks", "reschedule", KAZ, "2026-12-25")
    assert events(filled) == first | {KAZ: (1, "CONFIRMED", date(2026, 12, 25))}
    filled.out("talks", "cancel", KAZ, "--yes")
    assert events(filled) == first | {KAZ: (2, "CANCELLED", date(2026, 12, 25))}
    filled.out("talks", "import", str(SAMPLES))
    assert events(filled) == first | {KAZ: (3, "CONFIRMED", date(2026, 11, 21))}
    filled.out("talks", "import", str(SAMPLES))
    filled.out("talks", "cancel", KAZ, "--dry-run")
    assert events(filled)[KAZ][0] == 3


def test_the_calendar_is_the_same_text_until_a_talk_changes(filled: Cli) -> None:
    first, again = (filled.out("talks", "export", "--format", "ics") for _ in range(2))
    assert first == again


def test_the_calendar_follows_the_node_bot_when_changes_runs(filled: Cli, store: Store) -> None:
    first = events(filled)
    store.talks.reschedule(KAZ, date(2026, 12, 25))
    gone = next(talk_id for talk_id, (_, _, day) in first.items() if day == date(2026, 11, 20))
    store.talks.delete(gone)
    filled.out("run", "changes", *NOW, DISCORD_TOKEN="t")
    noted = {entry.talk_id for entry in store.calendar.all() if entry.sequence == 1}
    assert noted == {KAZ, gone}
    assert events(filled) == first | {
        KAZ: (1, "CONFIRMED", date(2026, 12, 25)),
        gone: (1, "CANCELLED", date(2026, 11, 20)),
    }


def test_an_export_that_cannot_be_written_says_so(filled: Cli) -> None:
    error = filled.error("talks", "export", "-o", "no/such/folder/talks.jsonl", exit_code=2)
    assert "no/such/folder/talks.jsonl: cannot be written" in error


def document(topic: str) -> dict[str, Any]:
    return {
        "discordUserId": KAZ_USER,
        "discordUsername": "kaz",
        "topic": topic,
        "scheduledDate": {"$date": "2026-11-21T00:00:00Z"},
    }


def test_ten_thousand_talks_are_imported_in_seconds(cli: Cli) -> None:
    """A guard against an import that looks each talk up by itself; the bench measures."""
    days = (date(2000, 1, 1) + timedelta(days=number) for number in range(10_000))
    lines = (
        json.dumps(document("Agents") | {"scheduledDate": {"$date": f"{day}T00:00:00Z"}})
        for day in days
    )
    file = cli.file("talks.jsonl", "\n".join(lines))
    began = clock.monotonic()
    assert "\nimported 10,000 talks: 10,000 new" in cli.out("talks", "import", file)
    assert clock.monotonic() - began < 10
