"""Wraps a run: which messages, dry or for real, one structured summary line, one record."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.errors import ConfigError, SpeakerbotError, TokenRefused, Unreachable
from speakerbot.job import Context, Job
from speakerbot.messages import Message, Skip
from speakerbot.outcomes import Counts, Header, Sink, Summary
from speakerbot.planning import Moment, Plan, weigh
from speakerbot.ports import Store
from speakerbot.runs import Run
from speakerbot.tally import Tally
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

    def run(self) -> None:
        """Raises a SpeakerbotError for what makes the whole run fail; recipients' failures only
        count. The sink is closed and the run is recorded in either case."""
        started = time.monotonic()
        clock = self.clock
        run_id = _new_run_id(clock.real())
        run = Run(run_id, self.job.name, clock.decision(), clock.real())
        log = self.log.bind(job=run.job, run_id=run.id, occurrence=None)
        tally = Tally(self.sink, self.templates, log)
        self.sink.begin(Header(run.job, run.id, self.order.dry_run, run.now))
        reason = self._disabled()
        if reason:
            log.warning("run_skipped", reason=reason)
            self.sink.end(Summary(tally.counts, _ms_since(started), reason))
            return
        error: SpeakerbotError | None = None
        traffic = None
        try:
            traffic = self._do(run, clock, tally)
            error = _failure(traffic)
        except SpeakerbotError as failure:
            error = failure
        self._finish(run, clock, started, tally, traffic, error)
        if error:
            raise error

    def _disabled(self) -> str:
        if self.settings.enabled and self.job.name not in self.settings.disabled_jobs:
            return ""
        return "disabled"

    def _do(self, run: Run, clock: Clock, tally: Tally) -> Traffic | None:
        context = Context(self.store, self.settings, run.now)
        if self.job.settle and not self.order.dry_run:
            self.job.settle(context)
        plans = self._plans(context, clock, tally.counts)
        if self.order.dry_run:
            for plan in plans:
                tally.held(plan)
            return None
        for plan in plans:
            if plan.state == "planned":
                self.store.runs.put(run)
                traffic = self._deliver(chain([plan], plans), run, clock, tally)
                if self.job.settle:
                    self.job.settle(context)
                return traffic
            tally.held(plan)
        return None  # nothing to send: nothing of the network was imported

    def _plans(self, context: Context, clock: Clock, counts: Counts) -> Iterator[Plan]:
        """What is weighed, narrowed by the order; skips are counted on the way."""
        decisions = self.job.decide(context)
        moment = Moment(context.now, clock.real(), self.settings.timezone)
        if only := self.order.only:
            decisions = (d for d in decisions if isinstance(d, Message) and d.user_id == only)
        for plan in weigh(decisions, self.store, moment):
            if isinstance(plan, Skip):
                counts.skipped[plan.reason] += 1
                continue
            if plan.state == "planned":
                if counts.planned == self.order.limit:
                    return
                counts.planned += 1
            yield plan

    def _deliver(self, plans: Iterator[Plan], run: Run, clock: Clock, tally: Tally) -> Traffic:
        import asyncio

        from speakerbot.delivery.session import Session

        if self.connect is None:
            raise SpeakerbotError("a run that sends needs a channel")
        session = Session(
            store=self.store,
            settings=self.settings,
            templates=self.templates,
            connect=self.connect,
            clock=clock,
            run_id=run.id,
            now=run.now,
            log=tally.log,
        )
        return asyncio.run(session.deliver(plans, tally.held, tally.finished))

    def _finish(
        self,
        run: Run,
        clock: Clock,
        started: float,
        tally: Tally,
        traffic: Traffic | None,
        error: SpeakerbotError | None,
    ) -> None:
        duration_ms = _ms_since(started)
        stopped = traffic.stopped.reason if traffic and traffic.stopped else ""
        self.sink.end(Summary(tally.counts, duration_ms))
        outcome = "failed" if error else "stopped" if stopped else "done"
        counts = tally.counts.as_dict()
        if not self.order.dry_run:
            self._record(
                replace(
                    run,
                    finished_at=clock.real(),
                    outcome=outcome,
                    counts=counts,
                    error=str(error or stopped),
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


def _new_run_id(now: datetime) -> str:
    """Sorts by start time; two runs of one second still differ."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _failure(traffic: Traffic | None) -> SpeakerbotError | None:
    """The error a run ends with although its messages were handled, if it must be mended."""
    if traffic is None:
        return None
    if stopped := traffic.stopped:
        match stopped.reason:
            case "token":
                return TokenRefused(
                    f"DISCORD_TOKEN was refused ({stopped.detail}). Nothing was sent. Copy it anew "
                    "from Discord's developer portal: your application, Bot, Reset Token"
                )
            case "unreachable" | "invalid_requests":
                return Unreachable(f"the run was stopped: {stopped.detail}")
            case "bot" | "config":
                return ConfigError(f"the run was stopped: {stopped.detail}")
    if traffic.refused_channels:
        return ConfigError(
            *(
                f"channel {channel} of the settings: {detail}; check its id and our permissions"
                for channel, detail in traffic.refused_channels.items()
            )
        )
    return None
