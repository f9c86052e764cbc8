"""Every message that will go out, by simulating the coming runs over the store without writing.

Jobs decide, plans are weighed and steps are carried out exactly as in a run; only the sending is
left out: what would be sent counts as sent. What the runs then send differs only where the world
has changed meanwhile, or where Discord refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.errors import ConfigError
from speakerbot.ports.store import Store
from speakerbot.preview.overlay import overlay
from speakerbot.preview.run import SimulatedRun
from speakerbot.preview.timeline import Timeline
from speakerbot.runs.job import Job, load_job
from speakerbot.runs.report import MessageOutcome
from speakerbot.schedules.schedule import Schedule
from speakerbot.templates import Templates


@dataclass(frozen=True, slots=True)
class Coming:
    """A message and the decision time (UTC) of the run that will send it."""

    at: datetime
    schedule: str
    job: str
    outcome: MessageOutcome


@dataclass(slots=True)
class Preview:
    """Simulates the runs of each schedule with its job. The store is only read."""

    schedules: Sequence[tuple[Schedule, Job]]
    store: Store
    settings: Settings
    templates: Templates
    now: datetime
    """Decision time, in UTC."""
    ahead: timedelta = timedelta()
    """How far that is ahead of the real time."""
    obstacles: dict[str, str] = field(default_factory=dict)
    """By name of a schedule: why its runs send nothing. Complete when all has been read."""

    def until(self, end: datetime) -> Iterator[Coming]:
        """What goes out from now to before ``end``, in order; also, as failed, each message whose
        text cannot be made."""
        unrendered: set[str] = set()
        able = [(schedule, job) for schedule, job in self.schedules if self._able(schedule, job)]
        store = overlay(self.store)
        timeline = Timeline(
            [schedule for schedule, _ in able],
            self.store.occurrences,
            now=self.now,
            end=end,
            ahead=self.ahead,
        )
        for tick in timeline:
            schedule, job = able[tick.place]
            run = SimulatedRun(
                schedule, job, store, self.settings, self.templates,
                at=tick.at, occurrence=tick.occurrence, ahead=self.ahead, unrendered=unrendered,
            )  # fmt: skip
            try:
                for outcome in run.run():
                    yield Coming(tick.at, schedule.name, job.name, outcome)
            except ConfigError as error:
                self.obstacles[schedule.name] = str(error)
                timeline.drop(tick)
            timeline.again(tick, run.resumes_at)
            timeline.go_on(tick, run.waits_for)

    def _able(self, schedule: Schedule, job: Job) -> bool:
        if not self.settings.runs(job.name):
            self.obstacles[schedule.name] = f"{job.name} is switched off by the settings"
            return False
        if schedule.options.dry_run:
            self.obstacles[schedule.name] = "its args say --dry-run"
        return schedule.enabled and not schedule.options.dry_run


def jobs_of(schedules: Iterable[Schedule], jobs: JobRegistry) -> list[tuple[Schedule, Job]]:
    """Each schedule with its job."""
    return [(schedule, load_job(jobs[schedule.job])) for schedule in schedules]


def end_of_day(after: int, now: datetime, zone: ZoneInfo) -> datetime:
    """When the day that is so many days after ``now``'s ends in ``zone``, in UTC."""
    today = now.astimezone(zone).date()
    return instant(today + timedelta(days=after + 1), time(), zone)
