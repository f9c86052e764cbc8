"""The other jobs: what a tick costs that has nothing to do, and decisions over much data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.stores import open_store
from speakerbot.testing.discord import NO_LIMITS, loopback_process
from tests.bench.figures import Figure
from tests.bench.measure import alternately, python, run

SPEAKERBOT = str(Path(sys.executable).parent / "speakerbot")
NOW = "2026-11-23T17:05:00Z"
MANY = 10_000


def idle(folder: Path, runs: int) -> Iterator[Figure]:
    """Weekly already posted, engagement with a full calendar, changes without a change."""
    url = f"sqlite:///{folder / 'idle.db'}"
    _fill(url, 60)
    with loopback_process(NO_LIMITS) as discord:
        env = {
            "DATABASE_URL": url,
            "DISCORD_TOKEN": "bench",
            "DISCORD_API_BASE": discord.base_url,
            "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": "5",
        }
        jobs = ("weekly", "engagement", "changes")
        for job in jobs:
            run([SPEAKERBOT, "run", job, "--now", NOW], env)
        took = alternately(
            {
                "floor": (python("-c", "import typer, structlog"), {}),
                **{job: ([SPEAKERBOT, "run", job, "--now", NOW], env) for job in jobs},
            },
            runs,
        )
    for job in jobs:
        ratio = took[job].seconds / took["floor"].seconds
        yield Figure(
            f"run {job}, nothing to do",
            f"{took[job].seconds * 1000:.0f} ms",
            f"{ratio:.2f} × import typer, structlog ({took['floor'].seconds * 1000:.0f} ms)",
        )


def much(folder: Path) -> Iterator[Figure]:
    """Ten thousand talks and people."""
    url = f"sqlite:///{folder / 'much.db'}"
    _fill(url, MANY)
    env = {"DATABASE_URL": url, "DISCORD_TOKEN": "bench", "DISCORD_API_BASE": "http://127.0.0.1:9"}
    env["PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"] = env["DISCORD_LOGS_CHANNEL_ID"] = "5"
    changes = [SPEAKERBOT, "run", "changes", "--now", NOW]
    run(changes, env)  # sets the baseline
    took = run(changes, env)
    start = run([SPEAKERBOT, "--version"])
    yield Figure(
        f"run changes over {MANY:,} talks, none changed",
        f"{took.seconds * 1000:.0f} ms, {took.peak_mb:.0f} MB",
        f"--version: {start.seconds * 1000:.0f} ms",
    )
    took = run([SPEAKERBOT, "preview", "--days", "30", "--now", NOW, "--json"], env)
    yield Figure(
        f"preview of 30 days over {MANY:,} people and talks",
        f"{took.seconds * 1000:.0f} ms, {took.peak_mb:.0f} MB",
        "six schedules, four of them hourly",
    )


def _fill(url: str, count: int) -> None:
    """A talk a day from 2026 on, each by somebody else."""
    store = open_store(url)
    store.prepare()
    first = date(2026, 11, 1)
    store.talks.put(
        [
            Talk(f"{n:024x}", str(10**17 + n), f"user{n}", "A talk", first + timedelta(days=n))
            for n in range(count)
        ]
    )
    store.people.put([Person(f"p{n}", str(10**17 + n), f"user{n}") for n in range(count)])
    store.close()
