"""Plays a schedule: processes die and start again until nothing is left to do; then the loopback
Discord's own record is compared with what should have come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.clock import Clock, real_now
from speakerbot.delivery.ledger import Delivery
from speakerbot.stores import open_store
from speakerbot.testing.crash.forks import CRASHED, Child, Ended, call
from speakerbot.testing.crash.running import Place, dying_at, run_once
from speakerbot.testing.crash.schedules import Gap, Process, Round, Schedule
from speakerbot.testing.crash.scratch import scratch_store
from speakerbot.testing.crash.verdict import Evidence, judge
from speakerbot.testing.crash.world import World, WorldOf
from speakerbot.testing.discord import NO_LIMITS, LoopbackProcess, loopback_process

if TYPE_CHECKING:
    from collections.abc import Iterator

AFTER_WINDOW = timedelta(minutes=6)
"""Longer than Discord remembers nonces, and than the lease."""
AFTER_RETRY = timedelta(minutes=31)
"""Longer than the engine waits before it tries again."""
MOST_RECOVERIES = 9
PLAYED_BY_ONE = 400
"""Schedules after which the loopback starts afresh: its record is read for each of them."""


@dataclass(slots=True)
class Played:
    """``problems`` is empty if the promise held. ``trace`` says what each process did."""

    problems: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    boundaries: int = 0
    """Most that one process passed."""
    killed: int = 0

    def text(self) -> str:
        return "\n".join([*self.problems, "", *self.trace])


class Arena:
    """Where schedules are played, one after another. ``mongodb``: a server's address, else SQLite
    files in ``folder``. Use as a context."""

    def __init__(self, world_of: WorldOf, folder: Path, mongodb: str | None = None) -> None:
        self.world_of = world_of
        self._folder = folder
        self._mongodb = mongodb
        self._numbers = count(1)
        self._discord: LoopbackProcess | None = None

    def play(self, schedule: Schedule) -> Played:
        number = next(self._numbers)
        with self._loopback(number) as discord, scratch_store(self._folder, self._mongodb) as url:
            world = self.world_of(number, schedule.variant)
            place = Place(url, discord.base_url, timedelta(seconds=schedule.lease))
            log = self._folder / f"{number}.log"
            game = _Game(world, place, schedule, discord, log)
            played = game.play()
            if played.problems:
                played.trace.append(log.read_text(errors="replace") if log.exists() else "")
            log.unlink(missing_ok=True)
            return played

    @contextmanager
    def _loopback(self, number: int) -> Iterator[LoopbackProcess]:
        if self._discord is None or number % PLAYED_BY_ONE == 0:
            self.close()
            self._opened = loopback_process(NO_LIMITS)
            self._discord = self._opened.__enter__()
        yield self._discord

    def close(self) -> None:
        if self._discord is not None:
            self._opened.__exit__(None, None, None)
            self._discord = None

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Game:
    """One schedule in one world."""

    def __init__(
        self, world: World, place: Place, schedule: Schedule, discord: LoopbackProcess, log: Path
    ) -> None:
        self._world = world
        self._place = place
        self._schedule = schedule
        self._discord = discord
        self._log = log
        self._clock = Clock(offset=world.now - real_now())
        self._played = Played()

    def play(self) -> Played:
        client = self._discord.client
        client.use(replace(NO_LIMITS, history_nonces=self._schedule.history_nonces))
        client.clear_faults()
        call(self._fill, self._log)
        self._world.furnish(client)
        before = len(client.messages())
        for each in self._schedule.rounds:
            self._play(each)
        client.clear_faults()
        self._recover()
        evidence = Evidence(tuple(client.messages()[before:]), tuple(client.dms_opened()))
        evidence = replace(evidence, records=self._records())
        self._played.problems += judge(self._world, evidence, call(self._store_problems, self._log))
        return self._played

    def _play(self, each: Round) -> None:
        self._wait(each.gap)
        self._discord.client.inject(*each.faults)
        children = [(process, self._start(process)) for process in each.processes]
        for process, child in children:
            self._note(process, child.wait(kill_after=process.kill_after))

    def _recover(self) -> None:
        """Runs as a scheduler would, until a run leaves nothing waiting; and once more."""
        for _ in range(MOST_RECOVERIES):
            self._pass(AFTER_RETRY)
            self._note(Process(), self._start(Process()).wait())
            records = self._records()
            waiting = [r for r in records.values() if r.state in ("claimed", "failed")]
            if not waiting and set(records) >= set(self._world.expected()):
                break
        else:
            self._played.problems.append("it does not become quiet")
        sent = len(self._discord.client.messages())
        self._note(Process(), self._start(Process()).wait())
        if len(self._discord.client.messages()) != sent:
            self._played.problems.append("a run after everything was sent sends again")

    def _wait(self, gap: Gap) -> None:
        match gap:
            case "lease":
                # Nobody's memory of nonces is over yet, but the claims are.
                lease = self._place.lease.total_seconds()
                self._clock = replace(self._clock, skew=self._clock.skew + timedelta(seconds=lease))
            case "window":
                self._pass(AFTER_WINDOW)

    def _pass(self, time: timedelta) -> None:
        self._clock = replace(self._clock, skew=self._clock.skew + time)
        self._discord.client.advance(time)

    def _start(self, process: Process) -> Child:
        world, place, clock = self._world, self._place, self._clock
        return Child(
            lambda mouth: run_once(world, place, clock, dying_at(process.kill_at, mouth)), self._log
        )

    def _note(self, process: Process, ended: Ended) -> None:
        steps = ended.said.decode().splitlines()
        self._played.boundaries = max(self._played.boundaries, len(steps))
        self._played.killed += ended.code < 0
        self._played.trace.append(f"exit {ended.code}: {process}: {'; '.join(steps)}")
        if ended.code == CRASHED:
            self._played.problems.append("a process ended with a traceback")

    def _fill(self) -> None:
        store = open_store(self._place.store_url)
        store.prepare()
        self._world.fill(store)
        store.close()

    def _records(self) -> Mapping[str, Delivery]:
        return call(self._read_records, self._log)

    def _read_records(self) -> Mapping[str, Delivery]:
        store = open_store(self._place.store_url)
        try:
            return store.ledger.get(sorted(self._world.expected()))
        finally:
            store.close()

    def _store_problems(self) -> Sequence[str]:
        store = open_store(self._place.store_url)
        try:
            return self._world.problems(store)
        finally:
            store.close()
