"""What a job is: a pure decision over the store at a given time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobDeclaration
from speakerbot.domain.message import Decision, Message
from speakerbot.domain.service_request import NOT_ASKED, NoResponse, Responses, ServiceRequest
from speakerbot.ports.store import Store
from speakerbot.runs.steps import Claimed, Step
from speakerbot.templates import Templates

if TYPE_CHECKING:
    from speakerbot.delivery.content import Content
    from speakerbot.runs.report import ServiceChange

T = TypeVar("T")

AHEAD = timedelta(hours=1, minutes=5)
"""How far a run of a schedule looks for messages that are over before anybody ticks again: the
longest interval of a machine, and some time for it to start."""

Pause = Callable[[datetime, Callable[[], bool] | None], None]
"""Sleeps until a real instant; ends earlier once what it is given, asked at least once a second,
says so."""


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
    responses: Responses = field(default_factory=dict)
    """Of the requests that this run has made so far."""
    run_id: str = ""
    only: str | None = None
    """A Discord user id: all others are left out. Messages are left out by the runner."""
    limit: int | None = None
    """At most so many changes at a service. Messages are counted by the runner."""
    first_round: bool = True
    """False where a run that stays decides again, for what has fallen due meanwhile."""

    def response(self, request: ServiceRequest[T]) -> T | NoResponse:
        """What came back of it; ``NOT_ASKED`` where it was not made, as in a dry run."""
        found: T | NoResponse = self.responses.get(request, NOT_ASKED)
        return found


@dataclass(frozen=True, slots=True)
class Prospect:
    """A message about a talk, whether its time is over, has come, or is still to come."""

    message: Message
    dropped: str = ""
    """Why the job does not send it, in words for people; empty if it does when its time comes."""


class Window(NamedTuple):
    """When the message of this key may be sent: from ``due_at`` until before ``expires_at``, in
    UTC."""

    due_at: datetime
    expires_at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """``decide`` reads and yields, lazily; it writes nothing and asks no clock.

    ``wanted``, for jobs that read a service before they decide: requests that change nothing. What
    comes back is in the context of ``steps`` and ``decide``; where something does not, they decide
    without it. Nothing wanted, nothing opened. One query or two.

    ``steps``, for jobs that remember: what to write down, as data, from what the ledger and the
    service say. The runner carries them out before deciding and after sending, never in a dry run;
    doing so again changes nothing.

    ``service_steps``, for jobs that change something at a service: carried out once everything is
    sent, if anything was sent or wanted; never in a dry run. What came back is in the context of
    ``steps`` afterwards. What must not be done twice is ``Claimed``.

    ``service_changes``, for the same jobs: what was changed there, or would be in a dry run, and
    what is not as it should be and stays so, for people.

    ``prospects``, for jobs that write to speakers: every message about a talk, by its id, that
    ``decide`` yields now, yielded before, or will yield.

    ``still_true``, for jobs about talks: of messages that ``decide`` yielded a while ago, the keys
    of those that it would still yield at the context's time. One batched read.

    ``windows``, for jobs whose messages have a time of their own: of those that are due at the
    context's time, or fall due by the given one, when each may be sent. One query.

    ``content``, for texts that need more than what was decided, as a language model's: what it
    returns is added to the message's values before it is claimed. It may take 10 s, and fail.
    """

    name: str
    decide: Callable[[JobContext], Iterator[Decision]]
    steps: Callable[[JobContext], Iterator[Step]] | None = None
    prospects: Callable[[JobContext, str], Iterator[Prospect]] | None = None
    still_true: Callable[[JobContext, Sequence[Message]], Collection[str]] | None = None
    windows: Callable[[JobContext, datetime], Iterator[Window]] | None = None
    content: Content | None = None
    wanted: Callable[[JobContext], Iterator[ServiceRequest[Any]]] | None = None
    service_steps: Callable[[JobContext], Iterator[ServiceRequest[Any] | Claimed]] | None = None
    service_changes: Callable[[JobContext], Iterator[ServiceChange]] | None = None


class Outlook(NamedTuple):
    """What one look at the store has found."""

    next_due: datetime | None
    """When the next message falls due after the context's time for which a run is to stay."""
    due: int
    """A hash of what is due at the context's time."""


NOTHING_AHEAD = Outlook(None, 0)


def look_ahead(
    job: Job,
    context: JobContext,
    now: datetime,
    *,
    horizon: timedelta | None,
    over_within: timedelta,
) -> Outlook:
    """A run stays for what falls due within ``horizon`` from ``now``, or is over within
    ``over_within``. One query."""
    next_due, due = None, 0
    last, over_by = now + (horizon or timedelta()), now + over_within
    for window in job.windows(context, max(last, over_by)) if job.windows else ():
        if window.due_at <= context.now:
            due ^= hash(window)
        elif window.due_at <= last or window.expires_at <= over_by:
            next_due = min(next_due or window.due_at, window.due_at)
    return Outlook(next_due, due)


def load_job(declaration: JobDeclaration) -> Job:
    """Imports the job."""
    job: Job = importlib.import_module(declaration.module).JOB
    return job
