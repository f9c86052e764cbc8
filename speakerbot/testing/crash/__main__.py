"""``python -m speakerbot.testing.crash``: plays schedules until one breaks the promise."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Annotated

import typer
from msgspec import structs

from speakerbot.testing.crash.arena import Arena, Played
from speakerbot.testing.crash.changes_world import ChangesWorld
from speakerbot.testing.crash.confirm_world import ConfirmWorld
from speakerbot.testing.crash.events_world import EventsWorld
from speakerbot.testing.crash.installed import play as play_installed
from speakerbot.testing.crash.node_bot_world import NodeBotWorld
from speakerbot.testing.crash.posts_worlds import (
    DigestWorld,
    EngagementWorld,
    StartingWorld,
    WeeklyWorld,
)
from speakerbot.testing.crash.reminders_world import EveningsWorld, InboxWorld, RemindersWorld
from speakerbot.testing.crash.seeds import (
    CrashSchedule,
    about_events,
    around_node_bot,
    of_seed,
    plays_on_mongodb,
    read,
)
from speakerbot.testing.crash.world import WorldOf

MODULE = (sys.executable, "-m", "speakerbot.testing.crash")
WORLDS: dict[str, WorldOf] = {
    "reminders": RemindersWorld,
    "inbox": InboxWorld,
    "confirm": ConfirmWorld,
    "evenings": EveningsWorld,
    "weekly": WeeklyWorld,
    "changes": ChangesWorld,
    "engagement": EngagementWorld,
    "digest": DigestWorld,
    "starting": StartingWorld,
    "events": EventsWorld,
    "node-bot": NodeBotWorld,
}
SHARES = (
    "reminders",
    "inbox",
    "reminders",
    "changes",
    "changes",
    "weekly",
    "engagement",
    "digest",
    "starting",
    "evenings",
    "events",
    "evenings",
    "node-bot",
    "confirm",
    "confirm",
)
"""The world of each seed, in turn. Their number is odd, so that each comes to play on MongoDB, as
every fourth seed does."""
DEFAULT_SEEDS = 100
INSTALLED = 50
"""One of so many more is played through the installed command."""
AT_ONCE_ON_EACH = 2
"""Schedules through the installed command that share a processor: they mostly wait."""
PROGRESS_EVERY = 15.0
HELD, BROKEN = "held", "broken"
KILLED = "killed"


def main(
    seeds: Annotated[
        int | None, typer.Option(help="How many schedules. Default: 100, or 0 with --installed.")
    ] = None,
    first: Annotated[int, typer.Option(help="The seed of the first one.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Exactly the one of this seed.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Exactly this one, as JSON.")] = None,
    job: Annotated[
        str | None, typer.Option(help=f"Of every schedule: one of {', '.join(WORLDS)}.")
    ] = None,
    mongodb: Annotated[
        str | None,
        typer.Option(help="A server for every fourth one.", envvar="SPEAKERBOT_TEST_MONGODB_URI"),
    ] = None,
    installed: Annotated[
        int | None,
        typer.Option(help="So many by the installed command, too. Default: 2 % of the seeds."),
    ] = None,
    processes: Annotated[int, typer.Option(help="That play side by side.")] = os.cpu_count() or 1,
    step: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Kills runs of jobs wherever they can die, and looks what came of it."""
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder)) as arena:
        if schedule is not None:
            played = arena.play(WORLDS[job or "reminders"], read(schedule), mongodb)
            raise typer.Exit(_told(played, schedule))
        if seed is not None:
            played = _play(arena, seed, job, mongodb)
            raise typer.Exit(_told(played, _schedule(seed, job or job_of(seed)).text()))
        if step and installed:
            numbers = range(first, installed, step)
            for number, played in zip(
                numbers, play_installed(numbers, Path(folder), mongodb), strict=True
            ):
                _say(number, played)
            return
        if step:
            for number in range(first, seeds or 0, step):
                _say(number, _play_anyway(arena, number, job, mongodb))
            return
    seeds = seeds if seeds is not None else 0 if installed else DEFAULT_SEEDS
    installed = seeds // INSTALLED if installed is None else installed
    more = [*(["--job", job] if job else []), *_on(mongodb)]
    code = _play_side_by_side(range(first, first + seeds), processes, more)
    share = range(first, first + installed)
    code = max(code, _play_side_by_side(share, processes, _on(mongodb), installed=True))
    raise typer.Exit(code)


def job_of(seed: int) -> str:
    return SHARES[seed % len(SHARES)]


def _play(arena: Arena, seed: int, job: str | None, mongodb: str | None) -> Played:
    server = mongodb if plays_on_mongodb(seed) else None
    job = job or job_of(seed)
    return arena.play(WORLDS[job], _schedule(seed, job), server)


def _play_anyway(arena: Arena, seed: int, job: str | None, mongodb: str | None) -> Played:
    """One that cannot even be played keeps none of the others from it."""
    try:
        return _play(arena, seed, job, mongodb)
    except Exception as error:
        return Played([f"it could not be played: {error!r}"], [traceback.format_exc()])


def _schedule(seed: int, job: str) -> CrashSchedule:
    drawn_by = {"node-bot": around_node_bot, "events": about_events}
    drawn = drawn_by.get(job, of_seed)(seed)
    # Of what is refused once, the next occurrence sees more: there must be one.
    return structs.replace(drawn, every="minute") if job in ("confirm", "events") else drawn


def _on(mongodb: str | None) -> list[str]:
    """The option that names the server."""
    return ["--mongodb", mongodb] if mongodb else []


def _told(played: Played, schedule: str) -> int:
    """Everything there is to say of one schedule. Returns the exit code."""
    typer.echo(f"{schedule}\n{played.text()}\n{BROKEN if played.problems else HELD}")
    return 1 if played.problems else 0


def _say(seed: int, played: Played) -> None:
    """One line for whoever counts."""
    word = BROKEN if played.problems else HELD
    said = [word, str(seed), str(played.killed), *"; ".join(played.problems).split()]
    if played.problems:
        typer.echo("\n".join(played.trace), err=True)
    typer.echo(" ".join(said))
    sys.stdout.flush()


def _play_side_by_side(
    seeds: range, processes: int, more: list[str], *, installed: bool = False
) -> int:
    """Plays them all; says how far it is, and of each that breaks the promise how to play it
    again. Returns the exit code."""
    if not seeds:
        return 0
    if installed:
        processes *= AT_ONCE_ON_EACH
    how = "--installed" if installed else "--seeds"
    share = [how, str(seeds.stop), "--step", str(processes), *more]
    commands = [[*MODULE, "--first", str(first), *share] for first in seeds[:processes]]
    running = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in commands]  # noqa: S603
    try:
        counts = _follow(running, len(seeds), more, installed)
    finally:
        for process in running:
            process.terminate()
    held, last = counts[HELD], seeds.stop - 1
    through = " through the installed command" if installed else ""
    typer.echo(
        f"{held} of {len(seeds)} held{through}, seeds {seeds.start} to {last}; "
        f"{counts[KILLED]} killed."
    )
    return 0 if counts[HELD] == len(seeds) else 1


def _follow(
    running: list[subprocess.Popen[str]], total: int, more: list[str], installed: bool
) -> Counter[str]:
    """How many schedules held, how many broke, and how many processes died of them."""
    counts: Counter[str] = Counter()
    begin = said = time.monotonic()
    for line in _lines(running):
        word, seed, killed, *problems = line.split()
        counts[word] += 1
        counts[KILLED] += int(killed)
        if word == BROKEN:
            which = ["--installed", "1", "--first", seed] if installed else ["--seed", seed]
            typer.echo(f"{'installed, ' if installed else ''}seed {seed}: {' '.join(problems)}")
            typer.echo(f"again: {shlex.join([*MODULE, *which, *more])}")
        now = time.monotonic()
        if now - said > PROGRESS_EVERY:
            said = now
            played = counts[HELD] + counts[BROKEN]
            left = (now - begin) / played * (total - played)
            typer.echo(f"{played} of {total} played, {counts[BROKEN]} broken, {left:.0f} s left")
    return counts


def _lines(running: list[subprocess.Popen[str]]) -> Iterator[str]:
    """As any of them says one."""
    with DefaultSelector() as selector:
        for process in running:
            if process.stdout:
                selector.register(process.stdout.fileno(), EVENT_READ, process.stdout)
        while selector.get_map():
            for key, _ in selector.select():
                if line := key.data.readline():
                    yield line
                else:
                    selector.unregister(key.fd)


if __name__ == "__main__":
    typer.run(main)
