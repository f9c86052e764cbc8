"""What a crash schedule is played in: a job, its data, and what must come of it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from mmap import mmap
from typing import Protocol

from speakerbot import process
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.delivery import DeliveryState
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.discord import LoopbackClient
from speakerbot.text import one_line, without_mass_mentions

WITHOUT_ARRIVAL = (DeliveryState.UNDELIVERABLE, DeliveryState.UNKNOWN)
"""What the ledger may say of a message that Discord refused for good."""
TOKEN = "crash"  # noqa: S105  # the loopback takes any


TOPICS = (
    ("topic {}.", "topic {}."),
    ("  party <:party:123456789012345678> {}.\t", "party :party: {}."),
    ("@everyone, *look*: {}", "@\u200beveryone, \\*look\\*: {}"),
    (f"long {{}} {'x' * 1500}", f"long {{}} {'x' * 1500}"),
    ("dance <a:dance:223456789012345678>{}  @here ", "dance :dance:{} @\u200bhere"),
)
"""Topics as people write them, and as everybody is to read them; ``{}`` takes a number."""


def topic(number: int) -> tuple[str, str]:
    """The topic of that number as it is written, and as Discord shows it."""
    written, shown = TOPICS[number % len(TOPICS)]
    return written.format(number), shown.format(number)


def inbox_topic(number: int) -> str:
    """The same as an inbox shows it: on one line, as plain text, still nobody's mass mention."""
    written, _ = topic(number)
    return without_mass_mentions(one_line(written))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as Discord shows it: the whole text, and where it stands: in this user's direct
    messages, or in this channel."""

    text: str | re.Pattern[str]
    """A pattern, which has to match all of it, where parts depend on what went wrong before."""
    user_id: str | None = None
    channel_id: str | None = None

    def is_of(self, text: str) -> bool:
        if isinstance(self.text, str):
            return self.text == text
        return self.text.fullmatch(text) is not None

    def is_at(self, channel_id: str, user_id: str | None) -> bool:
        """``user_id``: whose direct messages the channel is; None: nobody's."""
        if self.user_id is not None:
            return self.user_id == user_id
        return self.channel_id == channel_id


@dataclass(frozen=True, slots=True)
class Expected:
    """One message that must be sent exactly once, by the first of these ways; by any of them, or
    not at all, only where Discord refuses things that it should not."""

    ways: tuple[Arrival, ...]
    inbox: bool = False
    """It must stand in the inbox, and nowhere else."""


@dataclass(frozen=True, slots=True)
class WorldChange:
    """What an event makes of a world."""

    write: Callable[[Store], None]
    """Called in a process of its own."""
    ended: Collection[str]
    """Keys of messages that must not be sent any more."""
    begun: Mapping[str, Expected] = field(default_factory=dict)
    """Messages that must be sent from now on."""


class SharedTime:
    """How far time has been put forward for this process and all that were forked from it."""

    def __init__(self) -> None:
        self._memory = mmap(-1, 8)
        self.last_told: datetime | None = None
        """The time that this process was told last."""

    @property
    def ahead(self) -> timedelta:
        return timedelta(seconds=struct.unpack("d", self._memory[:])[0])

    def put_forward(self, step: timedelta) -> None:
        """At once, for all of them. Only one of them may do so at a time."""
        self._memory[:] = struct.pack("d", (self.ahead + step).total_seconds())


@dataclass(frozen=True, slots=True)
class SharedClock(Clock):
    """A clock that somebody else may put forward. Decisions are made by the time that it calls the
    real one, so that a run sleeps until something is due."""

    time: SharedTime = field(default_factory=SharedTime)

    def real(self) -> datetime:
        self.time.last_told = Clock.real(self) + self.time.ahead
        return self.time.last_told

    def put_forward_to(self, at: datetime) -> None:
        """For all of them; not if it is later already."""
        self.time.put_forward(max(at - self.real(), timedelta()))

    def sleep(self, seconds: float) -> None:
        """As runs sleep, by this clock: they have just looked at it to know how long, and it may
        have been put forward since."""
        until = (self.time.last_told or self.real()) + timedelta(seconds=seconds)
        while self.real() < until:
            process.sleep(0.005)


class CrashWorld(Protocol):
    """One job's small world, made again for every schedule. Its ids must be its own: many worlds
    share one loopback Discord."""

    job: Job
    now: datetime
    """Decision time of the first run. What is expected must not expire within seven hours."""
    ends_after: timedelta | None
    """How much later all that is expected has expired; None: too late to play it."""
    minute: datetime | None
    """When the Node bot's minute begins; None: it does not matter here."""
    clock: SharedClock | None
    """Where runs sleep: the clock that the world puts forward meanwhile. None: no run sleeps."""
    dm_channels: Mapping[str, str]
    """User ids by the DM channels that exist already."""

    def settings(self, base: Settings) -> Settings:
        """``base`` with what the job needs set."""

    def fill(self, store: Store) -> None:
        """Puts the data into an empty store."""

    def furnish(self, discord: LoopbackClient) -> None:
        """Makes people and channels as the job is to find them."""

    def expected(self) -> Mapping[str, Expected]:
        """By ledger key, as long as nothing happens."""

    def change(self, event: WorldEvent) -> WorldChange | None:
        """What this event means here; None: nothing. The world remembers that it happened."""

    def problems(self, store: Store) -> Sequence[str]:
        """What else is wrong in the store once everything is quiet."""


class WorldOf(Protocol):
    """Makes the world of a number: two numbers have no ids in common. Texts and routes depend on
    ``variant`` only, so that a schedule plays alike under any number."""

    def __call__(self, number: int, variant: int) -> CrashWorld: ...
