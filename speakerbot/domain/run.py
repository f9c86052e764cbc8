"""The record of one run of a job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from speakerbot.clock import Clock


class Run(NamedTuple):
    """Instants are aware, in UTC; ``now`` is decision time, the others real."""

    id: str
    job: str
    now: datetime
    started_at: datetime
    finished_at: datetime | None = None
    """None: still running, or it died."""
    outcome: str = "running"
    """running, done, stopped (SIGTERM, timeout), failed; missed and superseded for occurrences."""
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
