"""What a run reports: the outcome of each message, the counts of all, and whether it failed.

:class:`Tally` counts, logs and passes each outcome on to whoever shows it; :func:`failure` decides
the error of a run that handled its messages and still found something a person must fix.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from speakerbot.delivery.planning import MessageState, Plan
from speakerbot.domain.message import Message
from speakerbot.errors import ConfigError, SpeakerbotError, TokenRefused, Unreachable
from speakerbot.templates import Templates

if TYPE_CHECKING:
    from speakerbot.delivery.results import Result
    from speakerbot.delivery.session import Traffic
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.message import Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """One message of a run. ``route`` is the one it went, or would go, by; empty for none."""

    message: Message
    state: MessageState
    reason: str
    route: str
    text: str


@dataclass(slots=True)
class Counts:
    """The numbers of a run's summary."""

    planned: int = 0
    sent: int = 0
    already_sent: int = 0
    undeliverable: int = 0
    unknown: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {
            "planned": self.planned,
            "sent": self.sent,
            "already_sent": self.already_sent,
            "skipped": dict(sorted(self.skipped.items())),
            "failed": dict(sorted(self.failed.items())),
            "undeliverable": self.undeliverable,
            "unknown": self.unknown,
        }


@dataclass(frozen=True, slots=True)
class Header:
    """Which run this is. ``occurrence`` is None for a run outside a schedule."""

    job: str
    run_id: str
    dry_run: bool
    now: datetime
    occurrence: datetime | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    counts: Counts
    duration_ms: int
    skipped_because: str = ""
    """Why the run did nothing at all: disabled, not_due, …; empty if it ran."""
    stopped: str = ""
    """Why it ended early: sigterm, timeout, …"""
    error: str = ""
    """What it failed with."""


class Sink(Protocol):
    """Where outcomes go as they come: the terminal, a JSON document, nowhere."""

    def begin(self, header: Header) -> None: ...

    def add(self, outcome: Outcome) -> None: ...

    def end(self, summary: Summary) -> None:
        """Called whatever happened in between, so that a document is always closed."""


class NoSink:
    """Shows nothing: for runs whose effect is looked at instead."""

    def begin(self, header: Header) -> None: ...

    def add(self, outcome: Outcome) -> None: ...

    def end(self, summary: Summary) -> None: ...


@dataclass(slots=True)
class Waits:
    """What of an occurrence is still to be done, and when that makes sense."""

    retry_at: datetime | None = None
    """Real time: the first failed message's next try, or the end of another run's lease."""
    resume_at: datetime | None = None
    """Decision time: when the first person's quiet hours end."""
    more: bool = False
    """Something can go on at once."""

    def retry(self, at: datetime | None) -> None:
        self.retry_at = min(filter(None, (self.retry_at, at)), default=None)

    def resume(self, at: datetime | None) -> None:
        self.resume_at = min(filter(None, (self.resume_at, at)), default=None)


@dataclass(slots=True)
class Tally:
    """One per run. No text of a message goes into a log."""

    sink: Sink
    templates: Templates
    log: Any
    counts: Counts = field(default_factory=Counts)
    waits: Waits = field(default_factory=Waits)

    def held(self, plan: Plan) -> None:
        """A message that is not sent now: in a dry run, or because of its plan."""
        match plan.skip:
            case "in_progress" | "retry_later":
                self.waits.retry(plan.until)
            case "quiet_hours":
                self.waits.resume(plan.until)
            case "new_dm_pace" | "changed_meanwhile":
                self.waits.more = True
        if plan.skip:
            self.counts.skipped[plan.skip] += 1
        else:
            self._count(plan.state, "")
        record = plan.record
        if record is not None and plan.state != "planned":
            route, text = record.route, record.text
        elif plan.state == "already_sent":
            route, text = "", ""  # by the Node bot: its text is not ours to tell
        else:
            route, text = self._next_try(plan)
        self.sink.add(Outcome(plan.message, plan.state, plan.reason, route, text))

    def _next_try(self, plan: Plan) -> tuple[str, str]:
        """The route it would go by, and its text there; a retry goes on where it was."""
        message, record = plan.message, plan.record
        routes = message.routes_from(record.route, record.target) if record else message.routes
        text = self.templates.of(message)
        return (routes[0].name, routes[0].full_text(text)) if routes else ("", text)

    def finished(self, result: Result) -> None:
        """A message that was claimed, once its outcome is in the store."""
        message, after = result.claim.message, result.after
        if result.given_back or after is None:
            self.counts.skipped["given_back"] += 1
            self.waits.more = True
            reason = "the run was stopped, or its channel refused us; a later run sends it"
            self.sink.add(Outcome(message, "held_back", reason, "", result.claim.text))
            return
        state = _shown(message, after)
        if state == "failed":
            self.waits.retry(after.retry_at)
        if state in ("sent", "already_sent"):
            event = "message_found" if state == "already_sent" else "message_sent"
            event = "message_edited" if message.edit else event
            self.log.info(event, key=after.key, route=after.route, message_id=after.message_id)
        else:
            self.log.warning(
                f"message_{state}",
                key=after.key,
                route=after.route,
                error=after.error,
                attempts=after.attempts,
                retry_at=after.retry_at,
            )
        self._count(state, after.error_class)
        reason = message.reason if state == "sent" else after.error
        if state == "already_sent":
            reason = f"the bot had posted it itself at {after.sent_at:%F %H:%M} UTC"
        self.sink.add(Outcome(message, state, reason, after.route, after.text))

    def _count(self, state: str, error_class: str) -> None:
        match state:
            case "failed":
                self.counts.failed[error_class] += 1
            case "expired":
                self.counts.skipped["expired"] += 1
            case "held_back":
                self.counts.skipped[error_class] += 1
            case "sent" | "already_sent" | "undeliverable" | "unknown":
                setattr(self.counts, state, getattr(self.counts, state) + 1)


def _shown(message: Message, after: Delivery) -> MessageState:
    """What a claim came to, for people. The record of a post stays ``sent`` whatever an edit of it
    comes to."""
    if after.state == "claimed":
        return "failed"
    if message.edit and after.error_class:
        return "held_back" if after.error_class == "deleted" else "failed"
    if after.found and not message.edit:
        return "already_sent"
    return after.state


def failure(traffic: Traffic | None) -> SpeakerbotError | None:
    """The error to end with; None where all is well, or only recipients failed."""
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
