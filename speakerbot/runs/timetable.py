"""What a run has to do, round by round: what is due now, then what falls due while it stays.

The first round is everything that is due. A later one begins shortly before something else falls
due, when quiet hours end or a retry is due, when the Node bot's minute is over, or when the store
has changed; it decides everything again and does what is to be done then. Its messages are claimed
shortly before their time and sent at it, never early.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from speakerbot import process
from speakerbot.clock import OUR_CLOCK_IS_OFF
from speakerbot.delivery.planning import Look, MessagePlan, Moment, weigh, with_texts
from speakerbot.domain.delivery import (
    Delivery,
    DeliveryChange,
    DeliveryState,
    SkipReason,
    within_reason,
)
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.service_request import NoResponse, Responses
from speakerbot.errors import UsageError
from speakerbot.runs.job import AHEAD, NOTHING_AHEAD, Job, JobContext, Outlook, look_ahead
from speakerbot.runs.node_bot_minute import end_of_minute, held_until, must_wait
from speakerbot.runs.report import Waits

if TYPE_CHECKING:
    from speakerbot.clock import Clock
    from speakerbot.config import Settings
    from speakerbot.domain.job_registry import RunOptions
    from speakerbot.domain.service_request import ServiceRequest
    from speakerbot.ports.store import Store
    from speakerbot.runs.report import Report
    from speakerbot.templates import Templates

LEAD = timedelta(seconds=1)
"""How long before its time a round begins: messages are claimed then."""
NEAR = timedelta(seconds=30)
"""A round that begins within so long is waited for with open channels."""
LOOK_EVERY = timedelta(seconds=1)
"""How often a run that waits looks whether the store has changed."""


ASK_AGAIN = timedelta(minutes=5)
"""How long after a request that got no response it is worth being made again."""


class NextRound(NamedTuple):
    """Both in decision time: when it begins, and the time that it decides for."""

    begins: datetime
    at: datetime


@dataclass(slots=True)
class Timetable:
    """One run's. ``now`` is the decision time of its present round."""

    job: Job
    options: RunOptions
    store: Store
    settings: Settings
    templates: Templates
    report: Report
    log: Any
    clock: Clock
    run_id: str
    now: datetime
    occurrence: datetime | None
    looks_ahead: bool
    """What falls due and is over before the next tick is this run's, too."""
    keeps_clear: bool
    """Of the minute in which the Node bot sends the same: see ``node_bot_minute``."""
    may_wait: bool
    """False: a message that has to wait is left to a later run."""
    stays_until: Callable[[], datetime | None] = lambda: None
    """The real instant at which the run makes way for its schedule's next occurrence; None: none
    is coming."""
    looked: Callable[[], None] = lambda: None
    """Called at each look of a run that waits."""
    deadline: float | None = None
    """Of ``time.monotonic``: deciding is cut short then."""
    rounds: int = 0
    responses: dict[ServiceRequest[Any], Any] = field(default_factory=dict)
    """Of the requests that this run has made so far."""
    _before: datetime | None = None
    """The decision time of the round before."""
    _kept_until: datetime | None = None
    """The end of the Node bot's minute, where a message waits for it."""
    _kept: set[str] = field(default_factory=set)
    """Keys of messages that waited, or wait, for it: they have not been reported yet."""
    _outlook: Outlook = NOTHING_AHEAD
    """Of the latest look."""
    _due: int = 0
    """A hash of what was due when the present round began: how a changed store is noticed."""
    _looked_at: datetime | None = None
    _store_version: object = None
    """At the latest look."""

    def begin(self, at: datetime) -> Iterator[MessagePlan]:
        """The plans of the round at this decision time, as its messages are decided one by one."""
        self._before, self.now = (self.now if self.rounds else None), at
        self.rounds += 1
        self.report.waits = Waits()  # what still waits is decided again
        self._kept_until = None
        if self._stays:
            self._due = self._look(at).due  # before deciding: what comes in between is seen later
        return self._plans()

    def context(self, now: datetime | None = None) -> JobContext:
        """What the job may look at; ``now`` None: at the time of the present round."""
        return JobContext(
            store=self.store,
            settings=self.settings,
            now=now or self.now,
            occurrence=self.occurrence,
            edit_only=self.options.edit_only,
            settled=not self.options.dry_run,
            templates=self.templates,
            responses=self.responses,
            run_id=self.run_id,
            only=self._only() if self.job.service_steps else None,
            limit=self.options.limit,
            first_round=self.rounds <= 1,
        )

    def wanted(self, at: datetime) -> list[ServiceRequest[Any]]:
        """What is to be read before the next round, at this decision time, decides."""
        if self.job.wanted is None:
            return []
        context = replace(self.context(at), first_round=self.rounds == 0)
        return list(self.job.wanted(context))

    def responded(self, responses: Responses) -> None:
        """Takes note of what came back. An occurrence of which something could not be read, and may
        be in a while, stays open."""
        self.responses.update(responses)
        failed = [each for each in responses.values() if isinstance(each, NoResponse)]
        for detail, count in Counter(each.detail for each in failed).items():
            self.log.warning("service_did_not_respond", requests=count, detail=detail)
        if any(each.passing for each in failed):
            self.report.waits.retry(self.clock.real() + ASK_AGAIN)

    def held(self, plan: MessagePlan) -> None:
        """Notes a message that is not sent now. In a later round only what is new is reported."""
        if plan.overtaken is not None and not self.options.dry_run:
            self._settle(plan.message, plan.overtaken)
        if plan.error_class and not self.options.dry_run:
            self.report.counts.planned -= 1  # it was, until its text could not be made
        kept = plan.message.key in self._kept
        if self.rounds == 1 or kept or plan.error_class or not self.sleeps:
            self._kept.discard(plan.message.key)
            self.report.held(plan)
        elif not self._under_way(plan):
            self.report.waits.held(plan)

    def _under_way(self, plan: MessagePlan) -> bool:
        """Whether this run itself is sending it: what becomes of it is reported then."""
        own = plan.record is not None and plan.record.run_id == self.run_id
        return own and plan.skip == SkipReason.IN_PROGRESS

    @property
    def sleeps(self) -> bool:
        """Whether it waits for real: at another decision time nothing does."""
        return not self.options.dry_run and not self.clock.offset

    def next_round(self) -> NextRound | None:
        """None where there is nothing (more) to wait for."""
        now = self.now if not self.sleeps else max(self.now, self.clock.decision())
        return min(self._rounds(self._look(now), now), default=None)

    def _rounds(self, outlook: Outlook, now: datetime) -> Iterator[NextRound]:
        if outlook.next_due is not None:
            yield NextRound(outlook.next_due - LEAD, outlook.next_due)
        yield from self._waiting(now)

    def _waiting(self, now: datetime) -> Iterator[NextRound]:
        """For what this round has decided and not sent."""
        if self._kept_until:
            yield NextRound(self._kept_until, self._kept_until)
        if self.options.horizon is None:
            return
        last, waits = now + self.options.horizon, self.report.waits
        if waits.resume_at is not None and waits.resume_at <= last:
            yield NextRound(waits.resume_at - LEAD, waits.resume_at)
        if waits.retry_at is not None and (again := waits.retry_at + self.clock.offset) <= last:
            yield NextRound(again, again)

    @property
    def _stays(self) -> bool:
        """Whether it waits for what falls due, and so for whatever else comes up."""
        return self.job.windows is not None and self.options.horizon is not None and self.sleeps

    def _look(self, now: datetime) -> Outlook:
        """One indexed query."""
        horizon = self.options.horizon
        looks_ahead = self.looks_ahead and not self.options.narrowed
        if horizon is None and not looks_ahead:
            return NOTHING_AHEAD
        over_within = AHEAD if looks_ahead else timedelta()
        self._looked_at, self._store_version = now, self.store.version()
        with process.let_in(self.deadline):
            self._outlook = look_ahead(
                self.job, self.context(), now, horizon=horizon, over_within=over_within
            )
        return self._outlook

    def _look_again(self, now: datetime) -> Outlook:
        """Once a second at most, and only where somebody may have written to the store."""
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return self._outlook
        if self._store_version is not None and self.store.version() == self._store_version:
            return self._outlook
        return self._look(now)

    @property
    def not_before(self) -> datetime | None:
        """Real time: none of the present round's messages goes before it."""
        return self.now - self.clock.offset if self.rounds > 1 and self.sleeps else None

    def woken(self, coming: NextRound) -> bool:
        """Whether a run that waits for this round has something else to do now."""
        if self.outlived():
            return True
        now = self.clock.decision()
        outlook = self._look_again(now)
        self.looked()
        soonest = min(self._rounds(outlook, now), default=None)
        return soonest != coming or outlook.due != self._due

    def look(self, busy: bool) -> Look | None:
        """Called in the store's thread when the present round is used up and channels are open:
        what to do next. None: nothing for this session. ``busy``: some of it is still under way."""
        if not self.sleeps or not self.may_wait or self.outlived():
            return None
        now = self.clock.decision()
        outlook = self._look_again(now)
        self.looked()
        coming = min(self._rounds(outlook, now), default=None)
        if coming is not None and coming.begins <= now:
            return None if self.wanted(coming.at) else self._round(coming.at)  # it reads first
        if self._stays and outlook.due != self._due:
            return self._round(now)
        near = coming is not None and coming.begins <= now + NEAR
        if not near and not (busy and self.options.horizon is not None):
            return None
        soon = self.clock.real() + LOOK_EVERY
        return Look(None, min(coming.begins - self.clock.offset, soon) if coming else soon)

    def _round(self, at: datetime) -> Look:
        return Look(self.begin(at), at - self.clock.offset)

    def outlived(self) -> bool:
        """Whether the schedule's next occurrence has come."""
        until = self.stays_until()
        return until is not None and self.clock.real() >= until

    def _plans(self) -> Iterator[MessagePlan]:
        """What is weighed, narrowed by the options; skips are counted on the way."""
        counts = self.report.counts
        moment = Moment(self.now, self.clock.real(), self.settings.timezone)
        weighed: Iterator[MessagePlan | Skip] = weigh(self._of_this_round(), self.store, moment)
        if self.options.dry_run:
            weighed = with_texts(weighed, self.templates)
        for plan in weighed:
            if isinstance(plan, Skip):
                counts.skipped[plan.reason] += self.rounds == 1
                continue
            if plan.record is not None and not self.options.dry_run:
                self._correct(plan.record)
            if plan.state == DeliveryState.PLANNED:
                if end := self._kept_until_end(plan.message):
                    if not self.may_wait:
                        yield held_until(plan, end)
                    self._kept.add(plan.message.key)
                    continue
                if counts.planned == self.options.limit:
                    return
                counts.planned += 1
            yield plan

    def _of_this_round(self) -> Iterator[Decision]:
        """In a dry run nothing is sent, so what an earlier round has shown would come again."""
        shown_up_to = self._before if not self.sleeps else None
        for decision in narrowed(self.job.decide(self.context()), self._only()):
            if shown_up_to is None or _due_after(decision, shown_up_to):
                yield decision

    def keep(self, plan: MessagePlan, since: datetime) -> bool:
        """Whether a message that was planned must wait after all: the Node bot's minute has begun,
        or has come and gone after ``since`` (real time). Once it is over, it is decided again."""
        end = self._kept_until_end(plan.message, since)
        if end is None:
            return False
        self.report.counts.planned -= 1
        self._kept.add(plan.message.key)
        if not self.may_wait:
            self.held(held_until(plan, end))
        return True

    def _kept_until_end(self, message: Message, since: datetime | None = None) -> datetime | None:
        """The end of the Node bot's minute, if the message must wait for it. Then it is noted."""
        if not self.keeps_clear or not self.sleeps:
            return None
        end = end_of_minute(self.clock.real(), since)
        if end is None or not must_wait(message, end):
            return None
        self._kept_until = end
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

    def _settle(self, message: Message, overtaken: Delivery) -> None:
        """What was claimed, or failed, and the Node bot has sent since, is open no longer."""
        from speakerbot.delivery.transitions import sent_by_node_bot  # few runs need it

        if message.flag is None or message.flag.seen is None:
            return
        change = sent_by_node_bot(overtaken, message.flag.seen, self.clock.real())
        with process.held_off():
            settled = self.store.ledger.swap([change])
        if settled:
            self.log.info("sent_by_node_bot", key=message.key, run_id_of_claim=overtaken.run_id)

    def _only(self) -> str | None:
        only = self.options.only
        return None if only is None else discord_id(self.store, only)

    def moved_to(self, at: datetime) -> None:
        """Where nothing sleeps, the clock is set to the next round's time instead."""
        ahead = max(at - self.clock.decision(), timedelta())
        self.clock = replace(self.clock, offset=self.clock.offset + ahead)


def _due_after(decision: Decision, before: datetime) -> bool:
    return isinstance(decision, Message) and before < decision.due_at


def narrowed(decisions: Iterable[Decision], only: str | None) -> Iterator[Decision]:
    """What is left where a run is for one person; ``only`` is their Discord id, or ours where they
    have none; None: all."""
    if only is None:
        return iter(decisions)
    theirs = (f"user:{only}", f"person:{only}")
    return (each for each in decisions if isinstance(each, Message) and each.recipient in theirs)


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
