"""Runs a job once: which messages, dry or for real, one structured summary line, one record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot import process
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.planning import MessagePlan, Moment, weigh, with_texts
from speakerbot.domain.delivery import (
    Delivery,
    DeliveryChange,
    DeliveryState,
    may_be_closed,
    within_reason,
)
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.run import Run, named, new_run
from speakerbot.errors import SpeakerbotError, UsageError
from speakerbot.ports.store import Store
from speakerbot.process import Interrupted
from speakerbot.runs.community import claim_store
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.node_bot_minute import end_of_minute, held_until, must_wait
from speakerbot.runs.report import (
    OutcomeLog,
    Report,
    RunHeader,
    RunObserver,
    RunSummary,
    Waits,
    failure,
)
from speakerbot.runs.steps import Step, carry_out
from speakerbot.templates import Templates

if TYPE_CHECKING:
    from speakerbot.delivery.session import Traffic
    from speakerbot.ports.channel import Channels


OUR_CLOCK_IS_OFF = timedelta(seconds=30)
AHEAD = timedelta(hours=1, minutes=5)
"""How far a run of a schedule looks for messages that are over before anybody ticks again: the
longest interval of a machine, and some time for it to start."""


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
    pause: Callable[[datetime], None] | None = None
    """Sleeps until a real instant. None: the run does not wait for what falls due soon."""
    looks_ahead: bool = False
    """The run belongs to a schedule: what falls due and is over before the next tick is its own."""
    keeps_clear: bool = False
    """Of the minute in which the Node bot sends the same: see ``node_bot_minute``."""
    _occurrence: datetime | None = None
    stopped: str = ""
    """Afterwards: why the run ended early, if it did."""
    sent: bool = False
    """Afterwards: whether it sent anything."""
    _until: float | None = None
    """When its time is over, of ``time.monotonic``."""
    wait_until: datetime | None = None
    """Afterwards, where it was not to wait: the real instant at which there is more to do."""
    _kept: set[str] = field(default_factory=set)
    """Keys of what waits for the end of the Node bot's minute."""
    _chosen: Callable[[Message], bool] | None = None
    """After a wait: what the run goes on with; None at first: with everything."""

    def run(self) -> Waits | None:
        """What is still to be done, later; None if the run was cut short, or was told to leave
        something out. Raises a SpeakerbotError for what makes the whole run fail; recipients'
        failures only count. Observers see its end, and the run is recorded, in either case."""
        started = time.monotonic()
        self._until = started + self.timeout.total_seconds() if self.timeout else None
        run = self._clear_of_node_bot(self.record or new_run(self.job.name, self.clock))
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
            self.stopped = early.reason
            log.warning("run_stopped", reason=early.reason, detail="it was not sending")
        except Exception as problem:
            error = problem
        self._finish(run, started, report, traffic, error, log)
        self.sent = bool(report.counts.sent)
        if error:
            raise error
        if interrupted and self.stopped != "timeout":
            raise interrupted
        return None if self.stopped or self.options.narrowed else report.waits

    def _all(self, run: Run, report: Report, log: Any) -> Traffic | None:
        """What is due, and then what falls due before another run would look."""
        traffic, last = self._do(run, report, log), run.now + AHEAD
        while not (traffic and traffic.stopped) and failure(traffic) is None:
            at = self._next(run.now, last)
            if at is None:
                break
            run = replace(run, now=at)
            traffic = _joined(traffic, self._do(run, report, log))
        return traffic

    def _next(self, now: datetime, last: datetime) -> datetime | None:
        """Waits for what the run is to go on with, and returns the time to decide it at; None where
        there is nothing, or it is not for this run to wait (``wait_until``)."""
        if kept := self._kept:
            end = self._end_of_minute() or self.clock.real()
            self._kept, self._chosen = set(), lambda message: message.key in kept
            return self._waited(end)
        if self.job.next_due is None or not self.looks_ahead or self.options.narrowed:
            return None
        with process.let_in(self._until):
            due = self.job.next_due(self._context(now), last)
        if due is None:
            return None
        self._chosen = lambda message: now < message.due_at
        if self.options.dry_run or self.clock.offset:
            # Nothing sleeps: it is decided as at its own time.
            ahead = max(due - self.clock.decision(), timedelta())
            self.clock = replace(self.clock, offset=self.clock.offset + ahead)
            return max(due, self.clock.decision())
        return self._waited(due)

    def _waited(self, until: datetime) -> datetime | None:
        if self.pause is None:
            self.wait_until = until
            return None
        began = time.monotonic()
        self.pause(until)
        if self._until is not None:
            self._until += time.monotonic() - began  # waiting does not count
        return max(until, self.clock.decision())

    def _clear_of_node_bot(self, run: Run) -> Run:
        """The run, once the Node bot's minute is over if it would send one of its messages."""
        end = self._end_of_minute()
        if end is None or self.pause is None:
            return run
        decisions = narrowed(self.job.decide(self._context(run.now)), self._only())
        moment = Moment(run.now, self.clock.real(), self.settings.timezone)
        with process.let_in(self._until):
            waits = any(
                not isinstance(plan, Skip)
                and plan.state == DeliveryState.PLANNED
                and must_wait(plan.message, end)
                for plan in weigh(decisions, self.store, moment)
            )
        return replace(run, now=self._waited(end) or run.now) if waits else run

    def _end_of_minute(self) -> datetime | None:
        """When the Node bot's minute is over; None where it does not matter or is not now."""
        if not self.keeps_clear or self.options.dry_run or self.clock.offset:
            return None
        return end_of_minute(self.clock.real())

    def _do(self, run: Run, report: Report, log: Any) -> Traffic | None:
        self._occurrence = run.occurrence
        context = self._context(run.now)
        self._write_down(context)
        plans = self._plans(context, report)
        with process.let_in(self._until):
            first = self._first_to_send(plans, report)
        if first is None and not self._left_over(run.now):
            return None  # nothing to send: nothing of the network was imported
        claim_store(self.store, self.settings.guild_id)
        self.store.runs.put(run)
        traffic = self._deliver(chain([first] if first else [], plans), run, report, log)
        if not traffic.stopped:
            self._write_down(context)
        return traffic

    def _left_over(self, now: datetime) -> bool:
        """Whether a run that died has left claims on messages whose time is over: those are looked
        for and closed by the next run, also where that has nothing to send."""
        if self.options.dry_run:
            return False
        real = self.clock.real()
        return any(may_be_closed(each, real) for each in self.store.ledger.unsettled(now))

    def _first_to_send(self, plans: Iterator[MessagePlan], report: Report) -> MessagePlan | None:
        for plan in plans:
            if plan.state == DeliveryState.PLANNED and not self.options.dry_run:
                return plan
            report.held(plan)
        return None

    def _context(self, now: datetime) -> JobContext:
        return JobContext(
            store=self.store,
            settings=self.settings,
            now=now,
            occurrence=self._occurrence,
            edit_only=self.options.edit_only,
            settled=not self.options.dry_run,
            templates=self.templates,
        )

    def _write_down(self, context: JobContext) -> None:
        if self.job.steps and not self.options.dry_run:
            steps = self._in_time(self.job.steps(context))
            carry_out(steps, self.store, self.clock.real())

    def _in_time(self, steps: Iterator[Step]) -> Iterator[Step]:
        """A run that is interrupted between two of them leaves the rest to a later one."""
        for step in steps:
            process.check(self._until)
            yield step

    def _plans(self, context: JobContext, report: Report) -> Iterator[MessagePlan]:
        """What is weighed, narrowed by the options; skips are counted on the way."""
        decisions = narrowed(self.job.decide(context), self._only())
        counts = report.counts
        moment = Moment(context.now, self.clock.real(), self.settings.timezone)
        weighed = weigh(self._of_this_turn(decisions), self.store, moment)
        for plan in with_texts(weighed, self.templates):
            if isinstance(plan, Skip):
                counts.skipped[plan.reason] += 1
                continue
            if plan.record is not None and not self.options.dry_run:
                self._correct(plan.record)
            if plan.state == DeliveryState.PLANNED:
                if end := self._kept_until(plan.message):
                    if self.pause is None:
                        yield held_until(plan, end)
                    continue
                if counts.planned == self.options.limit:
                    return
                counts.planned += 1
            yield plan

    def _of_this_turn(self, decisions: Iterator[Decision]) -> Iterator[Decision]:
        if self._chosen is None:
            return decisions
        chosen = self._chosen
        return (each for each in decisions if isinstance(each, Message) and chosen(each))

    def _kept_until(self, message: Message) -> datetime | None:
        """The end of the Node bot's minute, if the message must wait for it. Then it is noted."""
        end = self._end_of_minute()
        if end is None or not must_wait(message, end):
            return None
        self._kept.add(message.key)
        return end

    def _correct(self, record: Delivery) -> None:
        """What a machine with a wrong clock has left ends like any other; not where the wrong clock
        may be ours."""
        corrected = within_reason(record, self.clock.real(), self.settings.lease)
        if corrected is record:
            return
        error = self.store.clock_error()
        if abs(error) > OUR_CLOCK_IS_OFF:
            seconds = round(error.total_seconds())
            self.log.error("clock_differs", seconds=seconds, hint="set this machine's clock")
            return
        change = DeliveryChange(record, corrected._replace(revision=f"clock.{os.urandom(8).hex()}"))
        with process.held_off():
            swapped = self.store.ledger.swap([change])
        if swapped:
            self.log.warning("instant_corrected", key=record.key, run_id_of_claim=record.run_id)

    def _only(self) -> str | None:
        only = self.options.only
        return None if only is None else discord_id(self.store, only)

    def _deliver(self, plans: Iterator[MessagePlan], run: Run, report: Report, log: Any) -> Traffic:
        import asyncio

        from speakerbot.delivery.session import Session

        if self.channels is None:
            raise SpeakerbotError("a run that sends needs a channel")
        session = Session(
            store=self.store,
            settings=self.settings,
            templates=self.templates,
            channels=self.channels,
            clock=self.clock,
            run_id=run.id,
            now=run.now,
            log=log,
            timeout=self._time_left(),
            still_true=self._still_true,
            retry_within=self.retry_within,
            stop_requests=process.passed_to,
        )
        return asyncio.run(session.deliver(plans, report.held, report.finished))

    @property
    def seconds_left(self) -> float:
        """Of its timeout."""
        left = self._time_left()
        return left.total_seconds() if left is not None else 0.0

    def _time_left(self) -> timedelta | None:
        if self._until is None:
            return None
        return timedelta(seconds=max(self._until - time.monotonic(), 0))

    def _still_true(self, messages: Sequence[Message]) -> Collection[str]:
        """Asked at the present: what was decided earlier may be cancelled, moved or handed over."""
        # No flag of the Node bot's is set in its minute: this is asked right before.
        asked = [message for message in messages if not self._kept_until(message)]
        if self.job.still_true is None:
            return [message.key for message in asked]
        return self.job.still_true(self._context(self.clock.decision()), asked)

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
        outcome = "failed" if error else "stopped" if stopped else "done"
        counts = report.counts.as_dict()
        if not self.options.dry_run:
            self._record(
                replace(
                    run,
                    finished_at=self.clock.real(),
                    outcome=outcome,
                    counts=counts,
                    error=told or stopped,
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
            stopped=stopped,
            duration_ms=duration_ms,
        )

    def _record(self, run: Run, log: Any) -> None:
        """The run's record is for people: failing to keep it must not hide what went wrong."""
        try:
            self.store.runs.put(run)
        except SpeakerbotError as error:
            log.warning("run_not_recorded", error=str(error))


def _joined(before: Traffic | None, after: Traffic | None) -> Traffic | None:
    """What two turns of one run cost together; the last one's end."""
    if before is None or after is None:
        return after or before
    return replace(
        after,
        requests=before.requests + after.requests,
        rate_limited=before.rate_limited + after.rate_limited,
        stopped_channels={**before.stopped_channels, **after.stopped_channels},
        refused_targets={**before.refused_targets, **after.refused_targets},
    )


def narrowed(decisions: Iterable[Decision], only: str | None) -> Iterator[Decision]:
    """What is left where a run is for one person; ``only`` is their Discord id, None: all."""
    if only is None:
        return iter(decisions)
    return (each for each in decisions if isinstance(each, Message) and each.user_id == only)


def discord_id(store: Store, only: str) -> str:
    """The Discord id of ``--only``'s person; a Discord id is one even if we do not know them.
    Raises UsageError."""
    person = store.people.get(only)
    if person is None and not only.isdigit():
        raise UsageError(
            f"--only: {only!r} is not a person we know; give a Discord user id, or an id of "
            "`speakerbot people list`"
        )
    return (person.discord_user_id if person else None) or only
