"""The record of one run of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
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
    counts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
