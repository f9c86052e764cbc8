"""SIGTERM, Ctrl-C and the timeout at any moment of a run: it ends soon, what has not begun is given
back, its occurrence is open, and the next tick completes it. Also when nobody reads its output."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.occurrence import OccurrenceRecord
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
OCCURRENCE = datetime(2026, 11, 20, 16, tzinfo=UTC)
RUN = ("run", "reminders", "--now", NOW, "--cron", "@hourly", "--json")
SOON = 10.0
"""Seconds in which a run ends once it is asked to."""


@contextmanager
def running(cli: Cli, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    with cli.start(*args, stdout=subprocess.PIPE, **env) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 45
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def logged(process: subprocess.Popen[str], event: str) -> Callable[[], bool]:
    """Whether it has logged this; reads its stderr."""
    assert process.stderr
    stderr = process.stderr
    return lambda: json.loads(stderr.readline())["event"] == event


def ended(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    """What it still printed after this signal; it has to end soon, with the signal's exit code."""
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=SOON)
    assert time.monotonic() - began < SOON
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], err
    assert "Traceback" not in err
    return out


def standing(store: Store, schedule: str = "reminders") -> str | None:
    record = store.occurrences.get(schedule, OCCURRENCE)
    assert record is None or isinstance(record, OccurrenceRecord)
    return record.standing if record else None


def book(cli: Cli, store: Store, days: int) -> None:
    """A talk a day, each with a reminder due now. Deciding takes time by the square of it."""
    store.talks.put(
        [
            Talk(f"t{n}", str(10_000 + n), f"user {n}", f"Topic {n}",
                 date(2026, 11, 20) + timedelta(days=n))
            for n in range(days)
        ]
    )  # fmt: skip
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = ",".join(f"{n}d@16:00" for n in range(days))


@pytest.mark.parametrize("after", [0.02, 0.08, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6])
def test_while_it_starts(
    cli: Cli, samples: Path, store: Store, discord: LoopbackDiscord, after: float
) -> None:
    with running(cli, *RUN) as process:
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SOON)
        assert process.returncode in (143, -signal.SIGTERM, 0), err
        assert "Traceback" not in err
    assert standing(store) in (None, "open", "finished")
    cli.out(*RUN)
    assert standing(store) == "finished"
    assert len(discord.messages) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_it_waits_for_its_occurrence(
    cli: Cli, discord: LoopbackDiscord, number: signal.Signals
) -> None:
    coming = datetime.now(UTC) + timedelta(minutes=20)
    cron = f"{coming.minute} {coming.hour} * * *"
    with running(cli, "run", "reminders", "--cron", cron, "--wait", "60m") as process:
        wait_for(logged(process, "run_waits"), process)
        ended(process, number)


def test_while_the_store_is_locked(
    cli: Cli, samples: Path, store: Store, discord: LoopbackDiscord
) -> None:
    lock = sqlite3.connect(samples, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with running(cli, *RUN) as process:
        wait_for(logged(process, "store_opened"), process)
        time.sleep(0.5)
        ended(process)
    lock.close()
    assert standing(store) is None
    cli.out(*RUN)
    assert len(discord.messages) == 2


def slow_to_decide(cli: Cli, store: Store) -> None:
    """Nothing is due, and it takes long to find out."""
    book(cli, store, 900)
    offsets = (f"{n}d@17:{minute}" for n in range(900) for minute in range(10, 18))
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = ",".join(offsets)


def test_while_it_decides(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    slow_to_decide(cli, store)
    with running(cli, *RUN) as process:
        wait_for(lambda: standing(store) == "running", process)
        time.sleep(0.5)
        document = json.loads(ended(process))
    assert document["stopped"] == "sigterm"
    assert standing(store) == "open"
    del cli.env["SPEAKERBOT_REMINDER_OFFSETS"]
    cli.out(*RUN)
    assert standing(store) == "finished"


def test_while_it_sends(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    book(cli, store, 20)
    discord.settings = replace(NO_LIMITS, latency=0.5)
    with running(cli, *RUN) as process:
        wait_for(lambda: discord.messages, process)
        document = json.loads(ended(process))
    sent = len(discord.messages)
    assert document["stopped"] == "sigterm"
    assert document["counts"]["sent"] == sent
    assert standing(store) == "open"
    discord.settings = NO_LIMITS
    cli.out(*RUN)
    assert standing(store) == "finished"
    assert len(discord.messages) == 20


def tell_everybody(cli: Cli, store: Store, people: int) -> None:
    """So many speakers have a talk that nobody has told them of."""
    cli.out("run", "changes", "--now", NOW)
    store.talks.put(
        [
            Talk(f"t{n}", str(10_000 + n), f"user {n}", f"Topic {n}",
                 date(2026, 12, 1) + timedelta(days=n))
            for n in range(people)
        ]
    )  # fmt: skip


CHANGES = ("run", "changes", "--now", NOW, "--cron", "@hourly", "--json")


def test_nobody_reads_what_it_writes(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    """Neither stdout nor stderr: everything is sent, the occurrence is closed, and it can be
    ended."""
    tell_everybody(cli, store, 1500)
    with running(cli, *CHANGES, SPEAKERBOT_RATE="10000") as process:
        wait_for(lambda: len(discord.messages) == 1500, process)
        wait_for(lambda: standing(store, "changes") == "finished", process)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 143


def test_nobody_reads_and_its_time_is_over(
    cli: Cli, store: Store, discord: LoopbackDiscord
) -> None:
    tell_everybody(cli, store, 1500)
    schedule = (*CHANGES, "--timeout", "12s", "--log-format", "json")
    with running(cli, *schedule, SPEAKERBOT_RATE="100") as process:
        assert process.wait(12 + SOON) == 0
        assert process.stderr
        assert process.stdout
    first = len(discord.messages)
    assert 300 < first < 1500
    assert standing(store, "changes") == "open"
    assert [run.outcome for run in store.runs.list(job="changes", limit=1)] == ["stopped"]
    cli.out(*CHANGES, SPEAKERBOT_RATE="10000")
    assert len(discord.messages) == 1500
    assert standing(store, "changes") == "finished"


def test_its_timeout_holds_while_it_decides(
    cli: Cli, store: Store, discord: LoopbackDiscord
) -> None:
    slow_to_decide(cli, store)
    began = time.monotonic()
    document = cli.json(*RUN[:-1], "--timeout", "1s")
    assert time.monotonic() - began < SOON
    assert document["stopped"] == "timeout"
    assert standing(store) == "open"
    [run] = store.runs.list(limit=1)
    assert (run.outcome, run.error) == ("stopped", "timeout")


def test_a_reader_who_has_gone_does_not_end_a_run(
    cli: Cli, samples: Path, store: Store, discord: LoopbackDiscord
) -> None:
    with running(cli, *RUN) as process:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert [line for line in err.splitlines() if json.loads(line)["event"] == "output_lost"]
    assert standing(store) == "finished"


def test_run_due_begins_no_other_schedule(cli: Cli, store: Store, discord: LoopbackDiscord) -> None:
    book(cli, store, 20)
    schedules = [{"name": name, "job": "reminders", "cron": "@hourly"} for name in ("a", "b")]
    cli.env["SPEAKERBOT_SCHEDULES"] = cli.file("own.json", json.dumps({"schedules": schedules}))
    discord.settings = replace(NO_LIMITS, latency=0.5)
    with running(cli, "run", "due", "--now", NOW, "--json") as process:
        wait_for(lambda: discord.messages, process)
        [document] = json.loads(ended(process))["runs"]
    assert document["stopped"] == "sigterm"
    assert (standing(store, "a"), standing(store, "b")) == ("open", None)
