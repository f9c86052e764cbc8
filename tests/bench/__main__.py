"""``make bench``: figures beside a floor and a peer of the same run. No thresholds: to be read."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from speakerbot.domain.talk import Talk
from speakerbot.stores import open_store
from speakerbot.testing.discord import (
    NO_LIMITS,
    LoopbackProcess,
    LoopbackSettings,
    loopback_process,
)
from tests.bench.figures import Figure
from tests.bench.files import files, syncs
from tests.bench.jobs import idle, much
from tests.bench.measure import ROOT, alternately, python, run, start, wait

SPEAKERBOT = str(Path(sys.executable).parent / "speakerbot")
CLOCKS_APART = 90
CALM = "2026-06-01T00:00:00Z"
"""A time at which no sample talk has anything due."""


def starting(folder: Path, runs: int) -> Iterator[Figure]:
    """What a tick costs that finds nothing to do."""
    url = f"sqlite:///{folder / 'start.db'}"
    store = open_store(url)
    store.prepare()
    store.close()
    env = {"DATABASE_URL": url, "DISCORD_TOKEN": "bench"}
    connect = f"import typer, structlog, sqlite3; sqlite3.connect({url[10:]!r}).execute('SELECT 1')"
    gated = ["--schedule", "bench", "--cron", "@hourly", "--now", CALM]
    timed = ["--schedule", "bench", "--cron", "@hourly", "--horizon", "75m"]
    run([SPEAKERBOT, "run", "reminders", *gated], env)  # finishes the occurrence
    took = alternately(
        {
            "interpreter": (python("-c", "pass"), {}),
            "floor": (python("-c", "import typer, structlog"), {}),
            "floor and query": (python("-c", connect), {}),
            "--version": ([SPEAKERBOT, "--version"], {}),
            "empty": ([SPEAKERBOT, "run", "reminders", "--now", CALM], env),
            "gated": ([SPEAKERBOT, "run", "reminders", *gated], env),
            "timed": ([SPEAKERBOT, "run", "starting", *timed], env),
        },
        runs,
    )

    def row(what: str, name: str, floor: str, floor_name: str) -> Figure:
        mine, base = took[name], took[floor]
        figure = f"{mine.seconds * 1000:.0f} ms, {mine.peak_mb:.0f} MB"
        ratio = f"{mine.seconds / base.seconds:.2f} × {floor_name}"
        return Figure(what, figure, f"{ratio} ({base.seconds * 1000:.0f} ms)")

    yield row("--version", "--version", "interpreter", "bare interpreter")
    yield row("run, nothing due", "empty", "floor", "import typer, structlog")
    yield row("run, gated, not due", "gated", "floor and query", "the same + one SQLite query")
    yield row("run of a timed job, not due", "timed", "floor and query", "the same")
    if os.environ.get("SPEAKERBOT_TEST_MONGODB_URI"):
        yield from _not_due_on_mongodb(gated, timed, runs)


def _new_database() -> str:
    """The address of a new one on the MongoDB server."""
    server = urlsplit(os.environ["SPEAKERBOT_TEST_MONGODB_URI"])
    return urlunsplit(server._replace(path=f"/bench_{uuid4().hex}"))


def _not_due_on_mongodb(gated: list[str], timed: list[str], runs: int) -> Iterator[Figure]:
    url = _new_database()
    env = {"DATABASE_URL": url, "DISCORD_TOKEN": "bench"}
    query = (
        "import typer, structlog, pymongo; "
        f"pymongo.MongoClient({url!r}).get_default_database()['x'].find_one({{'_id': 1}})"
    )
    run([SPEAKERBOT, "run", "reminders", *gated], env)  # finishes the occurrence
    took = alternately(
        {
            "floor": (python("-c", query), {}),
            "gated": ([SPEAKERBOT, "run", "reminders", *gated], env),
            "timed": ([SPEAKERBOT, "run", "starting", *timed], env),
        },
        runs,
    )
    base = took["floor"]
    for name, what in (("gated", "run, gated"), ("timed", "run of a timed job")):
        mine = took[name]
        yield Figure(
            f"{what}, not due, MongoDB",
            f"{mine.seconds * 1000:.0f} ms, {mine.peak_mb:.0f} MB",
            f"{mine.seconds / base.seconds:.2f} × the same + pymongo and one query "
            f"({base.seconds * 1000:.0f} ms)",
        )


def thousand_talks(folder: Path) -> Iterator[Figure]:
    url = f"sqlite:///{folder / 'talks.db'}"
    store = open_store(url)
    store.prepare()
    first = date(2026, 1, 1)
    store.talks.put(
        [
            Talk(f"{n:024x}", str(n), f"user{n}", "A talk", first + timedelta(days=n))
            for n in range(1000)
        ]
    )
    store.close()
    arguments = ["run", "reminders", "--dry-run", "--now", "2026-11-20T16:05:00Z"]
    took = run([SPEAKERBOT, *arguments], {"DATABASE_URL": url})
    yield Figure("dry run over 1,000 talks", f"{took.seconds * 1000:.0f} ms", "2 of them are due")


def sending(folder: Path, count: int) -> Iterator[Figure]:
    """Throughput through the whole engine against a Discord of its own process."""
    limited, fast = LoopbackSettings(latency=0.08), NO_LIMITS
    with loopback_process(limited) as discord:
        seconds = _naive(discord, 40)
        naive = 40 / seconds
    yield _blast(folder, "one", limited, count, 1, 45, f"the limit set: 45/s; naive {naive:.1f}/s")
    shared = "the limit set: 45/s, shared"
    yield _blast(folder, "two", limited, count, 2, 45, shared)
    if os.environ.get("SPEAKERBOT_TEST_MONGODB_URI"):  # two machines share no SQLite file
        yield _blast(folder, "apart", limited, count, 2, 45, shared, apart=CLOCKS_APART)
    with loopback_process(fast) as discord:
        naive = 300 / _naive(discord, 300)
        done = run(python("-m", "tests.bench.bare", discord.base_url, str(count)))
        bare = count / done.document["seconds"]
    beside = f"naive {naive:.0f}/s; bare discord.py, 16 workers: {bare:.0f}/s"
    yield _blast(folder, "fast", fast, count, 1, 100_000, beside)


def _naive(discord: LoopbackProcess, count: int) -> float:
    done = run(python("-m", "tests.bench.naive", discord.base_url, str(count)))
    return float(done.document["seconds"])


def _blast(
    folder: Path,
    name: str,
    settings: LoopbackSettings,
    count: int,
    processes: int,
    rate: int,
    beside: str,
    *,
    apart: int = 0,
) -> Figure:
    """``apart``: so many seconds the clock of each process is ahead of the one before it."""
    with loopback_process(settings) as discord:
        env = {
            "DATABASE_URL": _new_database() if apart else f"sqlite:///{folder / name}.db",
            "DISCORD_TOKEN": "bench",
            "DISCORD_API_BASE": discord.base_url,
            "SPEAKERBOT_RATE": str(rate),
        }
        blast = python("-m", "tests.bench.blast", str(count))
        run([*blast, "--prepare"], env)
        started = [
            start([*blast, "--clock-ahead", str(apart * number)], env)
            for number in range(processes)
        ]
        done = [wait(each) for each in started]
        counts = discord.client.counts()
        messages = discord.client.messages()
    took = max(each.document["seconds"] for each in done)
    limits = "limits on, 80 ms" if settings.latency else "no limits, no latency"
    many = "" if processes == 1 else f" by {processes} processes"
    many += f", clocks {apart} s apart" if apart else ""
    requests = sum(sum(by.values()) for by in counts.by_operation.values())
    assert len(messages) == count, f"{len(messages)} messages arrived of {count}"
    return Figure(
        f"{count:,} DMs{many}, {limits}",
        f"{count / took:.1f}/s, {requests / count:.3f} requests each, "
        f"{counts.rate_limited} × 429, {max(each.peak_mb for each in done):.0f} MB",
        beside,
    )


def memory(folder: Path, counts: tuple[int, ...]) -> Iterator[Figure]:
    for count in counts:
        env = {"DATABASE_URL": f"sqlite:///{folder / 'none.db'}"}
        took = run(python("-m", "tests.bench.blast", str(count), "--dry-run"), env)
        yield Figure(
            f"{count:,} planned messages (dry run)",
            f"{took.peak_mb:.0f} MB, {took.seconds:.1f} s",
            "the same for any number",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="of each command that starts")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument(
        "--only",
        choices=["starting", "talks", "files", "sync", "jobs", "much", "sending", "memory"],
    )
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Iterator[Figure]]] = {
            "starting": lambda: starting(folder, options.runs),
            "talks": lambda: thousand_talks(folder),
            "files": lambda: files(folder, 10_000),
            "sync": lambda: syncs(folder, 1_000),
            "jobs": lambda: idle(folder, options.runs),
            "much": lambda: much(folder),
            "sending": lambda: sending(folder, options.messages),
            "memory": lambda: memory(folder, (10_000, 100_000)),
        }
        chosen = [options.only] if options.only else list(parts)
        figures = [figure for part in chosen for figure in _shown(parts[part]())]
    _write(figures)


def _shown(figures: Iterator[Figure]) -> Iterator[Figure]:
    for figure in figures:
        sys.stderr.write(f"{figure.what}: {figure.figure}\n")
        yield figure


def _write(figures: list[Figure]) -> None:
    table = Table("what", "figure", "beside")
    for figure in figures:
        table.add_row(figure.what, figure.figure, figure.beside)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    at = datetime.now(UTC)
    document = {"at": at.isoformat(), "figures": [asdict(figure) for figure in figures]}
    (results / f"{at:%Y%m%dT%H%M%S}.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
