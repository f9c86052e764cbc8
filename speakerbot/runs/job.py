"""What a job is: a pure decision over the store at a given time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobDeclaration
from speakerbot.domain.message import Decision, Message
from speakerbot.ports.store import Store
from speakerbot.runs.steps import Step
from speakerbot.templates import Templates


@dataclass(frozen=True, slots=True)
class JobContext:
    """All a job may look at. ``now`` is decision time, in UTC."""

    store: Store
    settings: Settings
    now: datetime
    templates: Templates = field(kw_only=True)
    """What texts look like, for a job that must know: to compare one with what was posted."""
    occurrence: datetime | None = None
    """The occurrence of its schedule that this run serves; None outside a schedule."""
    edit_only: bool = False
    """``weekly``: keep what was posted true, post nothing new."""
    settled: bool = False
    """The job's steps have been carried out, and messages may be sent: a job that remembers decides
    only what is written down. False in a dry run: decide as if they had been carried out."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A message about a talk, whether its time is over, has come, or is still to come."""

    message: Message
    dropped: str = ""
    """Why the job does not send it, in words for people; empty if it does when its time comes."""


@dataclass(frozen=True, slots=True)
class Job:
    """``decide`` reads and yields, lazily; it writes nothing and asks no clock.

    ``steps``, for jobs that remember: what to write down, as data, from what the ledger knows. The
    runner carries them out before deciding and after sending, never in a dry run; doing so again
    changes nothing.

    ``prospects``, for jobs that write to speakers: every message about a talk, by its id, that
    ``decide`` yields now, yielded before, or will yield.

    ``still_true``, for jobs about talks: of messages that ``decide`` yielded a while ago, the keys
    of those that it would still yield at the context's time. One batched read.

    ``next_due``, for jobs whose messages may be over before anybody ticks again: the earliest time
    after the context's at which ``decide`` yields a message that is over by the given one.
    """

    name: str
    decide: Callable[[JobContext], Iterator[Decision]]
    steps: Callable[[JobContext], Iterator[Step]] | None = None
    prospects: Callable[[JobContext, str], Iterator[Prospect]] | None = None
    still_true: Callable[[JobContext, Sequence[Message]], Collection[str]] | None = None
    next_due: Callable[[JobContext, datetime], datetime | None] | None = None


def load_job(declaration: JobDeclaration) -> Job:
    """Imports the job."""
    job: Job = importlib.import_module(declaration.module).JOB
    return job
