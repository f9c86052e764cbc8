"""Wraps a run: which messages, dry or for real, one structured summary line, one record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.planning import Moment, Plan, weigh
from speakerbot.domain.message import Message, Skip
from speakerbot.domain.run import Run, named, new_run
from speakerbot.errors import SpeakerbotError
from speakerbot.ports.store import Store
from speakerbot.runs.job import Context, Job
from speakerbot.runs.report import Counts, Header, Sink, Summary, Tally, Waits, failure
from speakerbot.templates import Templates

if TYPE_CHECKING:
    from speakerbot.delivery.session import Connect, Traffic


@dataclass(frozen=True, slots=True)
class Order:
    """What a person or a schedule asked for."""

    dry_run: bool = False
    limit: int | None = None
    only: str | None = None
    """A Discord user id: all other recipients are left out."""
    edit_only: bool = False
    timeout: timedelta | None = None
    """After it a run ends as on SIGTERM."""


@dataclass(slots=True)
class Runner:
    """Runs one job once."""

    job: Job
    order: Order
    store: Store
    settings: Settings
    templates: Templates
    connect: Connect | None
    """None only for a dry run."""
    sink: Sink
    log: Any
    clock: Clock
    record: Run | None = None
    """The run's record, where the gate has begun one; None begins one now."""
    stopped: str = ""
    """Afterwards: why the run ended early, if it did."""

    def run(self) -> Waits | None:
        """What is still to be done, later; None if the run was cut short, or was told to leave
        something out. Raises a SpeakerbotError for what makes the whole run fail; recipients'
        failures only count. The sink is closed and the run is recorded in either case."""
        started = time.monotonic()
        run = self.record or new_run(self.job.name, self.clock)
        tally = Tally(self.sink, self.templates, self.log.bind(**named(run)))
        self.sink.begin(Header(run.job, run.id, self.order.dry_run, run.now, run.occurrence))
        error: Exception | None = None
        traffic = None
        try:
            traffic = self._do(run, tally)
            error = failure(traffic)
        except Exception as problem:
            error = problem
        self._finish(run, started, tally, traffic, error)
        if error:
            raise error
        narrowed = self.order.only is not None or self.order.limit is not None
        return None if self.stopped or narrowed else tally.waits

    def _do(self, run: Run, tally: Tally) -> Traffic | None:
        context = Context(
            store=self.store,
            settings=self.settings,
            now=run.now,
            occurrence=run.occurrence,
            edit_only=self.order.edit_only,
            settled=not self.order.dry_run,
            templates=self.templates,
        )
        if self.job.settle and not self.order.dry_run:
            self.job.settle(context)
        plans = self._plans(context, tally.counts)
        if self.order.dry_run:
            for plan in plans:
                tally.held(plan)
            return None
        for plan in plans:
            if plan.state == "planned":
                self.store.runs.put(run)
                traffic = self._deliver(chain([plan], plans), run, tally)
                if self.job.settle:
                    self.job.settle(context)
                return traffic
            tally.held(plan)
        return None  # nothing to send: nothing of the network was imported

    def _plans(self, context: Context, counts: Counts) -> Iterator[Plan]:
        """What is weighed, narrowed by the order; skips are counted on the way."""
        decisions = self.job.decide(context)
        moment = Moment(context.now, self.clock.real(), self.settings.timezone)
        if only := self.order.only:
            decisions = (d for d in decisions if isinstance(d, Message) and d.user_id == only)
        for plan in weigh(decisions, self.store, moment):
            if isinstance(plan, Skip):
                counts.skipped[plan.reason] += 1
                continue
            if plan.state == "planned":
                if counts.planned == self.order.limit:
                    return
                if not counts.planned:
                    self.templates.check()  # before the first claim; not where nothing is due
                counts.planned += 1
            yield plan

    def _deliver(self, plans: Iterator[Plan], run: Run, tally: Tally) -> Traffic:
        import asyncio

        from speakerbot.delivery.session import Session

        if self.connect is None:
            raise SpeakerbotError("a run that sends needs a channel")
        session = Session(
            store=self.store,
            settings=self.settings,
            templates=self.templates,
            connect=self.connect,
            clock=self.clock,
            run_id=run.id,
            now=run.now,
            log=tally.log,
            timeout=self.order.timeout,
        )
        return asyncio.run(session.deliver(plans, tally.held, tally.finished))

    def _finish(
        self,
        run: Run,
        started: float,
        tally: Tally,
        traffic: Traffic | None,
        error: Exception | None,
    ) -> None:
        duration_ms = round((time.monotonic() - started) * 1000)
        self.stopped = stopped = traffic.stopped.reason if traffic and traffic.stopped else ""
        told = str(error) or type(error).__name__ if error else ""
        self.sink.end(Summary(tally.counts, duration_ms, stopped=stopped, error=told))
        outcome = "failed" if error else "stopped" if stopped else "done"
        counts = tally.counts.as_dict()
        if not self.order.dry_run:
            self._record(
                replace(
                    run,
                    finished_at=self.clock.real(),
                    outcome=outcome,
                    counts=counts,
                    error=told or stopped,
                ),
                tally.log,
            )
        tally.log.info(
            "run_finished",
            outcome=outcome,
            dry_run=self.order.dry_run,
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
