"""Why a message was sent, was not, or will be: told from the decisions the runs themselves make.

What a job says about a talk (``Job.prospects``) is weighed as a run weighs it; what happens next is
what :mod:`speakerbot.preview` foresees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from speakerbot.delivery.planning import MessagePlan, Moment, weigh, with_texts
from speakerbot.domain.delivery import Delivery, DeliveryState, MessageKey
from speakerbot.domain.message import Message
from speakerbot.explain import words
from speakerbot.explain.foresight import Foresight
from speakerbot.preview import Coming
from speakerbot.runs.job import Job, JobContext, Prospect

State = DeliveryState | Literal["not_due", "dropped"]
_LAST = datetime.max.replace(tzinfo=UTC)
OVER = ("already_sent", "sent", "undeliverable", "unknown", "expired")


@dataclass(frozen=True, slots=True)
class Explanation:
    """One message: what became of it so far (``what``), and what will (``next``)."""

    key: str
    kind: str
    recipient: str
    state: State
    what: str
    next: str
    next_at: datetime | None = None
    """The decision time (UTC) of the run that will send it, where that is foreseen."""
    due_at: datetime | None = None
    expires_at: datetime | None = None
    record: Delivery | None = None


@dataclass(frozen=True, slots=True)
class Explainer:
    """Tells about the messages of ``jobs`` from a store, at the time of its foresight."""

    jobs: Sequence[Job]
    foresight: Foresight

    def talk(self, talk_id: str) -> list[Explanation]:
        """Every message about the talk by its id: those on its present date, then what else of it
        is in the ledger. A talk that is gone may still have some."""
        explained = [self._prospect(job, each) for job, each in self._prospects(talk_id)]
        return self._with_records(explained, f"talk:{talk_id}")

    def person(self, user_id: str) -> list[Explanation]:
        """Every message to the person about talks from yesterday on, what else is to come, and
        what else of them is in the ledger. ``user_id`` is their Discord id, or ours where they have
        none."""
        preview = self.foresight.preview
        person = preview.store.people.get(user_id)
        known_by_us = person is not None and person.discord_user_id is None
        recipient = f"person:{user_id}" if known_by_us else f"user:{user_id}"
        yesterday = preview.now.astimezone(preview.settings.timezone).date() - timedelta(days=1)
        talks = preview.store.talks.between(yesterday, date.max)
        about = [
            self._prospect(job, each)
            for talk_id in [talk.id for talk in talks if talk.seen_by(user_id)]
            for job, each in self._prospects(talk_id)
            if each.message.recipient == recipient
        ]
        known = {each.key for each in about}
        coming = [
            self._coming(each)
            for key, each in self.foresight.comings.items()
            if key not in known and each.outcome.message.recipient == recipient
        ]
        return self._with_records(about + coming, recipient)

    def key(self, key: str) -> Explanation | None:
        """The message of that key; None if nothing is known about one."""
        talk_id = _talk_of(key)
        for job, each in self._prospects(talk_id) if talk_id else ():
            if each.message.key == key:
                return self._prospect(job, each)
        store = self.foresight.preview.store
        if record := store.ledger.get([key]).get(key):
            return self._record(record)
        if coming := self.foresight.comings.get(key):
            return self._coming(coming)
        if not talk_id:
            return None
        named = MessageKey.parse(key)
        kind, recipient = (named.kind, named.recipient) if named else (key.partition("/")[0], "")
        why = words.void(store.talks.get(talk_id), talk_id)
        return Explanation(key, kind, recipient, "dropped", why, words.NOTHING)

    def _prospects(self, talk_id: str) -> Iterator[tuple[Job, Prospect]]:
        preview = self.foresight.preview
        context = JobContext(
            preview.store, preview.settings, preview.now, templates=preview.templates
        )
        for job in self.jobs:
            if job.prospects:
                for prospect in job.prospects(context, talk_id):
                    yield job, prospect

    def _prospect(self, job: Job, prospect: Prospect) -> Explanation:
        message, now = prospect.message, self.foresight.preview.now
        plan = self._weighed(message, max(now, message.due_at))
        told = _told(message, plan.state, words.so_far(plan), record=plan.record)
        if plan.state in OVER:
            return replace(told, next=self._after(plan))
        if prospect.dropped:
            return replace(told, state="dropped", what=prospect.dropped)
        if message.due_at > now:
            told = replace(told, state="not_due", what=words.not_due(message.due_at))
        if coming := self.foresight.comings.get(message.key):
            return replace(told, next=_goes_out(coming), next_at=_when(coming))
        return replace(told, next=self.foresight.of(job, plan))

    def _weighed(self, message: Message, at: datetime) -> MessagePlan:
        preview = self.foresight.preview
        moment = Moment(at, at - preview.ahead, preview.settings.timezone)
        weighed = weigh([replace(message, follows=False)], preview.store, moment)
        [plan] = with_texts(weighed, preview.templates)
        if not isinstance(plan, MessagePlan):
            raise TypeError("a message is weighed to a plan")
        return plan

    def _after(self, plan: MessagePlan) -> str:
        worth_a_retry = plan.state in (DeliveryState.UNDELIVERABLE, DeliveryState.UNKNOWN)
        if worth_a_retry and self.foresight.preview.now < plan.message.expires_at:
            return words.retry(plan.message.key)
        return words.NOTHING

    def _with_records(self, explained: list[Explanation], name: str) -> list[Explanation]:
        """In order of time, and after them what the ledger has beside them under ``name``."""
        known = {each.key for each in explained}
        records = self.foresight.preview.store.ledger.find(name)
        rest = [self._record(record) for record in records if record.key not in known]
        return sorted(explained, key=_by_time) + sorted(rest, key=_by_time)

    def _record(self, record: Delivery) -> Explanation:
        """Of a message that no job speaks of now."""
        coming = self.foresight.comings.get(record.key)
        waits = record.state in (DeliveryState.CLAIMED, DeliveryState.FAILED)
        idle = "nothing: no job asks for it now" if waits else words.NOTHING
        return Explanation(
            record.key,
            record.kind,
            record.recipient,
            record.state,
            words.recorded(record),
            _goes_out(coming) if coming else idle,
            next_at=_when(coming) if coming else None,
            due_at=record.due_at,
            expires_at=record.expires_at,
            record=record,
        )

    def _coming(self, coming: Coming) -> Explanation:
        message = coming.outcome.message
        if coming.outcome.error_class:
            told = _told(message, DeliveryState.FAILED, coming.outcome.reason)
        elif message.due_at <= self.foresight.preview.now:
            told = _told(message, DeliveryState.PLANNED, words.due_since(message.due_at))
        else:
            told = _told(message, "not_due", words.not_due(message.due_at))
        return replace(told, next=_goes_out(coming), next_at=_when(coming))


def _told(
    message: Message, state: State, what: str, *, record: Delivery | None = None
) -> Explanation:
    return Explanation(
        message.key,
        message.kind,
        message.recipient,
        state,
        what,
        words.NOTHING,
        due_at=message.due_at,
        expires_at=message.expires_at,
        record=record,
    )


def _goes_out(coming: Coming) -> str:
    if coming.outcome.error_class:
        return f"nothing, until its text is corrected: {coming.outcome.reason}"
    return f"goes out {words.utc(coming.at)} (schedule {coming.schedule})"


def _when(coming: Coming) -> datetime | None:
    return None if coming.outcome.error_class else coming.at


def _talk_of(key: str) -> str:
    """The id of the talk it names; empty if it names none."""
    named = MessageKey.parse(key)
    subject = named.subject if named else ""
    return subject.removeprefix("talk:") if subject.startswith("talk:") else ""


def _by_time(explanation: Explanation) -> tuple[datetime, str]:
    return explanation.due_at or _LAST, explanation.key
