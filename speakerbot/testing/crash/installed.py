"""Schedules played through the installed command: real processes with a real environment, killed
from outside, on the real clock.

Boundaries are not seen from outside. A process dies after some time instead, or as soon as the
loopback Discord has kept an answer back; leases are short, and what waits for one really waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.testing.crash.arena import Played, scratch_store
from speakerbot.testing.crash.judge import Evidence, Kept, Promise, judge, quiet
from speakerbot.testing.crash.reminders_world import InboxWorld, RemindersWorld
from speakerbot.testing.crash.seeds import VARIANTS
from speakerbot.testing.crash.world import TOKEN
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackClient, loopback_process
from speakerbot.testing.discord.routing import Operation

COMMAND = Path(sys.executable).parent / "speakerbot"
LEASE = timedelta(seconds=2)
OCCURRENCE = datetime(2026, 11, 20, 16, tzinfo=UTC)
MOST_RECOVERIES = 8
HANGS: tuple[Operation, ...] = ("create_message", "create_message", "create_dm", "list_messages")


@dataclass(frozen=True, slots=True)
class InstalledProcess:
    """One run of the command. ``signal`` is sent after so many ``seconds``, or, where these are
    None, as soon as Discord leaves a request unanswered; 0: none is."""

    signal: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class InstalledSchedule:
    """Rounds of processes that run side by side, with what Discord never answers."""

    rounds: tuple[tuple[InstalledProcess, ...], ...]
    hangs: tuple[Fault | None, ...]
    """By round."""
    variant: int
    gated: bool
    inbox: bool


def of_seed(seed: int) -> InstalledSchedule:
    """The same seed always draws the same schedule."""
    draw = Random(f"installed {seed}")  # noqa: S311  # no secret
    rounds: list[tuple[InstalledProcess, ...]] = []
    hangs: list[Fault | None] = []
    for _ in range(draw.randint(1, 3)):
        side_by_side = range(draw.choice((1, 1, 2)))
        hang = None
        if draw.random() < 0.5:
            accepted = draw.random() < 0.6
            on, nth = draw.choice(HANGS), draw.randint(1, 4)
            hang = Fault(kind="hang", on=on, nth=nth, accepted=accepted)
        rounds.append(tuple(_process(draw, hanging=hang is not None) for _ in side_by_side))
        hangs.append(hang)
    return InstalledSchedule(
        tuple(rounds),
        tuple(hangs),
        variant=draw.randrange(VARIANTS),
        gated=draw.random() < 0.5,
        inbox=draw.random() < 0.3,
    )


def _process(draw: Random, *, hanging: bool) -> InstalledProcess:
    # A process that nobody kills would wait for the answer that never comes, and then retry.
    if hanging:
        return InstalledProcess(signal.SIGKILL)
    number = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, 0))
    return InstalledProcess(number, draw.uniform(0.15, 0.6))


def play(seeds: Iterable[int], folder: Path, mongodb: str | None = None) -> Iterator[Played]:
    """Each schedule, as it is over, on stores of its own: SQLite files in ``folder``, or databases
    of a MongoDB server."""
    with loopback_process(NO_LIMITS) as discord:
        for number, seed in enumerate(seeds, 1):
            with scratch_store(folder, mongodb) as url:
                game = _Game(of_seed(seed), number, url, discord.base_url, discord.client)
                yield game.play()


@dataclass(slots=True)
class _Game:
    """One schedule in one world."""

    schedule: InstalledSchedule
    number: int
    store_url: str
    discord_base: str
    discord: LoopbackClient
    played: Played = field(default_factory=Played)
    before: int = 0

    def play(self) -> Played:
        world_of = InboxWorld if self.schedule.inbox else RemindersWorld
        world = world_of(self.number, self.schedule.variant)
        promise = Promise(dict(world.expected()))
        self.discord.clear_faults()
        world.furnish(self.discord)
        self.before = len(self.discord.messages())
        self._in_store(world.fill)
        for processes, hang in zip(self.schedule.rounds, self.schedule.hangs, strict=True):
            self._round(world, processes, hang)
        self.discord.clear_faults()
        kept = self._recovered(world, promise)
        self.played.problems += judge(promise, self._evidence(world), kept)
        return self.played

    def _round(
        self, world: RemindersWorld, processes: tuple[InstalledProcess, ...], hang: Fault | None
    ) -> None:
        self.discord.clear_faults()
        if hang:
            self.discord.inject(hang)
        unanswered = self._unanswered()
        running = [(each, self._start(world)) for each in processes]
        begin, sent = time.monotonic(), set[int]()
        while any(process.poll() is None for _, process in running):
            for index, (each, process) in enumerate(running):
                due = self._unanswered() > unanswered if each.seconds is None else (
                    time.monotonic() - begin > each.seconds
                )  # fmt: skip
                if each.signal and due and index not in sent and process.poll() is None:
                    process.send_signal(each.signal)
                    sent.add(index)
            time.sleep(0.01)
        for each, process in running:
            self._ended(each, process)

    def _start(self, world: RemindersWorld) -> subprocess.Popen[str]:
        command = [str(COMMAND), "run", "reminders", "--now", world.now.isoformat(), "--json"]
        if self.schedule.gated:
            command += ["--cron", "0 16 * * *", "--grace", "12h", "--share"]
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.store_url,
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_BASE": self.discord_base,
            "SPEAKERBOT_ENV_FILE": "",
            "SPEAKERBOT_LEASE": f"{LEASE.seconds}s",
            "SPEAKERBOT_NEW_DM_EVERY": "0s",
            "SPEAKERBOT_REMINDER_OFFSETS": ",".join(f"{days}d@16:00" for days in range(8)),
            "SPEAKERBOT_REMINDER_ROUTES": ",".join(world.routes),
        }
        return subprocess.Popen(  # noqa: S603
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _ended(self, each: InstalledProcess, process: subprocess.Popen[str]) -> None:
        out, errors = process.communicate()
        self.played.killed += process.returncode < 0
        self.played.trace.append(f"exit {process.returncode}: {each}\n{errors}")
        if "Traceback" in errors or process.returncode == 1:
            self.played.problems.append("a process ended with a traceback")
        if process.returncode == 0 and not _is_document(out):
            self.played.problems.append(f"it printed no document: {out!r}")

    def _recovered(self, world: RemindersWorld, promise: Promise) -> Kept:
        """Runs as a scheduler would, until one finds nothing waiting and sends nothing."""
        for _ in range(MOST_RECOVERIES):
            time.sleep(LEASE.total_seconds() + 0.1)
            sent = len(self.discord.messages())
            self._ended(InstalledProcess(), process := self._start(world))
            kept = self._kept(world, promise)
            if quiet(promise, kept) and len(self.discord.messages()) == sent:
                return kept
        self.played.problems.append(f"it does not become quiet: exit {process.returncode}")
        return kept

    def _kept(self, world: RemindersWorld, promise: Promise) -> Kept:
        with _opened(self.store_url) as store:
            records = store.ledger.get(sorted(promise.due))
            occurrence = store.occurrences.get("reminders", OCCURRENCE)
            standing = occurrence.standing if occurrence else None
            outside = "finished" if not self.schedule.gated else None  # there is none to be closed
            return Kept(records, standing or outside, tuple(world.problems(store)))

    def _in_store(self, write: Callable[[Store], None]) -> None:
        with _opened(self.store_url) as store:
            store.prepare()
            write(store)

    def _unanswered(self) -> int:
        by_operation = self.discord.counts().by_operation
        return sum(statuses.get("none", 0) for statuses in by_operation.values())

    def _evidence(self, world: RemindersWorld) -> Evidence:
        opened = {dm.channel_id: dm.user_id for dm in self.discord.dms_opened()}
        messages = tuple(self.discord.messages()[self.before :])
        return Evidence(messages, {**world.dm_channels, **opened})


@contextmanager
def _opened(url: str) -> Iterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def _is_document(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
