"""What a run reports: the outcome of each message, the counts of all, and whether it failed.

:class:`Report` turns plans and results into outcomes and passes each on to the run's observers:
counting, logging, output and whatever else watches a run. :func:`failure` decides the error of a
run that handled its messages and still found something a person must fix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from speakerbot.domain.delivery import NO_CONTENT, UNRENDERED, DeliveryState, SkipReason
from speakerbot.domain.run import RunSkipReason, StopReason
from speakerbot.errors import ConfigError, SpeakerbotError, TemplateError, TokenRefused, Unreachable

if TYPE_CHECKING:
    from speakerbot.delivery.planning import MessagePlan
    from speakerbot.delivery.results import Result
    from speakerbot.delivery.session import Traffic
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.message import Message
    from speakerbot.templates import Templates


class MessageOutcome(NamedTuple):
    """What became of one message of a run."""

    message: Message
    state: DeliveryState
    reason: str
    route: str
    """The one it went, or would go, by; empty for none."""
    text: str
    skip: SkipReason | None = None
    """The short reason under which it counts as skipped; empty where it does not."""
    record: Delivery | None = None
    """What the store holds of it now, where this run tried it."""
    error_class: str = ""
    """Why it failed without being tried."""


class ChangeState(StrEnum):
    """What became of one change at a service."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It may have been done: a later run looks."""
    LEFT = "left"
    """Nothing is done about it, although it is not as it should be."""


class ServiceChange(NamedTuple):
    """One thing at a service that a run changes, beside messages."""

    action: Literal["create", "update", "delete", "leave", "list"]
    thing: str
    """What it is one of, in one word, such as ``event``."""
    name: str
    state: ChangeState
    reason: str = ""
    at: datetime | None = None
    """When it takes place, in UTC."""
    unrendered: str = ""
    """The name of the text that cannot be made, where that is why."""
    retry_at: datetime | None = None
    """Real time: then a run can do something about it."""

    @property
    def text(self) -> str:
        """In words for people."""
        would = "would " if self.state == ChangeState.PLANNED else ""
        return f"{would}{self.action} {self.thing} “{self.name}”"

    @property
    def counted_as(self) -> str:
        """In a run's counts: ``created``, ``to_create``, ``left``, ``failed`` …"""
        match self.state:
            case ChangeState.PLANNED:
                return f"to_{self.action}"
            case ChangeState.DONE:
                return f"{self.action}d"
        return str(self.state)


class RunHeader(NamedTuple):
    """Which run this is. ``occurrence`` is None for a run outside a schedule."""

    job: str
    run_id: str
    dry_run: bool
    now: datetime
    occurrence: datetime | None = None


@dataclass(slots=True)
class RunCounts:
    """The numbers of a run's summary."""

    planned: int = 0
    sent: int = 0
    already_sent: int = 0
    undeliverable: int = 0
    unknown: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    """At services, beside messages: ``ServiceChange.counted_as``."""

    def add(self, outcome: MessageOutcome) -> None:
        """Counts one message."""
        if outcome.skip:
            self.skipped[outcome.skip] += 1
            return
        error_class = outcome.record.error_class if outcome.record else outcome.error_class
        match outcome.state:
            case DeliveryState.FAILED:
                self.failed[error_class] += 1
            case DeliveryState.EXPIRED:
                self.skipped[SkipReason.EXPIRED] += 1
            case DeliveryState.HELD_BACK:
                self.skipped[error_class] += 1
            case (
                DeliveryState.SENT
                | DeliveryState.ALREADY_SENT
                | DeliveryState.UNDELIVERABLE
                | DeliveryState.UNKNOWN
            ) as state:
                setattr(self, state, getattr(self, state) + 1)

    def as_dict(self) -> dict[str, Any]:
        """Without changes at services where the job makes none."""
        changes = {"changes": dict(sorted(self.changes.items()))} if self.changes else {}
        return {
            "planned": self.planned,
            "sent": self.sent,
            "already_sent": self.already_sent,
            "skipped": {str(reason): count for reason, count in sorted(self.skipped.items())},
            "failed": dict(sorted(self.failed.items())),
            "undeliverable": self.undeliverable,
            "unknown": self.unknown,
            **changes,
        }


class RunSummary(NamedTuple):
    """How a run ended."""

    counts: RunCounts
    duration_ms: int
    skipped_because: RunSkipReason | None = None
    """Why the run did nothing at all; None if it ran."""
    stopped: StopReason | None = None
    """Why it ended early, if it did."""
    error: str = ""
    """What it failed with."""
    quietly: bool = False
    """Nobody need be told that it did nothing."""


class RunObserver(Protocol):
    """Watches a run: the terminal, a JSON document, a log, counters."""

    def begin(self, header: RunHeader) -> None: ...

    def add(self, outcome: MessageOutcome) -> None: ...

    def change(self, change: ServiceChange) -> None: ...

    def end(self, summary: RunSummary) -> None:
        """Called whatever happened in between, so that a document is always closed."""


@dataclass(frozen=True, slots=True)
class OutcomeLog:
    """The observer that logs what became of each message that was tried: no text of any."""

    log: Any

    def begin(self, header: RunHeader) -> None: ...

    def add(self, outcome: MessageOutcome) -> None:
        record = outcome.record
        if outcome.error_class:
            message = outcome.message
            self.log.warning(
                "message_failed",
                key=message.key,
                subject=message.subject,
                template=message.template,
                error=outcome.reason,
            )
        if record is None:
            return
        if outcome.state in (DeliveryState.SENT, DeliveryState.ALREADY_SENT):
            event = (
                "message_found" if outcome.state == DeliveryState.ALREADY_SENT else "message_sent"
            )
            event = "message_edited" if outcome.message.edit else event
            self.log.info(event, key=record.key, route=record.route, message_id=record.message_id)
            return
        self.log.warning(
            f"message_{outcome.state}",
            key=record.key,
            route=record.route,
            error=record.error,
            attempts=record.attempts,
            retry_at=record.retry_at,
        )

    def change(self, change: ServiceChange) -> None:
        level = self.log.info
        if change.state in (ChangeState.FAILED, ChangeState.UNKNOWN):
            level = self.log.warning
        event = "left" if change.state == ChangeState.LEFT else change.action
        level(
            f"{change.thing}_{event}",
            state=change.state,
            name=change.name,
            at=change.at,
            reason=change.reason,
        )

    def end(self, summary: RunSummary) -> None: ...


@dataclass(slots=True)
class Waits:
    """What of an occurrence is still to be done, and when that makes sense."""

    retry_at: datetime | None = None
    """Real time: the first failed message's next try, or the end of another run's lease."""
    resume_at: datetime | None = None
    """Decision time: when the first person's quiet hours end."""
    more: bool = False
    """Something can go on at once."""

    def held(self, plan: MessagePlan) -> None:
        """Notes a message that is not sent now."""
        self.more |= plan.error_class == NO_CONTENT
        match plan.skip:
            case SkipReason.IN_PROGRESS | SkipReason.RETRY_LATER | SkipReason.NODE_BOT_MINUTE:
                self.retry(plan.until)
            case SkipReason.QUIET_HOURS:
                self.resume_at = min(filter(None, (self.resume_at, plan.until)), default=None)
            case SkipReason.NEW_DM_PACE | SkipReason.CHANGED_MEANWHILE | SkipReason.GIVEN_BACK:
                self.more = True

    def retry(self, at: datetime | None) -> None:
        self.retry_at = min(filter(None, (self.retry_at, at)), default=None)


@dataclass(slots=True)
class Report:
    """One per run: what became of each message, passed on to the observers."""

    observers: Sequence[RunObserver]
    templates: Templates
    counts: RunCounts = field(default_factory=RunCounts)
    waits: Waits = field(default_factory=Waits)
    _unrendered: dict[str, str] = field(default_factory=dict)
    """By template, why its text could not be made for a message."""

    def begin(self, header: RunHeader) -> None:
        for observer in self.observers:
            observer.begin(header)

    def end(self, summary: RunSummary) -> None:
        for observer in self.observers:
            observer.end(summary)

    def held(self, plan: MessagePlan) -> None:
        """A message that is not sent now: in a dry run, or because of its plan."""
        self.waits.held(plan)
        if plan.error_class == UNRENDERED:
            self._unrendered.setdefault(plan.message.template, plan.reason)
        self._add(outcome_of_plan(plan, self.templates))

    def changed(self, change: ServiceChange) -> None:
        if change.unrendered:
            self._unrendered.setdefault(change.unrendered, change.reason)
        self.waits.retry(change.retry_at)
        self.counts.changes[change.counted_as] += 1
        for observer in self.observers:
            observer.change(change)

    def unrendered(self) -> ConfigError | None:
        """The error to end with where texts of messages could not be made."""
        return ConfigError(*self._unrendered.values()) if self._unrendered else None

    def finished(self, result: Result) -> None:
        """A message that was claimed, once its outcome is in the store."""
        message, after = result.claim.message, result.after
        if result.given_back or after is None:
            self.waits.more = True
            reason = "the run was stopped, or its channel refused us; a later run sends it"
            text = result.claim.text
            self._add(
                MessageOutcome(
                    message, DeliveryState.HELD_BACK, reason, "", text, SkipReason.GIVEN_BACK
                )
            )
            return
        outcome = outcome_of_record(message, after)
        if outcome.state == DeliveryState.FAILED:
            self.waits.retry(after.retry_at)
        self._add(outcome)

    def _add(self, outcome: MessageOutcome) -> None:
        self.counts.add(outcome)
        for observer in self.observers:
            observer.add(outcome)


def outcome_of_plan(plan: MessagePlan, templates: Templates) -> MessageOutcome:
    """What a run that does not send it says of a message."""
    record = plan.record
    if plan.error_class:
        outcome = MessageOutcome(plan.message, plan.state, plan.reason, "", "")
        return outcome._replace(error_class=plan.error_class)
    if record is not None and plan.state != DeliveryState.PLANNED:
        route, text = record.route, record.text
    elif plan.state == DeliveryState.ALREADY_SENT:
        route, text = "", ""  # by the Node bot: its text is not ours to tell
    else:
        route, text = _next_try(plan, templates)
    return MessageOutcome(plan.message, plan.state, plan.reason, route, text, plan.skip)


def _next_try(plan: MessagePlan, templates: Templates) -> tuple[str, str]:
    """The route it would go by, and its text there; a retry goes on where it was."""
    message, record = plan.message, plan.record
    routes = message.routes_from(record.route, record.target) if record else message.routes
    text = plan.text
    if text is None or routes[:1] != message.routes[:1]:
        channel = routes[0].channel if routes else None
        text = rendered_or_empty(message, templates, channel)
    if not routes:
        return "", text
    rules = templates.channels[routes[0].channel]
    return routes[0].name, rules.addressed(text, routes[0].mention)


def rendered_or_empty(message: Message, templates: Templates, channel: str | None = None) -> str:
    """Of a message that does not go now: what is wrong with its text is told when it would."""
    try:
        return templates.of(message, channel)
    except TemplateError:
        return ""


def outcome_of_record(message: Message, after: Delivery) -> MessageOutcome:
    """What became of a message that was tried."""
    state = _shown(message, after)
    reason = message.reason if state == DeliveryState.SENT else after.error
    if state == DeliveryState.ALREADY_SENT:
        reason = f"the bot had posted it itself at {after.sent_at:%F %H:%M} UTC"
    return MessageOutcome(message, state, reason, after.route, after.text, record=after)


def _shown(message: Message, after: Delivery) -> DeliveryState:
    """What a claim came to, for people. The record of a post stays ``sent`` whatever an edit of it
    comes to."""
    if after.state == DeliveryState.CLAIMED:
        return DeliveryState.FAILED
    if message.edit and after.error_class:
        gone = after.error_class == "deleted"
        return DeliveryState.HELD_BACK if gone else DeliveryState.FAILED
    if after.found and not message.edit:
        return DeliveryState.ALREADY_SENT
    return after.state


def failure(traffic: Traffic | None) -> SpeakerbotError | None:
    """The error to end with; None where all is well, or only recipients failed."""
    if traffic is None:
        return None
    for channel, stopped in traffic.stopped_channels.items():
        match stopped.reason:
            case StopReason.TOKEN:
                return TokenRefused(
                    f"DISCORD_TOKEN was refused ({stopped.detail}). Nothing was sent. Copy it "
                    "again from Discord's developer portal: your application, Bot, Reset Token"
                )
            case StopReason.UNREACHABLE | StopReason.INVALID_REQUESTS:
                return Unreachable(f"{channel} was stopped: {stopped.detail}")
            case StopReason.BOT | StopReason.CONFIG:
                return ConfigError(f"{channel} was stopped: {stopped.detail}")
    if traffic.refused_targets or traffic.refused_settings:
        return ConfigError(
            *(
                f"channel {target} of the settings: {detail}; check its id and our permissions"
                for target, detail in traffic.refused_targets.items()
            ),
            *traffic.refused_settings.values(),
        )
    return None
