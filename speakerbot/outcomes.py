"""What became of each message of a run, and the counts of all: what people and programs see."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from speakerbot.messages import Message
from speakerbot.planning import MessageState


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
