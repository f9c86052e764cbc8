"""Plays a schedule: processes die and start again until nothing is left to do; then the loopback
Discord's own record is compared with what should have come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib import import_module
from itertools import count
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4
from zoneinfo import ZoneInfo

from speakerbot.clock import Clock, real_now
from speakerbot.domain.cron import Cron
from speakerbot.ports.store import Store
from speakerbot.runs.service import Scheduling
from speakerbot.stores import open_store
from speakerbot.testing.crash.job_process import GRACE, Place, run_once, stalling, suffering
from speakerbot.testing.crash.judge import Evidence, Kept, Promise, judge, quiet
from speakerbot.testing.crash.processes import CRASHED, TOO_LONG, Child, call, warm_up
from speakerbot.testing.crash.seeds import (
    CrashProcess,
    CrashRound,
    CrashSchedule,
    Every,
    Gap,
    Outage,
    WorldEvent,
)
from speakerbot.testing.crash.world import CrashWorld, SharedClock, WorldChange, WorldOf
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackProcess, loopback_process

AFTER_WINDOW = timedelta(minutes=6)
"""Longer than Discord remembers nonces, and than the lease."""
AFTER_RETRY = timedelta(minutes=31)
"""Longer than the engine waits before it tries again."""
MOST_RECOVERIES = 12
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
    by_node_bot: int = 0
    """Messages that the Node bot has sent."""

    def text(self) -> str:
        return "\n".join([*self.problems, "", *self.trace])


class Arena:
    """Where schedules are played, one after another, on SQLite files in ``folder`` or databases of
    a MongoDB server. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._discord: LoopbackProcess | None = None
        warm_up()

    def play(
        self, world_of: WorldOf, schedule: CrashSchedule, mongodb: str | None = None
    ) -> Played:
        """``mongodb``: the server's address; None: SQLite."""
        number = next(self._numbers)
        if self._discord is None or number % PLAYED_BY_ONE == 0:
            self._restart()
        assert self._discord is not None, "it was started"  # noqa: S101
        world = world_of(number, schedule.variant)
        if mongodb:
            warm_up("pymongo", "speakerbot.stores.mongo")
        log = self._folder / f"crash-{number}.log"
        with scratch_store(self._folder, mongodb) as url:
            lease = timedelta(seconds=schedule.lease)
            scheduling = _scheduling(schedule, world.now)
            place = Place(url, self._discord.base_url, lease, scheduling)
            played = _Game(world, place, schedule, self._discord, log).play()
        log.unlink(missing_ok=True)
        return played

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


@contextmanager
def scratch_store(folder: Path, mongodb: str | None = None) -> Iterator[str]:
    """The address, for ``open_store``, of a store that lasts for one schedule: a file in
    ``folder``, or a database of its own on a MongoDB server."""
    name = f"speakerbot_crash_{uuid4().hex}"
    if mongodb is None:
        yield f"sqlite:///{folder / name}.db"
        for file in folder.glob(f"{name}.db*"):
            file.unlink()
        return
    url = urlunsplit(urlsplit(mongodb)._replace(path=f"/{name}"))
    yield url
    call(lambda: _drop(url, name), folder / "drop.log")


def _drop(url: str, name: str) -> None:
    from pymongo import MongoClient

    client: MongoClient[dict[str, object]] = MongoClient(url)
    client.drop_database(name)
    client.close()


def _scheduling(schedule: CrashSchedule, now: datetime) -> Scheduling:
    by: dict[Every, str] = {
        "minute": "* * * * *",
        "hour": "0 * * * *",
        "day": f"{now.minute} {now.hour} * * *",
    }
    return Scheduling(cron=by[schedule.every], grace=GRACE, share=schedule.share)


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
        self._clock = world.clock or Clock(offset=world.now - real_now())
        self._promise = Promise(
            dict(world.expected()), refuses=schedule.refuses, stops=schedule.stops
        )
        self._played = Played()
        self._before = 0
        self._outage: Outage | None = None
        self._outage_left = timedelta()

    def play(self) -> Played:
        played = self._played
        self._prepare()
        for each in self._schedule.rounds:
            self._play(each)
        kept = self._recover()
        played.by_node_bot = len(self._promise.by_node_bot)
        played.problems += judge(self._promise, self._evidence(), kept)
        if played.problems and self._log.exists():
            played.trace.append(self._log.read_text(errors="replace"))
        return played

    def _prepare(self) -> None:
        schedule = self._schedule
        settings = replace(NO_LIMITS, history_nonces=schedule.history_nonces)
        self._discord.use(replace(settings, nonce_window=0.0) if schedule.forgetful else settings)
        self._discord.clear_faults()
        self._world.furnish(self._discord)
        self._before = len(self._discord.messages())
        call(lambda: self._in_store(self._world.fill), self._log)

    def _open(self) -> Store:
        """As the runs of this world open it."""
        settings = self._place.settings(self._world)
        return open_store(self._place.store_url, beside_node_bot=settings.node_bot_coexist)

    def _in_store(self, write: Callable[[Store], None]) -> None:
        store = self._open()
        try:
            store.prepare()
            write(store)
        finally:
            store.close()

    def _evidence(self) -> Evidence:
        opened = {dm.channel_id: dm.user_id for dm in self._discord.dms_opened()}
        messages = tuple(self._discord.messages()[self._before :])
        return Evidence(messages, {**self._world.dm_channels, **opened})

    def _play(self, each: CrashRound) -> None:
        self._wait(each.gap, each.into_minute)
        if each.outage:
            self._outage, self._outage_left = each.outage, timedelta(hours=each.outage.hours)
        self._go_wrong(each.faults)
        changes = list(self._changes(each.events))
        children = [(process, self._start(process)) for process in each.processes]
        events = [self._later(change, after) for change, after in changes]
        begin = monotonic()
        for process, child in children:
            ended = child.wait(kill_when=self._end_of(process, begin))
            steps = ended.said.decode().splitlines()
            self._played.boundaries = max(self._played.boundaries, len(steps))
            self._played.killed += ended.code < 0
            self._note(process, ended.code, steps)
            if ended.hung:
                self._played.problems.append(f"no end after {TOO_LONG:.0f} s")
        for event in events:
            if event.wait().code:
                self._played.problems.append("an event could not be written")
        if self._world.minute:
            self._promise.leave_to_node_bot(self._evidence())
        for change, _ in changes:
            self._promise.end(change.ended, self._evidence())

    def _go_wrong(self, faults: tuple[Fault, ...] = ()) -> None:
        """From now on only these, and the outage while there is one."""
        self._discord.clear_faults()
        if self._outage and self._outage_left > timedelta():
            self._discord.inject(self._outage.fault)
        self._discord.inject(*faults)

    def _changes(self, events: tuple[WorldEvent, ...]) -> Iterator[tuple[WorldChange, float]]:
        """Writes what happens before the processes start; yields what happens meanwhile, and after
        how many seconds."""
        for event in events:
            if (change := self._world.change(event)) is None:
                continue
            self._played.trace.append(f"event: {event}")
            self._promise.due.update(change.begun)
            if event.after is not None:
                yield change, event.after
                continue
            call(lambda write=change.write: self._in_store(write), self._log)  # type: ignore[misc]
            self._promise.end(change.ended, self._evidence())

    def _later(self, change: WorldChange, seconds: float) -> Child:
        def code(_mouth: int) -> int:
            time.sleep(seconds)
            self._in_store(change.write)
            return 0

        return Child(code, self._log)

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
        world, place = self._world, self._place
        clock = _moved(self._clock, timedelta(seconds=process.clock_ahead))
        return Child(
            lambda mouth: run_once(
                world, place, clock, suffering(process, mouth, stalling(world, clock))
            ),
            self._log,
        )

    def _wait(self, gap: Gap, into_minute: float) -> None:
        match gap:
            case "lease":
                # Discord still remembers every nonce, but the claims have expired.
                self._put_forward(self._place.lease)
            case "window":
                self._pass(AFTER_WINDOW)
            case "end" if self._world.ends_after:
                self._pass(self._world.ends_after)
                self._promise.end(tuple(self._promise.due), self._evidence())
            case "minute" if self._world.minute:
                begins = self._world.minute + timedelta(seconds=into_minute)
                self._pass(max(begins - self._clock.real(), timedelta()))

    def _pass(self, time: timedelta) -> None:
        self._put_forward(time)
        self._discord.advance(time)
        self._outage_left -= time

    def _put_forward(self, time: timedelta) -> None:
        if isinstance(self._clock, SharedClock):
            self._clock.time.put_forward(time)
        else:
            self._clock = _moved(self._clock, time)

    def _recover(self) -> Kept:
        """Runs as a scheduler would, until one finds nothing waiting and sends nothing."""
        for _ in range(MOST_RECOVERIES):
            sent = len(self._discord.messages())
            self._pass(AFTER_RETRY)
            self._go_wrong()
            kept = self._run_through()
            if quiet(self._promise, kept) and len(self._discord.messages()) == sent:
                return kept
        self._played.problems.append(f"it does not become quiet: {kept.standing}")
        return kept

    def _run_through(self) -> Kept:
        code, steps, kept = call(self._run_and_look, self._log)
        self._note(CrashProcess(), code, steps)
        return kept

    def _run_and_look(self) -> tuple[int, list[str], Kept]:
        steps: list[str] = []
        code = run_once(self._world, self._place, self._clock, steps.append)
        store = self._open()
        try:
            records = store.ledger.get(sorted(self._promise.due))
            problems = tuple(self._world.problems(store))
            return code, steps, Kept(records, self._standing(store), problems)
        finally:
            store.close()

    def _standing(self, store: Store) -> str | None:
        """Of the last occurrence; a timed job has none to be closed."""
        if import_module("jobs").JOBS[self._world.job.name].timed:
            return "finished"
        cron = Cron(self._place.scheduling.cron or "", ZoneInfo("UTC"))
        last = cron.latest(self._clock.decision())
        record = store.occurrences.get(self._world.job.name, last) if last else None
        return record.standing if record else None

    def _note(self, process: CrashProcess, code: int, steps: list[str]) -> None:
        self._played.trace.append(f"exit {code}: {process}: {'; '.join(steps)}")
        if code == CRASHED:
            self._played.problems.append("a process ended with a traceback")


def _moved(clock: Clock, step: timedelta) -> Clock:
    return replace(clock, skew=clock.skew + step)
