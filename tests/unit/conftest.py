"""One attempt at delivering one message, with everything around it."""
# ruff: noqa: ARG002  # the fake takes all that the port gives

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import CapturingLogger

from speakerbot.clock import Clock, real_now
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.circuit_breakers import Guard
from speakerbot.delivery.claims import Claim, Revisions, new_claim
from speakerbot.delivery.dm_channels import Destinations
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Message, Route
from speakerbot.ports.channel import Posted, RefusalClass, Refused
from speakerbot.ports.store import Breaker

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=5)
BOT = "1234"
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20",
    (Route("dm", "7"), Route("thread", "70", mention="7")), "reminder.day_of", {},
    NOW - HOUR, NOW + HOUR, "why",
)  # fmt: skip


@dataclass
class Discord:
    """Refuses what it is told to; remembers what was asked of it."""

    refusals: dict[str, list[Refused]] = field(default_factory=dict)
    """By channel id, in order; once they are used up it accepts."""
    history: str | Refused | None = None
    asked: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def refuse(self, channel_id: str, why: str, **more: bool) -> None:
        refusal = Refused(RefusalClass(why), f"it is {why}", **more)
        self.refusals.setdefault(channel_id, []).append(refusal)

    async def open_dm(self, user_id: str) -> str:
        self.asked.append(f"open {user_id}")
        return "77"

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None,
        ready: Callable[[], None],
    ) -> str:
        ready()
        self.asked.append(f"send {channel_id}")
        self.texts.append(text)
        if waiting := self.refusals.get(channel_id):
            raise waiting.pop(0)
        return "1"

    async def find(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        since: datetime,
        known: Collection[str],
        author: str | None,
    ) -> str | None:
        self.asked.append(f"find {channel_id}" + (f" by {author}" if author else ""))
        if isinstance(self.history, Refused):
            raise self.history
        return self.history

    def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        raise AssertionError("no post is looked for here")

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        raise AssertionError("nothing is edited here")

    async def unarchive(self, thread_id: str) -> None:
        self.asked.append(f"wake {thread_id}")

    async def probe(self) -> None:
        raise AssertionError("no outage is suspected here")


@dataclass
class Desk:
    """An Attempt with everything around it."""

    discord: Discord = field(default_factory=Discord)
    swaps: list[tuple[Delivery, Delivery]] = field(default_factory=list)
    taken_over: bool = False
    guard: Guard = field(
        default_factory=lambda: Guard(asyncio.Event(), lambda: 0, CapturingLogger())
    )

    def deliver(
        self, claim: Claim, *, later: timedelta = timedelta(), offset: timedelta = timedelta()
    ) -> Delivery:
        """So much later than NOW; decisions are made at another time still."""
        clock = Clock(skew=NOW + later - real_now(), offset=offset)
        return asyncio.run(self._attempt(clock).deliver(claim))

    def claim(self, *routes: Route, before: Delivery | None = None) -> Claim:
        """Made NOW, on a message to user 7: by direct message, then thread 70, unless routes are
        given. It is due for an hour yet."""
        message = replace(MESSAGE, routes=routes or MESSAGE.routes)
        return new_claim(
            MessagePlan(message, DeliveryState.PLANNED, "why", record=before), "hello",
            run_id="run", bot=BOT, revision="run.0", now=NOW, flag_at=None, lease=LEASE,
            dm_channels={"7": "77"},
        )  # fmt: skip

    def unconfirmed(self, ago: timedelta, text: str = "hello") -> Claim:
        """One on a message that may have arrived by direct message some time ago."""
        record = self.claim().record
        ended = record._replace(unconfirmed_since=NOW - ago, lease_until=NOW - HOUR, text=text)
        return self.claim(before=ended)

    def _attempt(self, clock: Clock) -> Attempt:
        pacer = Pacer(_unpaced, 0.0, ahead=0, stop=self.guard.stop)
        revisions = Revisions("run")
        endings = Endings(revisions, clock)
        destinations = Destinations(
            self.discord, pacer=pacer, new_dms=pacer, clock=clock,
            save_dm=_not_saved, save_breaker=_not_saved,
        )  # fmt: skip
        destinations.expect("7", "77")
        return Attempt(
            self.discord,
            destinations,
            pacer,
            Posts(self.discord, pacer, _nothing, revisions, self.guard, clock),
            Recovery(self.discord, destinations, pacer, _nothing, endings, BOT),
            endings,
            self._swap,
            revisions,
            self.guard,
            clock,
            LEASE,
        )

    async def _swap(self, before: Delivery, after: Delivery) -> bool:
        self.swaps.append((before, after))
        return not self.taken_over


async def _unpaced(_: float, __: int) -> timedelta:
    raise AssertionError("nothing is paced here")


async def _not_saved(_: str, __: str | Breaker) -> None:
    pass


async def _nothing(_: str) -> set[str]:
    return set()


@pytest.fixture
def desk() -> Desk:
    return Desk()
