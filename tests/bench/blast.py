"""A run of its own job that yields N messages through the real runner and engine.

One talk a date means that reminders alone never make thousands. Prints the seconds the run took as
JSON on the last line of stdout: without the start of the interpreter and the import of libraries,
as the peers beside it are timed. What starting costs has figures of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module

import time_machine

from speakerbot import bootstrap, logs
from speakerbot.channels.discord.access import bot_of
from speakerbot.clock import Clock
from speakerbot.config import load
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, Message, Route
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.runner import Runner

FIRST_USER = 800_000_000_000_000_000
FIRST_DM = 900_000_000_000_000_000
DUE = datetime(2026, 11, 20, 16, tzinfo=UTC)


def job(count: int, first: int = 0) -> Job:
    """Yields ``count`` messages to as many people."""

    def decide(context: JobContext) -> Iterator[Decision]:
        for number in range(first, first + count):
            user = str(FIRST_USER + number)
            yield Message(
                kind="blast",
                subject="bench:1",
                recipient=f"user:{user}",
                occasion="2026-11-20",
                routes=(Route("dm", user),),
                template="reminder.day_of",
                values={
                    "username": f"user{number}",
                    "date": "2026-11-20",
                    "topic": "Benches",
                    "starts_at": "",
                },
                due_at=DUE,
                expires_at=context.now + timedelta(days=1),
                reason="bench",
                opt_out="reminders",
            )

    return Job("blast", decide)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="only store the DM channels")
    parser.add_argument("--clock-ahead", type=float, default=0.0, help="seconds")
    options = parser.parse_args()
    logs.configure("json")
    settings = load()
    store = bootstrap.store(settings, read_only=options.dry_run)
    if options.prepare:
        bot = bot_of(settings.discord_token or "")
        known = {str(FIRST_USER + n): str(FIRST_DM + n) for n in range(options.count)}
        store.limits.remember_dms(bot, known)
        return
    for library in ("discord", "jinja2.sandbox", "aiohttp"):
        import_module(library)
    if options.clock_ahead:  # of the whole process, as on a machine whose clock is off
        time_machine.travel(time.time() + options.clock_ahead, tick=True).start()
    started = time.perf_counter()
    Runner(
        job=job(options.count),
        options=RunOptions(dry_run=options.dry_run),
        timeout=None,
        store=store,
        settings=settings,
        templates=bootstrap.templates(settings.templates),
        channels=None if options.dry_run else bootstrap.channels(settings),
        observers=(),
        log=logs.get_logger(),
        clock=Clock(),
    ).run()
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - started}) + "\n")


if __name__ == "__main__":
    main()
