"""``talks sync`` and ``people link`` as people use them, against a loopback programme."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.ports.store import Store
from speakerbot.testing.discord import LoopbackDiscord
from speakerbot.testing.programmes import ProgrammeServer

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

SAMPLES = Path(__file__).parents[2] / "samples"
NOW = ("--now", "2026-11-20T16:05:00Z")
LATER = ("--now", "2026-11-20T17:05:00Z")
API = "/api/events/evenings/submissions/"
ADA, MIRELA = "802345678901234561", "802345678901234569"


@pytest.fixture
def server() -> Iterator[ProgrammeServer]:
    with ProgrammeServer() as server:
        yield server


@pytest.fixture(autouse=True)
def berlin(cli: Cli) -> None:
    cli.env["SPEAKERBOT_TIMEZONE"] = "Europe/Berlin"


def rows() -> list[dict[str, Any]]:
    document = json.loads((SAMPLES / "evenings.submissions.json").read_text())
    return list(document["results"])


def sync(cli: Cli, server: ProgrammeServer, *args: str) -> Any:
    return cli.json("talks", "sync", server.address(API), "--allow-private", *NOW, *args)


def topics(store: Store) -> list[str]:
    return [talk.topic for talk in store.talks.all()]


@pytest.mark.parametrize("name", ["evenings.submissions.json", "evenings.ics", "evenings.csv"])
def test_a_file_is_booked_and_the_second_time_nothing_is(cli: Cli, store: Store, name: str) -> None:
    source = str(SAMPLES / name)
    dry = cli.json("talks", "sync", source, *NOW, "--dry-run")
    assert list(store.talks.all()) == []
    real = cli.json("talks", "sync", source, *NOW)
    assert {**real, "dry_run": True} == dry
    assert real["counts"]["new"] == 2
    assert [(t.username, t.topic) for t in store.talks.all()] == [
        ("Ada Ferreira", "Evals that catch regressions before users do"),
        ("Kaz Okonkwo", "What a queue owes its consumers"),
    ]
    before = list(store.talks.all())
    again = cli.json("talks", "sync", source, *LATER)
    assert (again["counts"]["new"], again["counts"]["unchanged"]) == (0, 2)
    assert list(store.talks.all()) == before


def test_pages_of_an_api_are_read_to_the_end(cli: Cli, server: ProgrammeServer) -> None:
    server.put_pages(API, rows(), size=1)
    assert sync(cli, server)["counts"]["new"] == 2


def test_rows_say_what_becomes_of_each(cli: Cli, server: ProgrammeServer, store: Store) -> None:
    server.put_pages(API, rows())
    sync(cli, server)
    moved = rows()[:1]
    moved[0]["slots"][0]["start"] = "2026-12-04T19:00:00+01:00"
    server.put_pages(API, moved)
    said = cli.out("talks", "sync", server.address(API), "--allow-private", *LATER)
    lines = said.splitlines()
    assert lines[1].split("\t")[0] == "moved"
    assert "date: 2026-11-27 → 2026-12-04" in lines[1]
    assert lines[2].startswith("gone\tFri 2026-11-27 19:30\tKaz Okonkwo, Liv Sandberg\t")
    assert "--prune cancels them" in said
    assert len(topics(store)) == 2


def test_gone_talks_are_cancelled_with_prune_only_and_not_most_of_them(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    server.put_pages(API, rows())
    sync(cli, server)
    server.put_pages(API, rows()[:1])
    sync(cli, server)
    assert len(topics(store)) == 2
    assert sync(cli, server, "--prune")["cancelled"]
    assert len(topics(store)) == 1
    server.put_pages(API, [])
    said = cli.error(
        "talks", "sync", server.address(API), "--allow-private", "--prune", *NOW, exit_code=65
    )
    assert "--allow-mass-change" in said
    assert len(topics(store)) == 1
    sync(cli, server, "--prune", "--allow-mass-change")
    assert topics(store) == []


def test_an_unlinked_speaker_is_booked_by_the_sync_after_people_link(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    server.put_pages(API, rows())
    [unlinked] = sync(cli, server)["unlinked"]
    assert unlinked["name"] == "Mirela Dobrev"
    assert unlinked["how"] == "speakerbot people link 'Mirela Dobrev' --discord ID"
    link = ("people", "link", "mirela dobrev", "--discord", f"<@{MIRELA}>")
    assert "would be" in cli.out(*link, "--dry-run")
    assert list(store.people.all()) == []
    assert "is now" in cli.out(*link)
    assert "unchanged" in cli.out(*link)
    assert sync(cli, server)["counts"]["new"] == 1
    assert MIRELA in [talk.user_id for talk in store.talks.all()]


def test_a_link_may_be_corrected_and_the_talk_goes_to_the_right_person(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    server.put_pages(API, rows())
    cli.out("people", "link", "Mirela Dobrev", "--discord", MIRELA)
    sync(cli, server)
    said = cli.out("people", "link", "Mirela Dobrev", "--discord", "802345678901234570")
    assert "any more" in said
    assert sync(cli, server)["counts"]["changed"] == 1
    assert "802345678901234570" in [talk.user_id for talk in store.talks.all()]


def test_linking_says_what_is_wrong(cli: Cli, store: Store) -> None:
    assert "17 to 20 digits" in cli.error("people", "link", "Ada", "--discord", "123", exit_code=2)
    assert "is not a name" in cli.error("people", "link", "12", "--discord", ADA, exit_code=2)
    cli.out("people", "opt-out", ADA)
    cli.file("people.csv", "id,name\np1,Ada\n")
    cli.out("people", "import", "people.csv")
    assert "cannot become the same person" in cli.error(
        "people", "link", "p1", "--discord", ADA, exit_code=2
    )
    linked = cli.json("people", "link", "ada", "--discord", MIRELA)
    assert linked["person"]["id"] == "p1"
    person = store.people.get("p1")
    assert person
    assert person.discord_user_id == MIRELA
    assert "on Discord already" in cli.error("people", "link", "p1", "--discord", ADA, exit_code=2)


def test_a_name_of_two_people_without_an_id_is_refused_with_both(cli: Cli) -> None:
    cli.file("people.csv", "id,name\np1,Ada\np2,ada\n")
    cli.out("people", "import", "people.csv")
    said = cli.error("people", "link", "Ada", "--discord", ADA, exit_code=2)
    assert "p1" in said
    assert "p2" in said


def test_after_a_sync_speakers_are_told_and_after_the_next_one_nobody_is(
    cli: Cli, server: ProgrammeServer, discord: LoopbackDiscord
) -> None:
    run = ("run", "changes", "--now", "2026-11-20T16:10:00Z")
    cli.json(*run)
    server.put_pages(API, rows())
    sync(cli, server)
    told = cli.json(*run)["messages"]
    assert {m["recipient"] for m in told} >= {f"user:{ADA}"}
    sent = len(discord.messages)
    sync(cli, server)
    assert cli.json(*run)["messages"] == []
    assert len(discord.messages) == sent


def test_two_syncs_at_once_book_each_talk_once(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    server.put_pages(API, rows())
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: sync(cli, server)["counts"]["new"], range(4)))
    assert sorted(counts) == [0, 0, 0, 2]
    assert len(topics(store)) == 2


def many(count: int, *, later: bool) -> list[dict[str, Any]]:
    """Sessions of one speaker each; ``later``: every third has moved and every seventh is gone."""
    [like, *_] = rows()
    found = []
    for number in range(count):
        month = "2027-03" if later and number % 3 == 0 else "2026-12"
        start = f"{month}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z"
        slot = {"start": start, "room": {"name": "Main Hall"}}
        if not later or number % 7:
            found.append({**like, "code": f"C{number}", "title": f"T {number}", "slots": [slot]})
    return found


@pytest.mark.slow_suite
def test_killed_at_any_moment_the_next_sync_completes_it(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    """By SIGKILL, as the system does it."""
    moments = Random(7)
    command = ("talks", "sync", server.address(API), "--allow-private", "--prune", *NOW)
    for _ in range(12):
        server.put_pages(API, many(400, later=False))
        cli.out(*command, "--allow-mass-change")
        server.put_pages(API, many(400, later=True))
        with cli.start(*command) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0.2, 2.5))
            process.kill()
            process.communicate()
        cli.out(*command)
        again = cli.json(*command)
        assert (again["counts"]["unchanged"], len(again["rows"])) == (342, 342)
        shown = [(talk.topic, talk.date.month) for talk in store.talks.all()]
        assert len(shown) == len(set(shown)) == 342
        assert sum(month == 3 for _, month in shown) == 114
        entries = [entry for entry in store.calendar.all() if not entry.cancelled]
        assert len(entries) == 342


# --- sources that are not what they should be


def test_a_private_address_needs_to_be_allowed(cli: Cli, server: ProgrammeServer) -> None:
    said = cli.error("talks", "sync", server.address("/"), exit_code=65)
    assert "--allow-private" in said
    assert server.asked == []


def refused(cli: Cli, server: ProgrammeServer, exit_code: int, **env: str) -> str:
    return cli.error(
        "talks", "sync", server.address("/x?key=hunter2"), "--allow-private",
        exit_code=exit_code, **env,
    )  # fmt: skip


def test_a_web_page_is_65(cli: Cli, server: ProgrammeServer) -> None:
    server.put("/x", "<!doctype html><title>Log in</title>", content_type="text/html")
    assert "is a web page, not a programme" in refused(cli, server, 65)


def test_a_lasting_fault_is_69(cli: Cli, server: ProgrammeServer) -> None:
    server.put("/x", status=503)
    assert "(503)" in refused(cli, server, 69)


def test_an_endless_answer_is_65(cli: Cli, server: ProgrammeServer) -> None:
    server.put("/x", manner="endless")
    assert "more than 20 MB" in refused(cli, server, 65)


def test_a_redirect_to_another_host_gets_no_token(cli: Cli, server: ProgrammeServer) -> None:
    server.redirect("/x", server.address("/y", host="localhost"))
    server.put("/y", (SAMPLES / "evenings.schedule.json").read_bytes())
    cli.out(
        "talks", "sync", server.address("/x"), "--allow-private", *NOW,
        SPEAKERBOT_SYNC_TOKEN="abcdef",
    )  # fmt: skip
    assert [asked.token for asked in server.asked] == [None, None]


def test_tokens_that_are_missing_or_not_shown_are_78(cli: Cli, server: ProgrammeServer) -> None:
    server.put("/x", status=401)
    assert "set SPEAKERBOT_SYNC_TOKEN" in refused(cli, server, 78)
    assert "was not shown" in refused(cli, server, 78, SPEAKERBOT_SYNC_TOKEN="abcdef")


def test_neither_token_nor_query_is_repeated_anywhere(cli: Cli, server: ProgrammeServer) -> None:
    server.put("/x", status=401)
    done = cli.run(
        "--debug", "talks", "sync", server.address("/x?key=hunter2"), "--allow-private",
        SPEAKERBOT_SYNC_TOKEN="abcdef",
    )  # fmt: skip
    assert done.returncode != 0
    shown = done.stdout + done.stderr
    assert "abcdef" not in shown
    assert "key=hunter2" not in shown.replace("talks sync", "")


def test_one_bad_session_in_the_middle_takes_nothing(
    cli: Cli, server: ProgrammeServer, store: Store
) -> None:
    bad = rows()
    bad[1]["title"] = ""
    bad[2]["slots"][0]["start"] = "soon"
    server.put_pages(API, bad)
    said = cli.error("talks", "sync", server.address(API), "--allow-private", *NOW, exit_code=65)
    assert "row 2: it has no title" in said
    assert "row 3: " in said
    assert topics(store) == []


def test_a_file_that_is_not_there_is_wrong_usage(cli: Cli) -> None:
    assert "cannot be read" in cli.error("talks", "sync", "nothing.json", exit_code=2)


def test_standard_input_is_a_source(cli: Cli) -> None:
    done = cli.run(
        "talks", "sync", "-", *NOW, stdin=(SAMPLES / "evenings.submissions.json").read_text()
    )
    assert "2 new" in done.stdout
