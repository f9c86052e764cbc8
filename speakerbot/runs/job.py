"""What a job is: a name and a pure decision over the store at a given time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from speakerbot.config import Settings
from speakerbot.domain.message import Decision, Message
from speakerbot.ports.store import Store
from speakerbot.templates import Templates


@dataclass(frozen=True, slots=True)
class Context:
    """All a job may look at. ``now`` is decision time, in UTC."""

    store: Store
    settings: Settings
    now: datetime
    occurrence: datetime | None = None
    """The occurrence of its schedule that this run serves; None outside a schedule."""
    edit_only: bool = False
    """``weekly``: keep what was posted true, post nothing new."""
    settled: bool = False
    """``settle`` has run, and messages may be sent: a job that remembers decides only what it has
    written down. False in a dry run and its kind: decide as if ``settle`` had run."""
    templates: Templates = field(default_factory=Templates)
    """What texts look like, for a job that must know: to compare one with what was posted."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A message about a talk, whether its time is over, has come, or is still to come."""

    message: Message
    dropped: str = ""
    """Why the job does not send it, in words for people; empty if it does when its time comes."""


@dataclass(frozen=True, slots=True)
class Job:
    """``decide`` reads and yields, lazily; it writes nothing and asks no clock.

    ``settle``, for jobs that remember: writes down what the ledger has already decided. Idempotent;
    called before deciding and after sending, never in a dry run.

    ``prospects``, for jobs that write to speakers: every message about a talk, by its id, that
    ``decide`` yields now, yielded before, or will yield.
    """

    name: str
    decide: Callable[[Context], Iterator[Decision]]
    settle: Callable[[Context], None] | None = None
    prospects: Callable[[Context, str], Iterator[Prospect]] | None = None
