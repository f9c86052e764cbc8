"""One schedule, checked and with its defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from speakerbot.domain.cron import MACROS, Cron
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.occurrence import OccurrenceRules
from speakerbot.durations import format_duration

LONGEST_NAME: Final = 32
"""Kubernetes allows a CronJob 52 characters: ``speakerbot-NAME-catch-up`` must fit."""

TICKS: Final = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
}
"""By Fly's interval: how far apart the ticks of a machine are at most, if none is missed."""
MARGIN: Final = timedelta(minutes=15)
"""How much further than to its next tick a timed run must see: machines start late."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine's size."""

    cpu_kind: Literal["shared", "performance"] = "shared"
    cpus: int = 1
    memory_mb: int = 256


@dataclass(frozen=True, slots=True)
class Schedule:
    """When and where a job runs. ``regions`` has one entry a machine."""

    name: str
    job: str
    cron: Cron
    grace: timedelta
    wait: timedelta
    timeout: timedelta
    regions: tuple[str, ...]
    guest: Guest = field(default_factory=Guest)
    share: bool = False
    enabled: bool = True
    args: tuple[str, ...] = ()
    options: RunOptions = field(default_factory=RunOptions)
    """What ``args`` say, as the job reads them."""
    timed: bool = False
    """Its job has no occurrences: ``grace``, ``wait`` and ``share`` mean nothing, and each tick
    looks (``JobDeclaration.timed``)."""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> OccurrenceRules:
        """Decides at each tick whether an occurrence is due."""
        return OccurrenceRules(self.cron, grace=self.grace, wait=self.wait, share=self.share)

    @property
    def interval(self) -> str:
        """Fly's ``schedule`` that serves it: hourly, but for the macros Fly has itself."""
        return self.cron.expression[1:] if self.cron.expression in MACROS else "hourly"

    @property
    def tick(self) -> timedelta:
        """How far apart the ticks of its machine are at most, if none is missed."""
        return TICKS[self.interval]

    @property
    def machine_names(self) -> tuple[str, ...]:
        """``cron-weekly``, ``cron-weekly-2``, … one for each region."""
        first = f"cron-{self.name}"
        return (first, *(f"{first}-{number}" for number in range(2, len(self.regions) + 1)))

    def command(self) -> list[str]:
        """Arguments of ``speakerbot`` that run it: they carry the schedule, so no file is read."""
        return [
            "run", self.job,
            "--schedule", self.name,
            "--cron", self.cron.expression,
            "--timezone", self.cron.zone.key,
            *self._about_occurrences(),
            "--timeout", format_duration(self.timeout),
            *(["--share"] if self.share and not self.timed else []),
            *self.args,
        ]  # fmt: skip

    def _about_occurrences(self) -> list[str]:
        if self.timed:
            return []
        return ["--grace", format_duration(self.grace), "--wait", format_duration(self.wait)]
