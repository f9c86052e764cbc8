"""How a run is shown: one JSON document for programs, a line a message for pipes."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.run_output import (
    COLUMNS,
    JsonListOutput,
    JsonOutput,
    QuietOutput,
    RowOutput,
    TerminalOutput,
    run_observers,
)
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.message import Message, Route
from speakerbot.domain.run import RunSkipReason, StopReason
from speakerbot.runs.report import (
    ChangeState,
    MessageOutcome,
    RunCounts,
    RunHeader,
    RunObserver,
    RunSummary,
    ServiceChange,
)

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
HEADER = RunHeader("reminders", "run1", dry_run=True, now=NOW)
MESSAGE = Message(
    kind="reminder.day_before",
    subject="talk:t1",
    recipient="user:42",
    occasion="2026-11-21",
    routes=(Route("dm", "42"),),
    template="reminder.day_before",
    values={},
    due_at=NOW - timedelta(minutes=5),
    expires_at=NOW + timedelta(hours=7, microseconds=5000),
    reason="why",
)
ODD = 'Line one\n\ttwo "quoted" 日本語 🎌 \u2028 \x1b[2J \u200b'
OUTCOME = MessageOutcome(MESSAGE, DeliveryState.PLANNED, "why", "dm", ODD)


def show(shown: RunObserver, outcomes: int, summary: RunSummary | None = None) -> None:
    shown.begin(HEADER)
    for _ in range(outcomes):
        shown.add(OUTCOME)
    shown.end(summary or RunSummary(RunCounts(planned=outcomes), 7))


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_run_is_one_json_document_whatever_the_number_of_messages(
    capsys: pytest.CaptureFixture[str], number: int
) -> None:
    show(JsonOutput(sys.stdout), number)
    found = document(capsys)
    assert list(found) == [
        "job",
        "run_id",
        "occurrence",
        "dry_run",
        "now",
        "messages",
        "counts",
        "duration_ms",
    ]
    assert len(found["messages"]) == number
    assert found["counts"] == {
        "planned": number,
        "sent": 0,
        "already_sent": 0,
        "skipped": {},
        "failed": {},
        "undeliverable": 0,
        "unknown": 0,
    }


def test_a_message_in_it_has_these_keys_and_its_text_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(JsonOutput(sys.stdout), 1)
    assert document(capsys)["messages"] == [
        {
            "key": "reminder.day_before/talk:t1/user:42/2026-11-21",
            "kind": "reminder.day_before",
            "recipient": "user:42",
            "route": "dm",
            "text": ODD,
            "due_at": "2026-11-20T16:00:00Z",
            "expires_at": "2026-11-20T23:05:00.005000Z",
            "reason": "why",
            "state": "planned",
        }
    ]


CHANGE = ServiceChange("create", "event", ODD, ChangeState.PLANNED, "there is none", NOW)


def test_changes_at_a_service_follow_the_messages(capsys: pytest.CaptureFixture[str]) -> None:
    shown = JsonOutput(sys.stdout)
    shown.begin(HEADER)
    shown.change(CHANGE)
    shown.add(OUTCOME)
    shown.end(RunSummary(RunCounts(), 0))
    found = document(capsys)
    assert list(found)[5:7] == ["messages", "changes"]
    assert found["changes"] == [
        {
            "action": "create",
            "thing": "event",
            "name": ODD,
            "starts_at": "2026-11-20T16:05:00Z",
            "text": f"would create event “{ODD}”",
            "reason": "there is none",
            "state": "planned",
        }
    ]


def test_a_change_is_one_row_in_a_pipe_and_one_in_a_terminals_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, table = RowOutput(sys.stdout), TerminalOutput(sys.stdout)
    counts = RunCounts()
    counts.changes["to_create"] += 1
    for shown in (QuietOutput(rows), table):
        shown.begin(HEADER)
        shown.change(CHANGE._replace(name="On engines", at=None))
        shown.end(RunSummary(counts, 7, quietly=True))
    out = capsys.readouterr().out
    row = "planned\t\t\tevent\twould create event “On engines”\tthere is none\n"
    assert row in out
    drawn = out.partition(row)[2]
    assert "planned" in drawn
    assert "would create event “On engines”" in drawn
    assert "there is none" in drawn
    assert "1 to create" in drawn


def test_what_is_not_known_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    shown = JsonOutput(sys.stdout)
    shown.begin(HEADER)
    shown.add(OUTCOME._replace(route=""))
    shown.end(RunSummary(RunCounts(), 0))
    found = document(capsys)
    assert found["occurrence"] is None
    assert found["messages"][0]["route"] is None


def test_a_gated_run_names_its_occurrence_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    shown = JsonOutput(sys.stdout)
    shown.begin(HEADER._replace(occurrence=NOW))
    shown.end(RunSummary(RunCounts(), 0))
    assert document(capsys)["occurrence"] == "2026-11-20T16:05:00Z"


def test_a_skipped_run_is_the_same_document_empty_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(JsonOutput(sys.stdout), 0, RunSummary(RunCounts(), 0, RunSkipReason.ALREADY_DONE))
    found = document(capsys)
    assert (found["messages"], found["skipped_because"]) == ([], "already_done")


def test_a_run_that_ended_badly_says_so_in_its_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An empty list of messages must not look like a calm day."""
    show(
        JsonOutput(sys.stdout),
        1,
        RunSummary(RunCounts(), 0, stopped=StopReason.TOKEN, error="DISCORD_TOKEN was refused"),
    )
    found = document(capsys)
    assert (found["stopped"], found["error"]) == ("token", "DISCORD_TOKEN was refused")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_several_runs_are_items_of_a_list(capsys: pytest.CaptureFixture[str], number: int) -> None:
    shown = JsonListOutput(sys.stdout)
    for outcomes in range(number):
        show(shown, outcomes)
    found = json.loads(f"[{capsys.readouterr().out}]")
    assert [len(each["messages"]) for each in found] == list(range(number))


def test_in_a_pipe_each_message_is_one_line_with_its_whole_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(RowOutput(sys.stdout), 2)
    header, first, second, summary = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert header.split("\t") == list(COLUMNS)
    cells = dict(zip(COLUMNS, first.split("\t"), strict=True))
    assert cells == {
        "state": "planned",
        "due": "2026-11-20 16:00Z",
        "recipient": "user:42",
        "route": "dm",
        "text": 'Line one two "quoted" 日本語 🎌 \ufffd[2J \u200b',
        "why": "why",
    }
    assert first == second
    assert summary == "reminders: 2 planned (0.0 s)."


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        (RunSummary(RunCounts(), 1234), "reminders: nothing is due (1.2 s)."),
        (
            RunSummary(RunCounts(), 0, RunSkipReason.DISABLED),
            "reminders: nothing was done (disabled).",
        ),
        (RunSummary(RunCounts(), 0, error="no channel"), "reminders: failed (0.0 s)."),
        (RunSummary(RunCounts(sent=1), 0, error="gone"), "reminders: 1 sent, failed (0.0 s)."),
        (
            RunSummary(RunCounts(planned=2, sent=1), 0, stopped=StopReason.TIMEOUT),
            "reminders: 2 planned, 1 sent, stopped (timeout) (0.0 s).",
        ),
    ],
)
def test_the_last_line_says_what_became_of_the_run(
    capsys: pytest.CaptureFixture[str], summary: RunSummary, sentence: str
) -> None:
    show(RowOutput(sys.stdout), 0, summary)
    assert capsys.readouterr().out.splitlines()[-1] == sentence


def test_the_last_line_counts_every_outcome_by_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = RunCounts(planned=1200, sent=1190, already_sent=3, undeliverable=1, unknown=2)
    counts.skipped["opted_out"] = 4
    counts.failed["transient"] = 7
    show(RowOutput(sys.stdout), 0, RunSummary(counts, 90_000))
    assert capsys.readouterr().out.splitlines()[-1] == (
        "reminders: 1,200 planned, 1,190 sent, 3 already sent, 1 undeliverable, 2 unknown, "
        "7 failed (transient), 4 skipped (opted_out) (90.0 s)."
    )


def test_a_pipe_gets_rows_and_json_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert isinstance(run_observers(sys.stdout, as_json=False)[0], RowOutput)
    assert isinstance(run_observers(sys.stdout, as_json=True)[0], JsonOutput)
