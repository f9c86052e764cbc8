"""Schedules played through the installed command: real processes with a real environment, killed
from outside, on the real clock.

Boundaries are not seen from outside. A process dies after some time instead, once the loopback
Discord has had so many requests, or once it has kept an answer back; leases are short, and what
waits for one really waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import IO

from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.testing.crash.arena import Played, scratch_store
from speakerbot.testing.crash.judge import Evidence, Kept, Promise, judge, quiet
from speakerbot.testing.crash.reminders_world import InboxWorld, RemindersWorld
from speakerbot.testing.crash.seeds import VARIANTS, plays_on_mongodb
from speakerbot.testing.crash.world import TOKEN
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackClient, loopback_process
from speakerbot.testing.discord.routing import Operation

COMMAND = Path(sys.executable).parent / "speakerbot"
LEASE = timedelta(seconds=2)
OCCURRENCE = datetime(2026, 11, 20, 16, tzinfo=UTC)
MOST_RECOVERIES = 8
MOST_REQUESTS = 8
"""Hardly more requests has a run that nothing disturbs."""
ROUND_LIMIT = 60.0
"""Seconds after which a round hangs, for all we know."""
HANGS: tuple[Operation, ...] = ("create_message", "create_message", "create_dm", "list_messages")


@dataclass(frozen=True, slots=True)
class InstalledProcess:
    """One run of the command. ``signal`` is sent after so many ``seconds``, or once Discord has had
    so many ``requests`` in this round, or, where both are None, as soon as Discord leaves a request
    unanswered; 0: none is."""

    signal: int = 0
    seconds: float | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    """A process, and the files it writes to: an unread pipe would fill up and stop it."""

    planned: InstalledProcess
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    errors: IO[bytes]

    @property
    def lives(self) -> bool:
        return self.process.poll() is None


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
    # A process that is not killed would wait for the answer that never comes, and then retry.
    if hanging:
        return InstalledProcess(signal.SIGKILL)
    number = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, 0))
    # Most of the time before the first request goes into imports, where there is little to lose.
    if draw.random() < 0.75:
        return InstalledProcess(number, requests=draw.randint(1, MOST_REQUESTS))
    return InstalledProcess(number, seconds=draw.uniform(0.15, 0.6))


def play(
    seeds: Iterable[int], folder: Path, mongodb: str | None = None, round_limit: float = ROUND_LIMIT
) -> Iterator[Played]:
    """Each schedule, as it is over, on stores of its own: SQLite files in ``folder``, or, every
    fourth one, databases of a MongoDB server, if there is one. A round that takes more seconds than
    ``round_limit`` is ended, and a problem."""
    with loopback_process(NO_LIMITS) as discord:
        for number, seed in enumerate(seeds, 1):
            with scratch_store(folder, mongodb if plays_on_mongodb(seed) else None) as url:
                yield _Game(
                    seed, of_seed(seed), number, url, discord.base_url, discord.client, round_limit
                ).play()


@dataclass(slots=True)
class _Game:
    """One schedule in one world."""

    seed: int
    schedule: InstalledSchedule
    number: int
    store_url: str
    discord_base: str
    discord: LoopbackClient
    round_limit: float
    hung: bool = False
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
        unanswered, requests = self._unanswered(), self._requests()
        begin, signalled = time.monotonic(), set[int]()

        def due(planned: InstalledProcess) -> bool:
            if planned.seconds is not None:
                return time.monotonic() - begin > planned.seconds
            if planned.requests is not None:
                return self._requests() - requests >= planned.requests
            return self._unanswered() > unanswered

        running = [self._start(world, planned) for planned in processes]
        while self._goes_on(running, begin):
            for each in running:
                waits = each.planned.signal and each.process.pid not in signalled
                if waits and each.lives and due(each.planned):
                    each.process.send_signal(each.planned.signal)
                    signalled.add(each.process.pid)
            time.sleep(0.005)
        for each in running:
            self._ended(each)

    def _goes_on(self, running: Sequence[_Running], begin: float) -> bool:
        """Whether any of them lives. Kills those that take too long, which is a problem."""
        living = [each for each in running if each.lives]
        if not living or time.monotonic() - begin < self.round_limit:
            return bool(living)
        self.hung = True
        self.played.problems.append(f"seed {self.seed}: no end after {self.round_limit:g} s")
        for each in living:
            each.process.kill()
            each.process.wait()
        return False

    def _start(self, world: RemindersWorld, planned: InstalledProcess) -> _Running:
        command = [str(COMMAND), "run", "reminders", "--now", world.now.isoformat(), "--json"]
        if self.schedule.gated:
            command += ["--cron", "0 16 * * *", "--grace", "12h", "--share"]
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.store_url,
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_BASE": self.discord_base,
            "SPEAKERBOT_ENV_FILE": "",
            # Else runs on MongoDB would hold reminders back around 16:00 by the real clock.
            "NODE_BOT_COEXIST": "false",
            "SPEAKERBOT_LEASE": f"{LEASE.seconds}s",
            "SPEAKERBOT_NEW_DM_EVERY": "0s",
            "SPEAKERBOT_REMINDER_OFFSETS": ",".join(f"{days}d@16:00" for days in range(8)),
            "SPEAKERBOT_REMINDER_ROUTES": ",".join(world.routes),
        }
        out, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # see _read
        process = subprocess.Popen(command, env=env, stdout=out, stderr=errors)  # noqa: S603
        return _Running(planned, process, out, errors)

    def _ended(self, each: _Running) -> None:
        out, errors = _read(each.out), _read(each.errors)
        code = each.process.returncode
        self.played.killed += code < 0
        self.played.trace.append(f"exit {code}: {each.planned}\n{errors}")
        if "Traceback" in errors or code == 1:
            self.played.problems.append("a process ended with a traceback")
        if code == 0 and not _is_document(out):
            self.played.problems.append(f"it printed no document: {out!r}")

    def _recovered(self, world: RemindersWorld, promise: Promise) -> Kept:
        """Runs as a scheduler would, until one finds nothing waiting and sends nothing."""
        kept = self._kept(world, promise)
        for _ in range(MOST_RECOVERIES):
            if not quiet(promise, kept):
                time.sleep(LEASE.total_seconds() + 0.1)
            sent = len(self.discord.messages())
            self._round(world, (InstalledProcess(),), None)
            kept = self._kept(world, promise)
            if self.hung or (quiet(promise, kept) and len(self.discord.messages()) == sent):
                return kept
        self.played.problems.append("it does not become quiet")
        return kept

    def _kept(self, world: RemindersWorld, promise: Promise) -> Kept:
        with _opened(self.store_url) as store:
            records = store.ledger.get(sorted(promise.due))
            occurrence = store.occurrences.get("reminders", OCCURRENCE)
            standing = occurrence.standing if occurrence else None
            outside = (
                "finished" if not self.schedule.gated else None
            )  # it has no occurrence to close
            return Kept(records, standing or outside, tuple(world.problems(store)))

    def _in_store(self, write: Callable[[Store], None]) -> None:
        with _opened(self.store_url) as store:
            store.prepare()
            write(store)

    def _unanswered(self) -> int:
        by_operation = self.discord.counts().by_operation
        return sum(statuses.get("none", 0) for statuses in by_operation.values())

    def _requests(self) -> int:
        by_operation = self.discord.counts().by_operation
        return sum(sum(statuses.values()) for statuses in by_operation.values())

    def _evidence(self, world: RemindersWorld) -> Evidence:
        opened = {dm.channel_id: dm.user_id for dm in self.discord.dms_opened()}
        messages = tuple(self.discord.messages()[self.before :])
        return Evidence(messages, {**world.dm_channels, **opened})


@contextmanager
def _opened(url: str) -> Iterator[Store]:
    store = open_store(url, beside_node_bot=False)
    try:
        yield store
    finally:
        store.close()


def _read(file: IO[bytes]) -> str:
    """All that was written, by whoever; closes the file."""
    with file:
        file.seek(0)
        return file.read().decode(errors="replace")


def _is_document(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
