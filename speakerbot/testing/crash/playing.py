"""Plays a schedule: processes die and start again until nothing is left to do; then the loopback
Discord's own record is compared with what should have come of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from speakerbot.clock import Clock, real_now
from speakerbot.stores import open_store
from speakerbot.testing.crash.forks import CRASHED, Child, call, warm_up
from speakerbot.testing.crash.running import Place, dying_at, run_once
from speakerbot.testing.crash.schedules import CrashProcess, CrashRound, CrashSchedule, Gap
from speakerbot.testing.crash.scratch import scratch_store
from speakerbot.testing.crash.verdict import Evidence, Kept, judge, quiet
from speakerbot.testing.crash.world import CrashWorld, WorldOf
from speakerbot.testing.discord import NO_LIMITS, LoopbackProcess, loopback_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """Most that one process of the schedule passed."""
    killed: int = 0
    """Processes that died before their end."""

    def text(self) -> str:
        return "\n".join([*self.problems, "", *self.trace])


class Arena:
    """Where schedules are played, one after another. ``mongodb``: a server's address, else SQLite
    files in ``folder``. Use as a context."""

    def __init__(self, world_of: WorldOf, folder: Path, mongodb: str | None = None) -> None:
        self.world_of = world_of
        self._folder = folder
        self.mongodb = mongodb
        self._numbers = count(1)
        warm_up(*(("pymongo", "speakerbot.stores.mongo") if mongodb else ()))
        self._discord: LoopbackProcess | None = None

    def play(self, schedule: CrashSchedule) -> Played:
        number = next(self._numbers)
        if self._discord is None or number % PLAYED_BY_ONE == 0:
            self._restart()
        with self._game(number, schedule) as game:
            return game.play()

    @contextmanager
    def _game(self, number: int, schedule: CrashSchedule) -> Iterator[_Game]:
        assert self._discord is not None, "it was started"  # noqa: S101
        log = self._folder / f"crash-{number}.log"
        with scratch_store(self._folder, self.mongodb) as url:
            place = Place(url, self._discord.base_url, timedelta(seconds=schedule.lease))
            yield _Game(
                self.world_of(number, schedule.variant), place, schedule, self._discord, log
            )
        log.unlink(missing_ok=True)

    def _restart(self) -> None:
        self.close()
        self._opened = loopback_process(NO_LIMITS)
        self._discord = self._opened.__enter__()

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
        self,
        world: CrashWorld,
        place: Place,
        schedule: CrashSchedule,
        discord: LoopbackProcess,
        log: Path,
    ) -> None:
        self._world = world
        self._place = place
        self._schedule = schedule
        self._discord = discord.client
        self._log = log
        self._clock = Clock(offset=world.now - real_now())
        self._played = Played()
        self._before = 0

    def play(self) -> Played:
        played = self._played
        self._prepare()
        self._before = len(self._discord.messages())
        for each in self._schedule.rounds:
            self._play(each)
        self._discord.clear_faults()
        kept = self._recover()
        messages = tuple(self._discord.messages()[self._before :])
        evidence = Evidence(messages, tuple(self._discord.dms_opened()), kept)
        played.problems += judge(self._world, evidence)
        if played.problems and self._log.exists():
            played.trace.append(self._log.read_text(errors="replace"))
        return played

    def _prepare(self) -> None:
        schedule = self._schedule
        settings = replace(NO_LIMITS, history_nonces=schedule.history_nonces)
        self._discord.use(replace(settings, nonce_window=0.0) if schedule.forgetful else settings)
        self._discord.clear_faults()
        self._world.furnish(self._discord)
        call(self._fill, self._log)

    def _fill(self) -> None:
        store = open_store(self._place.store_url)
        store.prepare()
        self._world.fill(store)
        store.close()

    def _play(self, each: CrashRound) -> None:
        self._wait(each.gap)
        self._discord.clear_faults()
        self._discord.inject(*each.faults)
        children = [(process, self._start(process)) for process in each.processes]
        begin = monotonic()
        for process, child in children:
            ended = child.wait(kill_when=self._end_of(process, begin))
            steps = ended.said.decode().splitlines()
            self._played.boundaries = max(self._played.boundaries, len(steps))
            self._played.killed += ended.code < 0
            self._note(process, ended.code, steps)

    def _end_of(self, process: CrashProcess, begin: float) -> Callable[[], bool] | None:
        """Whether it is time to kill it from outside; None: never."""
        seconds, unanswered = process.kill_after, self._unanswered()
        if seconds is not None:
            return lambda: monotonic() - begin > seconds
        return (lambda: self._unanswered() > unanswered) if process.kill_unanswered else None

    def _unanswered(self) -> int:
        by_operation = self._discord.counts().by_operation
        return sum(statuses.get("none", 0) for statuses in by_operation.values())

    def _start(self, process: CrashProcess) -> Child:
        world, place, clock = self._world, self._place, self._clock
        return Child(
            lambda mouth: run_once(world, place, clock, dying_at(process.kill_at, mouth)), self._log
        )

    def _wait(self, gap: Gap) -> None:
        match gap:
            case "lease":
                # Nobody's memory of nonces is over yet, but the claims are.
                self._clock = replace(self._clock, skew=self._clock.skew + self._place.lease)
            case "window":
                self._pass(AFTER_WINDOW)

    def _pass(self, time: timedelta) -> None:
        self._clock = replace(self._clock, skew=self._clock.skew + time)
        self._discord.advance(time)

    def _recover(self) -> Kept:
        """Runs as a scheduler would, until one finds nothing waiting and sends nothing."""
        done = False
        for _ in range(MOST_RECOVERIES):
            sent = len(self._discord.messages())
            self._pass(AFTER_RETRY)
            kept = self._run_through()
            if done := quiet(self._world, kept) and len(self._discord.messages()) == sent:
                break
        if not done:
            self._played.problems.append("it does not become quiet")
        return kept

    def _run_through(self) -> Kept:
        code, steps, kept = call(self._run_and_look, self._log)
        self._note(CrashProcess(), code, steps)
        return kept

    def _run_and_look(self) -> tuple[int, list[str], Kept]:
        steps: list[str] = []
        code = run_once(self._world, self._place, self._clock, steps.append)
        store = open_store(self._place.store_url)
        try:
            records = store.ledger.get(sorted(self._world.expected()))
            return code, steps, Kept(records, tuple(self._world.problems(store)))
        finally:
            store.close()

    def _note(self, process: CrashProcess, code: int, steps: list[str]) -> None:
        self._played.trace.append(f"exit {code}: {process}: {'; '.join(steps)}")
        if code == CRASHED:
            self._played.problems.append("a process ended with a traceback")
