"""``speakerbot runs``, run as people run it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.run import Run, RunOutcome
from speakerbot.ports.store import Store

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

AT = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
COUNTS = {"planned": 3, "sent": 2, "skipped": {"opted_out": 12}, "failed": {"transient": 1}}


@pytest.fixture
def runs(store: Store) -> Store:
    store.runs.put(
        Run(
            id="run-1",
            job="reminders",
            now=AT,
            started_at=AT,
            finished_at=AT + timedelta(seconds=2.5),
            outcome=RunOutcome.DONE,
            schedule="reminders-hourly",
            occurrence=AT,
            counts=COUNTS,
        )
    )
    store.runs.put(Run("run-2", "weekly", AT, AT + timedelta(hours=1), error="Discord is\ndown"))
    return store


def test_list_shows_the_newest_first(cli: Cli, runs: Store) -> None:
    listed = cli.json("runs", "list")["runs"]
    assert [run["run_id"] for run in listed] == ["run-2", "run-1"]
    assert listed[1] == {
        "run_id": "run-1",
        "job": "reminders",
        "outcome": "done",
        "now": "2026-11-20T16:05:00Z",
        "started_at": "2026-11-20T16:05:00Z",
        "finished_at": "2026-11-20T16:05:02.500000Z",
        "schedule": "reminders-hourly",
        "occurrence": "2026-11-20T16:05:00Z",
        "error": None,
        "counts": COUNTS,
    }


def test_list_can_be_narrowed(cli: Cli, runs: Store) -> None:
    assert [run["job"] for run in cli.json("runs", "list", "--job", "weekly")["runs"]] == ["weekly"]
    assert len(cli.json("runs", "list", "--limit", "1")["runs"]) == 1


def test_a_pipe_gets_one_row_a_run(cli: Cli, runs: Store) -> None:
    header, second, first = cli.out("runs", "list").splitlines()
    assert header.split("\t") == ["run", "job", "started", "took", "outcome", "messages", "error"]
    assert second.split("\t")[-3:] == ["running", "none", "Discord is down"]
    assert "2 sent, 12 skipped (opted out), 1 failed (transient)" in first


def test_show_has_the_counts_as_a_table(cli: Cli, runs: Store) -> None:
    shown = cli.out("runs", "show", "run-1")
    assert "schedule\treminders-hourly\n" in shown
    assert shown.endswith(
        "messages\tnumber\nplanned\t3\nsent\t2\nskipped (opted out)\t12\nfailed (transient)\t1\n"
    )
    assert cli.json("runs", "show", "run-1") == cli.json("runs", "list")["runs"][1]


def test_an_unknown_run_is_an_error_that_says_where_to_look(cli: Cli) -> None:
    error = cli.error("runs", "show", "run-9", exit_code=65)
    assert "there is no run 'run-9'; `speakerbot runs list`" in error


def test_reading_makes_no_store(cli: Cli) -> None:
    assert cli.json("runs", "list") == {"runs": [], "timed": []}
    assert list(cli.folder.iterdir()) == []
