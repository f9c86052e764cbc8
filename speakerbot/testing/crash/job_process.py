"""One run of a world's job in a process of its own, which suffers what its schedule says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING

from speakerbot import bootstrap, logs, process
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobDeclaration
from speakerbot.errors import SpeakerbotError, Unreachable
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.runs.service import RunRequest, RunService, Scheduling
from speakerbot.testing.crash.boundaries import DISCORD, Reached, stepping_channels, stepping_store
from speakerbot.testing.crash.seeds import CrashProcess
from speakerbot.testing.crash.world import TOKEN, CrashWorld, SharedClock

if TYPE_CHECKING:
    from speakerbot.ports.channel import Channels

TIMEOUT = timedelta(seconds=40)
"""Of a run; a dead one holds its occurrence for a minute longer."""
GRACE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place: a store, a loopback Discord, a lease, and the job's schedule."""

    store_url: str
    discord_base: str
    lease: timedelta
    scheduling: Scheduling = field(default_factory=Scheduling)
    """By default the job runs whenever it is asked to, without an occurrence lock."""

    def settings(self, world: CrashWorld) -> Settings:
        base = Settings(
            database_url=self.store_url,
            discord_token=TOKEN,
            discord_api_base=self.discord_base,
            lease=self.lease,
            rate=200.0,
            new_dm_every=timedelta(milliseconds=5),
        )
        return world.settings(base)


def run_once(world: CrashWorld, place: Place, clock: Clock, reached: Reached) -> int:
    """The exit code that the command line would end with. Signals are this process's own from now
    on."""
    logs.configure("json")
    process.install_signals()

    def open_store(settings: Settings, *, read_only: bool = False) -> Store:
        # What a world says of the address is for the run's decisions; here is where it is played.
        played_on = replace(settings, database_url=place.store_url)
        return stepping_store(bootstrap.store(played_on, read_only=read_only), reached)

    def connect(settings: Settings) -> Channels:
        return stepping_channels(bootstrap.channels(settings), reached)

    def clock_at(_now: datetime | None) -> Clock:
        return clock

    def load(_declaration: JobDeclaration) -> Job:
        return world.job

    name = world.job.name
    service = RunService(
        place.settings(world),
        import_module("jobs").JOBS,
        open_store=open_store,
        connect=connect,
        retry_within=timedelta(),
        sleep=clock.sleep if isinstance(clock, SharedClock) else process.sleep,
        load=load,
        clock_at=clock_at,
    )
    try:
        service.run(RunRequest(name, scheduling=place.scheduling, timeout=TIMEOUT), ())
    except SpeakerbotError as error:
        logs.report(error)
        return error.exit_code
    except process.Interrupted as interrupted:
        return process.EXIT_CODES[interrupted.reason]
    return 0


def stalling(world: CrashWorld, clock: Clock) -> Callable[[float], None]:
    """Stops whoever calls it until so many seconds of the Node bot's minute are over."""

    def stall(until: float) -> None:
        while world.minute and clock.real() < world.minute + timedelta(seconds=until):
            time.sleep(0.002)

    return stall


def suffering(
    planned: CrashProcess, mouth: int, stall: Callable[[float], None] = time.sleep
) -> Reached:
    """Says each boundary into ``mouth``, and does to this process what its schedule says."""
    boundaries, writes = count(1), count(1)
    begin = planned.raise_at
    raising = range(0) if begin is None else range(begin, begin + planned.raises)

    def reached(name: str) -> None:
        number = next(boundaries)
        os.write(mouth, f"{number} {name}\n".encode())
        if number == planned.stall_at:
            stall(planned.stall_until)
        if number == planned.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == planned.term_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if DISCORD not in name and next(writes) in raising:
            raise Unreachable(f"{name}: the store does not answer")

    return reached
