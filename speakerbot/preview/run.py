"""One run that is yet to come, on a store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from speakerbot.config import Settings
from speakerbot.delivery.claims import Revisions, new_claim, sent
from speakerbot.delivery.planning import Moment, Plan, weigh
from speakerbot.domain.delivery import Change, Delivery
from speakerbot.domain.message import Skip
from speakerbot.ports.store import Store
from speakerbot.runs.job import Context, Job
from speakerbot.runs.report import Header, Outcome, Summary, Tally
from speakerbot.schedules import Schedule
from speakerbot.templates import Templates


@dataclass(slots=True)
class SimulatedRun:
    """``at`` is its decision time; ``ahead`` is how far that is ahead of the real time."""

    schedule: Schedule
    job: Job
    store: Store
    """Takes note of what would be sent."""
    settings: Settings
    templates: Templates
    at: datetime
    occurrence: datetime
    ahead: timedelta
    resumes_at: datetime | None = None
    """Once it has been run: when going on with its occurrence makes sense, if something waits."""

    def run(self) -> Iterator[Outcome]:
        """What goes out. Settles before and after, as a real run does."""
        context = self._context()
        if self.job.settle:
            self.job.settle(context)
        yield from self._outcomes(context)
        if self.job.settle:
            self.job.settle(context)

    def _context(self) -> Context:
        return Context(
            store=self.store,
            settings=self.settings,
            now=self.at,
            occurrence=self.occurrence,
            edit_only="--edit-only" in self.schedule.args,
            settled=True,
            templates=self.templates,
        )

    def _outcomes(self, context: Context) -> Iterator[Outcome]:
        revisions = Revisions(f"preview {self.schedule.name} {self.at.isoformat()}")
        shown = _Last()
        tally = Tally(shown, self.templates, log=None)
        moment = Moment(self.at, self._real, self.settings.timezone)
        for plan in weigh(self.job.decide(context), self.store, moment):
            if isinstance(plan, Skip):
                continue
            tally.held(plan)
            if plan.state == "planned":
                after = self._after(plan, shown.outcome.text, revisions)
                self.store.ledger.swap([Change(plan.record, after)])
                if after.state == "sent":
                    yield shown.outcome
        waits = tally.waits
        retry_at = waits.retry_at + self.ahead if waits.retry_at else None
        self.resumes_at = min(filter(None, (retry_at, waits.resume_at)), default=None)

    @property
    def _real(self) -> datetime:
        return self.at - self.ahead

    def _after(self, plan: Plan, text: str, revisions: Revisions) -> Delivery:
        """The record the run leaves: sent with this text, edited, or expired."""
        message, now = plan.message, self._real
        if message.edit and plan.record:
            return plan.record._replace(text=text, revision=revisions.next(), updated_at=now)
        claimed = new_claim(
            plan,
            text,
            run_id="preview",
            revision=revisions.next(),
            now=now,
            flag_at=None,
            lease=self.settings.lease,
            dm_channels={},
        ).record
        if message.expires_at <= self.at:
            # The engine looks whether it had arrived, and sends nothing.
            return claimed._replace(state="expired", revision=revisions.next())
        record = claimed._replace(text=text)
        return sent(record, revision=revisions.next(), now=now, channel_id="", message_id="")


class _Last:
    """A sink that keeps the latest outcome."""

    outcome: Outcome

    def begin(self, header: Header) -> None:
        """Of no use here."""

    def add(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def end(self, summary: Summary) -> None:
        """Of no use here."""
