"""Every message that will go out, by simulating the coming runs over the store without writing.

Jobs decide, plans are weighed and steps are carried out exactly as in a run; only the sending is
left out: what would be sent counts as sent. What the runs then send differs only where the world
has changed meanwhile, or where Discord refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant
from speakerbot.config import Settings
from speakerbot.delivery.claims import Revisions, new_claim, sent
from speakerbot.delivery.planning import MessagePlan, Moment, weigh, with_texts
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.domain.message import Skip
from speakerbot.domain.occurrence import Due, OccurrenceRecord
from speakerbot.errors import ConfigError
from speakerbot.ports.channel import Receipt
from speakerbot.ports.store import Occurrences, Store
from speakerbot.preview.overlay import overlay
from speakerbot.runs.job import AHEAD, Job, JobContext, load_job, look_ahead
from speakerbot.runs.report import (
    ChangeState,
    MessageOutcome,
    ServiceChange,
    Waits,
    outcome_of_plan,
)
from speakerbot.runs.steps import carry_out, claimed
from speakerbot.runs.timetable import discord_id, narrowed
from speakerbot.schedules.schedule import TICKS, Schedule
from speakerbot.templates import Templates

_INSTANT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Coming:
    """A message and the decision time (UTC) of the run that will send it."""

    at: datetime
    schedule: str
    job: str
    outcome: MessageOutcome


@dataclass(frozen=True, slots=True)
class ComingChange:
    """A change at a service and the decision time (UTC) of the run that will make it."""

    at: datetime
    schedule: str
    job: str
    change: ServiceChange


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
        return (each for each in self.all_until(end) if isinstance(each, Coming))

    def all_until(self, end: datetime) -> Iterator[Coming | ComingChange]:
        """The same, and what changes at services, if all goes well there."""
        unrendered: set[str] = set()
        able = [(schedule, job) for schedule, job in self.schedules if self._able(schedule, job)]
        store = overlay(self.store)
        timeline = _Timeline(
            [schedule for schedule, _ in able],
            self.store.occurrences,
            now=self.now,
            end=end,
            ahead=self.ahead,
        )
        for tick in timeline:
            schedule, job = able[tick.place]
            run = _SimulatedRun(
                schedule, job, store, self.settings, self.templates,
                at=tick.at, occurrence=tick.occurrence, ahead=self.ahead, unrendered=unrendered,
            )  # fmt: skip
            try:
                for outcome in run.run():
                    run_of = (tick.at, schedule.name, job.name)
                    if isinstance(outcome, ServiceChange):
                        yield ComingChange(*run_of, outcome)
                    else:
                        yield Coming(*run_of, outcome)
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


@dataclass(frozen=True, slots=True, order=True)
class _Tick:
    """A run to come: at which decision time, of which schedule, for which occurrence."""

    at: datetime
    place: int
    """Of its schedule among the others: of two at once, the first comes first."""
    occurrence: datetime


class _Timeline:
    """When the runs will be: each occurrence, and what it leaves for later.

    The ticks from ``now`` to before ``end``, in order. Instants are decision time, in UTC;
    ``ahead`` is how far that is ahead of the real time."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        occurrences: Occurrences,
        *,
        now: datetime,
        end: datetime,
        ahead: timedelta,
    ) -> None:
        self._schedules, self._now, self._end, self._ahead = schedules, now, end, ahead
        self._waiting: list[_Tick] = []
        self._current: list[datetime | None] = [None] * len(schedules)
        self._coming = [each.cron.between(now + _INSTANT, end) for each in schedules]
        for place in range(len(schedules)):
            self._take_up(place, occurrences)
            self._next(place)

    def __iter__(self) -> Iterator[_Tick]:
        while self._waiting:
            tick = heappop(self._waiting)
            current = self._current[tick.place]
            if current is not None and tick.occurrence < current:
                continue  # superseded while it waited
            if current != tick.occurrence:
                self._current[tick.place] = tick.occurrence
                self._next(tick.place)
            yield tick

    def again(self, tick: _Tick, earliest: datetime | None) -> None:
        """Has the tick's occurrence taken up once more: by the first tick of its machine that is
        not before ``earliest``, if that is within its grace."""
        if earliest is None:
            return
        schedule = self._schedules[tick.place]
        spacing = TICKS[schedule.interval]
        at = tick.occurrence + ceil((earliest - tick.occurrence) / spacing) * spacing
        last = tick.occurrence + schedule.rules.whole_grace
        if tick.at < at <= last and at < self._end:
            heappush(self._waiting, replace(tick, at=at))

    def go_on(self, tick: _Tick, at: datetime | None) -> None:
        """Has the tick's run go on at this time, for which it waits."""
        if at is not None and at < self._end:
            heappush(self._waiting, replace(tick, at=at))

    def drop(self, tick: _Tick) -> None:
        """No further ticks of its schedule: they would fail as this one did."""
        self._coming[tick.place] = iter(())
        self._waiting = [each for each in self._waiting if each.place != tick.place]
        heapify(self._waiting)

    def _next(self, place: int) -> None:
        occurrence = next(self._coming[place], None)
        if occurrence is not None:
            heappush(self._waiting, _Tick(occurrence, place, occurrence))

    def _take_up(self, place: int, occurrences: Occurrences) -> None:
        """The occurrence that has come and may not be done."""
        schedule = self._schedules[place]
        occurrence = schedule.cron.latest(self._now)
        if occurrence is None:
            return
        if schedule.timed:  # it may look at any time
            heappush(self._waiting, _Tick(self._now, place, occurrence))
            return
        record = occurrences.get(schedule.name, occurrence)
        rules = schedule.rules._replace(wait=timedelta())
        real = self._now - self._ahead
        tick = _Tick(self._now, place, occurrence)
        if isinstance(rules.decide(occurrence, record, now=self._now, real=real), Due):
            heappush(self._waiting, tick)
        elif record is not None and record.standing in ("running", "open"):
            self.again(tick, self._rests_until(record))

    def _rests_until(self, record: OccurrenceRecord) -> datetime | None:
        real = (at + self._ahead for at in (record.lease_until, record.retry_at) if at)
        return min([*real, *([record.resume_at] if record.resume_at else [])], default=None)


@dataclass(slots=True)
class _SimulatedRun:
    """A coming run, on a store of its own. ``at`` is its decision time; ``ahead`` is
    how far that is ahead of the real time."""

    schedule: Schedule
    job: Job
    store: Store
    """Takes note of what would be sent."""
    settings: Settings
    templates: Templates
    at: datetime
    occurrence: datetime
    ahead: timedelta
    unrendered: set[str]
    """Keys of messages whose texts could not be made in this run or an earlier one."""
    resumes_at: datetime | None = None
    """Once it has been run: when going on with its occurrence makes sense, if something waits."""
    waits_for: datetime | None = None
    """Once it has been run: when that falls due for which the real run would wait."""

    def run(self) -> Iterator[MessageOutcome | ServiceChange]:
        """What goes out, and what fails because its text cannot be made, each of these once. What
        the job writes down, it does before and after, as in a real run."""
        context = self._context()
        self._write_down(context)
        yield from self._outcomes(context)
        if self.job.service_changes:
            yield from self._changes(context)
        self._write_down(context)
        options = self.schedule.options
        # A run of a timed job stays for as long as its horizon says, and no longer.
        over_within = timedelta() if options.narrowed or self.schedule.timed else AHEAD
        self.waits_for = look_ahead(
            self.job, context, self.at, horizon=options.horizon, over_within=over_within
        ).next_due

    def _write_down(self, context: JobContext) -> None:
        if self.job.steps:
            carry_out(self.job.steps(context), self.store, self._real)

    def _changes(self, context: JobContext) -> Iterator[ServiceChange]:
        """Those that the run makes, if all goes well: the service is not asked."""
        looking_ahead = replace(context, settled=False)
        for change in (self.job.service_changes or _none)(looking_ahead):
            if change.state == ChangeState.PLANNED:
                yield change
        asked = claimed((self.job.service_steps or _none)(looking_ahead), self.store)
        self._write_down(replace(context, responses={each: each.assumed() for each in asked}))

    def _context(self) -> JobContext:
        return JobContext(
            store=self.store,
            settings=self.settings,
            now=self.at,
            occurrence=None if self.schedule.timed else self.occurrence,
            edit_only=self.schedule.options.edit_only,
            settled=True,
            templates=self.templates,
            run_id=f"preview {self.schedule.name} {self.at.isoformat()}",
            only=self.only if self.job.service_steps else None,
            limit=self.schedule.options.limit,
        )

    def _outcomes(self, context: JobContext) -> Iterator[MessageOutcome]:
        revisions = Revisions(f"preview {self.schedule.name} {self.at.isoformat()}")
        waits, planned = Waits(), 0
        moment = Moment(self.at, self._real, self.settings.timezone)
        weighed = weigh(narrowed(self.job.decide(context), self.only), self.store, moment)
        for plan in with_texts(weighed, self.templates):
            if isinstance(plan, Skip):
                continue
            waits.held(plan)
            if plan.error_class and plan.message.key not in self.unrendered:
                self.unrendered.add(plan.message.key)
                yield outcome_of_plan(plan, self.templates)
            if plan.state != DeliveryState.PLANNED:
                continue
            if planned == self.schedule.options.limit:
                break
            planned += 1
            outcome = outcome_of_plan(plan, self.templates)
            after = self._after(plan, outcome.text, revisions)
            self.store.ledger.swap([DeliveryChange(plan.record, after)])
            if after.state == DeliveryState.SENT:
                yield outcome
        retry_at = waits.retry_at + self.ahead if waits.retry_at else None
        self.resumes_at = min(filter(None, (retry_at, waits.resume_at)), default=None)

    @property
    def only(self) -> str | None:
        """The Discord id that the schedule's ``--only`` means."""
        named = self.schedule.options.only
        return None if named is None else discord_id(self.store, named)

    @property
    def _real(self) -> datetime:
        return self.at - self.ahead

    def _after(self, plan: MessagePlan, text: str, revisions: Revisions) -> Delivery:
        """The record the run leaves: sent with this text, edited, or expired."""
        message, now = plan.message, self._real
        if message.edit and plan.record:
            return plan.record._replace(text=text, revision=revisions.next(), updated_at=now)
        claimed = new_claim(
            plan,
            None,
            run_id="preview",
            revision=revisions.next(),
            now=now,
            flag_at=None,
            lease=self.settings.lease,
        ).record
        if message.expires_at <= self.at:
            # The engine looks whether it had arrived, and sends nothing.
            return claimed._replace(state=DeliveryState.EXPIRED, revision=revisions.next())
        record = claimed._replace(text=text)
        return sent(record, Receipt("", ""), revision=revisions.next(), now=now)


def _none(_context: JobContext) -> Iterator[Any]:
    return iter(())


def jobs_of(schedules: Iterable[Schedule], jobs: JobRegistry) -> list[tuple[Schedule, Job]]:
    """Each schedule with its job."""
    return [(schedule, load_job(jobs[schedule.job])) for schedule in schedules]


def end_of_day(after: int, now: datetime, zone: ZoneInfo) -> datetime:
    """When the day that is so many days after ``now``'s ends in ``zone``, in UTC."""
    today = now.astimezone(zone).date()
    return instant(today + timedelta(days=after + 1), time(), zone)
