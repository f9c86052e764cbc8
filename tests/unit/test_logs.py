"""What a run writes on stderr: JSON lines for programs, readable ones for people."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from speakerbot import logs
from speakerbot.errors import ConfigError


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == "", "results go there, logs do not"
    return [json.loads(line) for line in captured.err.splitlines()]


def test_off_a_terminal_each_event_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().info("message_sent", key="a/b", topic="日本語\nline")
    [line] = lines(capsys)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.tzinfo is not None
    assert line == {"event": "message_sent", "level": "info", "key": "a/b", "topic": "日本語\nline"}


def test_an_instant_in_a_line_is_written_as_in_every_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logs.get_logger().warning("message_failed", retry_at=datetime(2026, 11, 20, 16, 6, tzinfo=UTC))
    assert lines(capsys)[0]["retry_at"] == "2026-11-20T16:06:00Z"


def test_pretty_lines_are_for_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("pretty")
    logs.get_logger().info("run_finished", sent=2)
    written = capsys.readouterr().err
    assert "run_finished" in written
    assert "sent=2" in written
    assert not written.startswith("{")
    assert "\x1b[" not in written, "no colours where nobody sees them"


def test_a_warning_of_a_library_is_a_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """A plain one would break the JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("json")
        warnings.warn_explicit("Odd server.", UserWarning, "/lib/pymongo/topology.py", 7)
    [line] = lines(capsys)
    said = line["event"], line["library"], line["message"]
    assert said == ("library_warned", "pymongo", "Odd server.")


@pytest.mark.parametrize("debug", [False, True])
def test_debug_lines_are_written_only_when_asked_for(
    capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    logs.configure("json", debug=debug)
    logs.get_logger().debug("slot_taken")
    assert len(lines(capsys)) == debug


def test_what_a_line_is_about_is_named_until_it_is_about_something_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logs.about(job="weekly", run_id="r1", occurrence=None)
    logs.report(ConfigError("A: missing"))
    logs.about(job="digest")
    logs.get_logger().info("store_opened")
    first, second = lines(capsys)
    assert (first["job"], first["run_id"], first["occurrence"]) == ("weekly", "r1", None)
    assert second["job"] == "digest"
    assert "run_id" not in second


def test_an_error_ends_as_one_line_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.report(ConfigError("A: missing", "B: wrong"))
    [line] = lines(capsys)
    assert (line["event"], line["level"]) == ("command_failed", "error")
    assert (line["error"], line["error_class"], line["exit_code"]) == (
        "A: missing\nB: wrong",
        "ConfigError",
        78,
    )


def test_for_people_an_error_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("pretty")
    logs.report(ConfigError("A: missing"))
    assert capsys.readouterr().err == "speakerbot: A: missing\n"


def test_a_bug_says_that_it_is_one_and_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.report_bug(KeyError("x"))
    [line] = lines(capsys)
    assert line["error"] == "unexpected KeyError: 'x' (a bug; --debug shows where)"
    assert line["exit_code"] == 1


def test_a_librarys_warning_does_not_break_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logs.Libraries(logging.WARNING)
    logs.configure("json")
    library = logging.getLogger("some.library")
    library.addHandler(handler)
    library.propagate = False
    try:
        library.info("of no interest")
        library.warning("pool is full: %s", "localhost")
        library.error("failed", exc_info=ValueError("odd"))
    finally:
        library.removeHandler(handler)
        library.propagate = True
    first, second = lines(capsys)
    assert (first["event"], first["library"]) == ("library_warned", "some.library")
    assert first["message"] == "pool is full: localhost"
    assert second["error"] == "ValueError('odd')"
