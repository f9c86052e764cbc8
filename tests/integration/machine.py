"""A machine whose runs sleep in no time, in a world whose clock is moved instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

import time_machine

from jobs import JOBS
from speakerbot.config import Settings
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.report import MessageOutcome, RunHeader, RunSummary, ServiceChange
from speakerbot.runs.service import RunEnd, RunRequest, RunService, Scheduling
from speakerbot.schedules.schedule import Schedule
from speakerbot.testing.crash.boundaries import Reached, stepping_store
from speakerbot.testing.discord import LoopbackDiscord

DAY = date(2026, 11, 21)
TIMEOUT = timedelta(minutes=10)


class KeptOpen:
    """A store that outlives the runs on it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def close(self) -> None:
        pass


@dataclass
class Machine:
    """Sleeps in no time: the clock moves instead."""

    store: Store
    discord: LoopbackDiscord
    clock: time_machine.Traveller
    settings: Settings
    meanwhile: Callable[[], None] = lambda: None
    """Happens while it sleeps."""
    reached: Reached = lambda _: None
    """Is told of every boundary of a run, as speakerbot.testing.crash names them."""
    retry_within: timedelta = timedelta(seconds=60)
    job: str = "reminders"
    naps: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    ends: list[str | None] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    """Of the last run."""

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.meanwhile()
        self.clock.shift(seconds)

    def begin(self, header: RunHeader) -> None: ...

    def add(self, outcome: MessageOutcome) -> None:
        self.states.append(outcome.state)

    def change(self, change: ServiceChange) -> None:
        self.states.append(change.counted_as)

    def end(self, summary: RunSummary) -> None:
        self.ends.append(summary.skipped_because)
        self.counts = summary.counts.as_dict()

    @property
    def service(self) -> RunService:
        kept: Any = stepping_store(cast("Store", KeptOpen(self.store)), self.reached)
        return RunService(
            self.settings,
            JOBS,
            open_store=lambda *_, **__: kept,
            sleep=self.sleep,
            retry_within=self.retry_within,
        )

    def run(
        self,
        at: str,
        *,
        gated: bool = True,
        now: datetime | None = None,
        may_wait: bool = True,
        **options: Any,
    ) -> RunEnd:
        self.clock.move_to(instant(at))
        cron = "@hourly" if gated else None
        scheduling = Scheduling(cron=cron, may_wait=may_wait)
        request = RunRequest(self.job, RunOptions(**options), scheduling, now, TIMEOUT)
        return self.service.run(request, (self,))

    def run_due(self, at: str, *schedules: Schedule) -> int:
        self.clock.move_to(instant(at))
        return self.service.run_due(schedules, dry_run=False, now=None, observers=lambda: (self,))

    def book(self, *days: date, starts_at: time | None = None) -> None:
        self.store.talks.put(
            [Talk(f"t{d.day}", f"10{d.day}", "ada", "Kites", d, starts_at=starts_at) for d in days]
        )


def instant(clock_time: str, day: date = DAY) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock_time), UTC)
