"""Runs a job once: which messages, dry or for real, one structured summary line, one record."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot import process
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.planning import MessagePlan
from speakerbot.domain.delivery import (
    DeliveryState,
    may_be_closed,
)
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Message
from speakerbot.domain.run import Run, RunOutcome, StopReason, named, new_run
from speakerbot.errors import SpeakerbotError
from speakerbot.ports.store import Store
from speakerbot.process import Interrupted
from speakerbot.runs.community import claim_store
from speakerbot.runs.job import Job, JobContext, Pause
from speakerbot.runs.report import (
    OutcomeLog,
    Report,
    RunHeader,
    RunObserver,
    RunSummary,
    Waits,
    failure,
)
from speakerbot.runs.steps import Step, carry_out, claimed
from speakerbot.runs.timetable import Timetable
from speakerbot.templates import Templates

if TYPE_CHECKING:
    from speakerbot.delivery.session import Traffic
    from speakerbot.domain.service_request import Responses, ServiceRequest
    from speakerbot.ports.channel import Channels

DRY_RUNS_READ_NOTHING = "a dry run decides without what a real one reads from the service first"


@dataclass(slots=True)
class Runner:
    """Made by :mod:`.service` only."""

    job: Job
    options: RunOptions
    timeout: timedelta | None
    """After it the run ends as on SIGTERM."""
    store: Store
    settings: Settings
    templates: Templates
    channels: Channels | None
    """None only for a dry run."""
    observers: Sequence[RunObserver]
    log: Any
    clock: Clock
    retry_within: timedelta = timedelta(seconds=60)
    """A retry that is due so soon is made in the same run."""
    record: Run | None = None
    """The run's record, where the occurrence lock has begun one; None begins one now."""
    pause: Pause | None = None
    """None: the run does not wait for what falls due soon."""
    looks_ahead: bool = False
    """The run belongs to a schedule: what falls due and is over before the next tick is its own."""
    keeps_clear: bool = False
    """Of the minute in which the Node bot sends the same: see ``node_bot_minute``."""
    stays_until: Callable[[], datetime | None] = lambda: None
    """The real instant at which its schedule's next occurrence comes: the run makes way for it."""
    timed: bool = False
    """It may stay for days: its timeout is that of what it does between two waits."""
    looked: Callable[[], None] = lambda: None
    """Called after each look while it waits."""
    stopped: StopReason | None = None
    """Afterwards: why the run ended early, if it did."""
    sent: bool = False
    """Afterwards: whether it sent anything."""
    outlived: bool = False
    """Afterwards: it waited until its schedule's next occurrence came."""
    wait_until: datetime | None = None
    """Afterwards, where it was not to wait: the real instant at which there is more to do."""
    _until: float | None = None
    """When its time is over, of ``time.monotonic``."""

    def run(self) -> Waits | None:
        """What is still to be done, later; None if the run was cut short, or was told to leave
        something out. Raises a SpeakerbotError for what makes the whole run fail; recipients'
        failures only count. Observers see its end, and the run is recorded, in either case."""
        started = time.monotonic()
        self._until = started + self.timeout.total_seconds() if self.timeout else None
        run = self.record or new_run(self.job.name, self.clock)
        log = self.log.bind(**named(run))
        report = Report((OutcomeLog(log), *self.observers), self.templates)
        report.begin(RunHeader(run.job, run.id, self.options.dry_run, run.now, run.occurrence))
        error: Exception | None = None
        interrupted, traffic = None, None
        try:
            traffic = self._all(run, report, log)
            error = failure(traffic) or report.unrendered()
        except Interrupted as early:
            interrupted = early
            self.stopped = StopReason(early.reason)
            log.warning("run_stopped", reason=early.reason, detail="it was not sending")
        except Exception as problem:
            error = problem
        self._finish(run, started, report, traffic, error, log)
        self.sent = bool(report.counts.sent)
        if error:
            raise error
        if interrupted and self.stopped != StopReason.TIMEOUT:
            raise interrupted
        return None if self.stopped or self.options.narrowed else report.waits

    def _all(self, run: Run, report: Report, log: Any) -> Traffic | None:
        """What is due, and then what falls due while the run stays."""
        timetable = self._timetable(run, report)
        at: datetime | None = run.now
        traffic: Traffic | None = None
        while at is not None:
            traffic = _joined(traffic, self._do(run, at, timetable, report, log))
            if (traffic and traffic.stopped) or failure(traffic):
                break
            at = self._waited_for(timetable)
        return traffic

    def _timetable(self, run: Run, report: Report) -> Timetable:
        return Timetable(
            job=self.job,
            options=self.options,
            store=self.store,
            settings=self.settings,
            templates=self.templates,
            report=report,
            log=self.log,
            clock=self.clock,
            run_id=run.id,
            now=run.now,
            occurrence=run.occurrence,
            looks_ahead=self.looks_ahead,
            keeps_clear=self.keeps_clear,
            may_wait=self.pause is not None,
            stays_until=self.stays_until,
            looked=self.looked,
            deadline=self._until,
        )

    def _waited_for(self, timetable: Timetable) -> datetime | None:
        """Waits for the next round, and returns its decision time; None where there is none, or it
        is not for this run to wait (``wait_until``, ``outlived``)."""
        coming = timetable.next_round()
        if coming is None:
            return None
        if not timetable.sleeps:
            timetable.moved_to(coming.at)
            self.clock = timetable.clock
            return max(coming.at, self.clock.decision())
        if self.pause is None:
            self.wait_until = coming.at
            return None
        began = time.monotonic()
        makes_way = self.stays_until()
        until = min(coming.begins, makes_way) if makes_way else coming.begins
        stays = self.options.horizon is not None
        self.pause(until, (lambda: timetable.woken(coming)) if stays else None)
        if self._until is not None:
            self._until += time.monotonic() - began  # waiting does not count
            if self.timed and self.timeout:
                self._until = time.monotonic() + self.timeout.total_seconds()
            timetable.deadline = self._until
        self.outlived = timetable.outlived()
        if self.outlived:
            return None
        now = self.clock.decision()
        return coming.at if coming.begins <= now else now  # woken: something has changed

    def _do(
        self, run: Run, at: datetime, timetable: Timetable, report: Report, log: Any
    ) -> Traffic | None:
        """One round, and those that follow closely."""
        wanted = self._wanted(at, timetable, log)
        if not wanted:
            self._write_down(timetable.context(at))
        plans = timetable.begin(at)
        if not wanted:
            with process.let_in(self._until):
                first = self._first_to_send(plans, timetable)
            if first is None and not self._left_over(at):
                self._tell_changes(at, timetable, report)
                return None  # nothing to send: nothing of the network was imported
            plans = chain([first] if first else [], plans)
        claim_store(self.store, self.settings.guild_id)
        self.store.runs.put(run)
        traffic = self._deliver(wanted, plans, run, timetable, report, log)
        if self._until is not None:
            self._until += traffic.waited
            timetable.deadline = self._until
        if not traffic.stopped:
            self._write_down(timetable.context(at))
        self._tell_changes(at, timetable, report)
        return traffic

    def _tell_changes(self, at: datetime, timetable: Timetable, report: Report) -> None:
        if self.job.service_changes:
            for change in self.job.service_changes(timetable.context(at)):
                report.changed(change)

    def _wanted(
        self, at: datetime, timetable: Timetable, log: Any
    ) -> Sequence[ServiceRequest[Any]]:
        """What is to be read before the job decides; a dry run decides without it."""
        with process.let_in(self._until):
            wanted = timetable.wanted(at)
        if wanted and self.options.dry_run:
            log.info("not_read", requests=len(wanted), detail=DRY_RUNS_READ_NOTHING)
            return []
        return wanted

    def _left_over(self, now: datetime) -> bool:
        return not self.options.dry_run and is_left_over(self.store, now, self.clock)

    def _first_to_send(
        self, plans: Iterator[MessagePlan], timetable: Timetable
    ) -> MessagePlan | None:
        for plan in plans:
            if plan.state == DeliveryState.PLANNED and not self.options.dry_run:
                return plan
            timetable.held(plan)
        return None

    def _write_down(self, context: JobContext) -> None:
        if self.job.steps and not self.options.dry_run:
            steps = self._in_time(self.job.steps(context))
            carry_out(steps, self.store, self.clock.real())

    def _in_time(self, steps: Iterator[Step]) -> Iterator[Step]:
        """A run that is interrupted between two of them leaves the rest to a later one."""
        for step in steps:
            process.check(self._until)
            yield step

    def _deliver(
        self,
        wanted: Sequence[ServiceRequest[Any]],
        plans: Iterator[MessagePlan],
        run: Run,
        timetable: Timetable,
        report: Report,
        log: Any,
    ) -> Traffic:
        import asyncio

        from speakerbot.delivery.session import Session

        if self.channels is None:
            raise SpeakerbotError("a run that sends needs a channel")

        def responded(responses: Responses) -> None:
            """Before the first message is decided, and again for what was changed."""
            timetable.responded(responses)
            if self.job.steps:
                self._write_down(timetable.context())

        def afterwards() -> Sequence[ServiceRequest[Any]]:
            return claimed((self.job.service_steps or _none)(timetable.context()), self.store)

        session = Session(
            store=self.store,
            settings=self.settings,
            templates=self.templates,
            channels=self.channels,
            clock=self.clock,
            run_id=run.id,
            now=timetable.now,
            log=log,
            timeout=self._time_left(),
            still_true=partial(self._still_true, timetable),
            keep=timetable.keep,
            content=self.job.content,
            retry_within=self.retry_within,
            not_before=timetable.not_before,
            look=timetable.look,
            wanted=wanted,
            responded=responded,
            afterwards=afterwards,
            stop_requests=process.passed_to,
        )
        return asyncio.run(session.deliver(plans, timetable.held, report.finished))

    def _still_true(self, timetable: Timetable, messages: Sequence[Message]) -> Collection[str]:
        """Asked at the present: what was decided earlier may be cancelled, moved or handed over."""
        if self.job.still_true is None:
            return [message.key for message in messages]
        return self.job.still_true(timetable.context(self.clock.decision()), messages)

    @property
    def seconds_left(self) -> float:
        """Of its timeout."""
        left = self._time_left()
        return left.total_seconds() if left is not None else 0.0

    def _time_left(self) -> timedelta | None:
        if self._until is None:
            return None
        return timedelta(seconds=max(self._until - time.monotonic(), 0))

    def _finish(
        self,
        run: Run,
        started: float,
        report: Report,
        traffic: Traffic | None,
        error: Exception | None,
        log: Any,
    ) -> None:
        duration_ms = round((time.monotonic() - started) * 1000)
        if traffic and traffic.stopped:
            self.stopped = traffic.stopped.reason
        stopped = self.stopped
        told = str(error) or type(error).__name__ if error else ""
        report.end(RunSummary(report.counts, duration_ms, stopped=stopped, error=told))
        outcome = RunOutcome.STOPPED if stopped else RunOutcome.DONE
        outcome = RunOutcome.FAILED if error else outcome
        counts = report.counts.as_dict()
        if not self.options.dry_run:
            self._record(
                run._replace(
                    finished_at=self.clock.real(),
                    outcome=outcome,
                    counts=counts,
                    error=told or stopped or "",
                ),
                log,
            )
        log.info(
            "run_finished",
            outcome=outcome,
            dry_run=self.options.dry_run,
            **counts,
            requests=traffic.requests if traffic else 0,
            rate_limited=traffic.rate_limited if traffic else 0,
            stopped=stopped or "",
            duration_ms=duration_ms,
        )

    def _record(self, run: Run, log: Any) -> None:
        """The run's record is for people: failing to keep it must not hide what went wrong."""
        try:
            self.store.runs.put(run)
        except SpeakerbotError as error:
            log.warning("run_not_recorded", error=str(error))


def _none(_context: JobContext) -> Iterator[ServiceRequest[Any]]:
    return iter(())


def is_left_over(store: Store, now: datetime, clock: Clock) -> bool:
    """Whether a run that died has left claims on messages whose time is over at ``now`` (decision
    time): those are looked for and closed by the next run, also where that has nothing to send."""
    real = clock.real()
    return any(may_be_closed(each, real) for each in store.ledger.unsettled(now))


def _joined(before: Traffic | None, after: Traffic | None) -> Traffic | None:
    """What two turns of one run cost together; the last one's end."""
    if before is None or after is None:
        return after or before
    return replace(
        after,
        waited=before.waited + after.waited,
        requests=before.requests + after.requests,
        rate_limited=before.rate_limited + after.rate_limited,
        stopped_channels={**before.stopped_channels, **after.stopped_channels},
        refused_targets={**before.refused_targets, **after.refused_targets},
        refused_settings={**before.refused_settings, **after.refused_settings},
    )
