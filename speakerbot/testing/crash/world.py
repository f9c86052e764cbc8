"""What a crash schedule is played in: a job, its data, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from speakerbot.config import Settings
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.discord import LoopbackClient

TOKEN = "crash"  # noqa: S105  # the loopback takes any


@dataclass(frozen=True, slots=True)
class Expected:
    """One message that must be sent exactly once: with this text in it, to this user's direct
    messages or to this channel."""

    text: str
    user_id: str | None = None
    channel_id: str | None = None


class CrashWorld(Protocol):
    """One job's small world, made anew for every schedule. Its ids and texts must be its own:
    many worlds share one loopback Discord."""

    job: Job
    now: datetime
    """Decision time of the first run. What is expected must not expire within six hours."""

    def settings(self, base: Settings) -> Settings:
        """``base`` with what the job needs set."""

    def fill(self, store: Store) -> None:
        """Puts the data into an empty store."""

    def furnish(self, discord: LoopbackClient) -> None:
        """Makes people and channels as the job is to find them."""

    def expected(self) -> Mapping[str, Expected]:
        """By ledger key, whatever happens on the way."""

    def problems(self, store: Store) -> Sequence[str]:
        """What else is wrong in the store once everything is quiet."""


class WorldOf(Protocol):
    """Makes the world of a number: two numbers have nothing in common."""

    def __call__(self, number: int, variant: int) -> CrashWorld: ...
