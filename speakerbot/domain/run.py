"""The record of one run of a job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from speakerbot.clock import Clock


class RunOutcome(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    """It has not ended, or it died."""
    DONE = "done"
    STOPPED = "stopped"
    """It was cut short: see :class:`StopReason`."""
    FAILED = "failed"
    MISSED = "missed"
    """It came past the grace of its occurrence, and did nothing."""


class RunSkipReason(StrEnum):
    """Why a run did nothing at all, as ``run_skipped`` says."""

    NOT_DUE = "not_due"
    """It is not yet time, or what waits has its time later."""
    ALREADY_DONE = "already_done"
    ALREADY_RUNNING = "already_running"
    MISSED = "missed"
    NOT_CONFIGURED = "not_configured"
    """The channel that the job posts to is not set."""
    DISABLED = "disabled"
    """By the kill switch, by the job's own, or in ``schedules.json``."""


class StopReason(StrEnum):
    """Why a run, or one channel of it, was cut short."""

    SIGTERM = "sigterm"
    SIGINT = "sigint"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    """The run stopped while something waited."""
    TOKEN = "token"  # noqa: S105  # the word, not one
    """The service refuses the token."""
    BOT = "bot"
    """The service refuses everything this bot does."""
    CONFIG = "config"
    """What the settings make of messages is refused."""
    RECIPIENTS = "recipients"
    """Many people in a row refused alike, as where a permission is missing."""
    RATE_LIMITED = "rate_limited"
    """A rate limit on everything, too long to wait for."""
    INVALID_REQUESTS = "invalid_requests"
    """Too many requests were refused: more of them would get us banned."""
    UNREACHABLE = "unreachable"
    """The service does not answer its own question either."""


class Run(NamedTuple):
    """Instants are aware, in UTC; ``now`` is decision time, the others real."""

    id: str
    job: str
    now: datetime
    started_at: datetime
    finished_at: datetime | None = None
    """None: still running, or it died."""
    outcome: RunOutcome = RunOutcome.RUNNING
    schedule: str | None = None
    occurrence: datetime | None = None
    counts: Mapping[str, Any] = {}  # never changed
    error: str = ""


def new_run(job: str, clock: Clock, now: datetime | None = None) -> Run:
    """A run that begins now, and decides by ``now`` where given. Its id sorts by start time,
    and is never used twice."""
    real = clock.real()
    run_id = f"{real:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
    return Run(run_id, job, now or clock.decision(), real)


def named(run: Run) -> dict[str, Any]:
    """What every log line of a run names."""
    return {"job": run.job, "run_id": run.id, "occurrence": run.occurrence}
