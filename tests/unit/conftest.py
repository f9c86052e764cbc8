"""One attempt at delivering one message, with everything around it."""
# ruff: noqa: ARG002  # the fake takes all that the port gives

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from speakerbot.channels.discord.access import CAPABILITIES, nonce_of
from speakerbot.clock import Clock, real_now
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.channels import OpenChannels, RunStop
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.claims import Claim, Revisions, longest_send, new_claim
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Message, Route
from speakerbot.domain.service_request import ServiceRequest
from speakerbot.ports.channel import (
    Capabilities,
    ChannelAccess,
    ChannelHost,
    Outgoing,
    Posted,
    Ready,
    Receipt,
    RefusalClass,
    Refused,
)
from speakerbot.stores import open_store
from speakerbot.templates import Templates

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=5)
BOT = "1234"
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20",
    (Route("dm", "7"), Route("thread", "70", mention="7")), "reminder.day_of",
    {"topic": "Kites", "username": "ada", "date": "2026-11-20", "starts_at": ""},
    NOW - HOUR, NOW + HOUR, "why",
)  # fmt: skip


def sent_record(message: Message, when: datetime) -> Delivery:
    """What the ledger holds of a message that was sent then, at the first try."""
    return Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=DeliveryState.SENT,
        revision="r1",
        run_id="run",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=when,
        updated_at=when,
        attempts=1,
        sent_at=when,
    )


@dataclass
class FakeChannel:
    """Refuses what it is told to; remembers what was asked of it. The direct messages of user 7 are
    in channel 77; any other target is a channel itself."""

    refusals: dict[str, list[Refused]] = field(default_factory=dict)
    """By channel id, in order; once they are used up it accepts."""
    history: str | Exception | None = None
    asked: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    capabilities: Capabilities = CAPABILITIES
    requests = rate_limited = invalid_requests = 0

    def refuse(self, channel_id: str, why: str, **more: bool) -> None:
        refusal = Refused(RefusalClass(why), f"it is {why}", **more)
        self.refusals.setdefault(channel_id, []).append(refusal)

    async def expect(self, routes: Collection[Route]) -> set[Route]:
        return set()

    def done_with(self, routes: Collection[Route]) -> None:
        pass

    async def turn_to_open(self) -> None:
        raise AssertionError("no route has to be opened here")

    async def send(self, message: Outgoing, ready: Ready) -> Receipt:
        await ready()
        channel_id = _channel_id(message.route)
        self.asked.append(f"send {channel_id}")
        self.texts.append(message.text)
        if waiting := self.refusals.get(channel_id):
            raise waiting.pop(0)
        return Receipt(channel_id, "1")

    async def find(
        self, message: Outgoing, *, since: datetime, known: Collection[str], author: str | None
    ) -> Receipt | None:
        channel_id = _channel_id(message.route)
        self.asked.append(f"find {channel_id}" + ("" if author is None else f" by {author}"))
        if isinstance(self.history, Exception):
            raise self.history
        return Receipt(channel_id, self.history) if self.history else None

    def posts(self, target: str, *, since: datetime) -> AsyncIterator[Posted]:
        raise AssertionError("no post is looked for here")

    async def edit(self, receipt: Receipt, text: str) -> None:
        raise AssertionError("nothing is edited here")

    async def ask(self, request: ServiceRequest[Any]) -> Any:
        raise AssertionError("nothing beside messages is asked here")

    async def probe(self) -> None:
        raise AssertionError("no outage is suspected here")

    def access(self, name: str) -> ChannelAccess:
        @asynccontextmanager
        async def opened(_: ChannelHost) -> AsyncIterator[FakeChannel]:
            yield self

        return ChannelAccess(name, BOT, self.capabilities, nonce_of, opened)


def _channel_id(route: Route) -> str:
    return f"7{route.target}" if route.name == "dm" else route.target


@dataclass
class Desk:
    """An Attempt with everything around it. Discord is a fake, as is one more channel that a route
    of its name goes by."""

    discord: FakeChannel = field(default_factory=FakeChannel)
    other: FakeChannel = field(default_factory=FakeChannel)
    swaps: list[tuple[Delivery, Delivery]] = field(default_factory=list)
    taken_over: bool = False
    stopped: dict[str, ChannelStopped] = field(default_factory=dict)
    """Afterwards: which channels were stopped, by name."""
    refused_targets: dict[str, Refused] = field(default_factory=dict)
    halted: ChannelStopped | None = None
    """Why Discord's channel has stopped before."""

    def deliver(
        self, claim: Claim, *, later: timedelta = timedelta(), offset: timedelta = timedelta()
    ) -> Delivery:
        """So much later than NOW; decisions are made at another time still."""
        clock = Clock(skew=NOW + later - real_now(), offset=offset)
        return asyncio.run(self._deliver(claim, clock))

    def claim(self, *routes: Route, before: Delivery | None = None) -> Claim:
        """Made NOW, on a message to user 7: by direct message, then thread 70, unless routes are
        given. It is due for an hour yet."""
        message = replace(MESSAGE, routes=routes or MESSAGE.routes)
        return new_claim(
            MessagePlan(message, DeliveryState.PLANNED, "why", record=before, text="hello"),
            self.discord.access("discord"),
            run_id="run", revision="run.0", now=NOW, flag_at=None, lease=LEASE,
        )  # fmt: skip

    def unconfirmed(self, ago: timedelta, text: str = "hello") -> Claim:
        """One on a message that may have arrived by direct message some time ago."""
        record = self.claim().record
        ended = record._replace(unconfirmed_since=NOW - ago, lease_until=NOW - HOUR, text=text)
        return self.claim(before=ended)

    async def _deliver(self, claim: Claim, clock: Clock) -> Delivery:
        store, thread, log = open_store("sqlite:///:memory:"), StoreThread(), CapturingLogger()
        store.prepare()
        accesses = {
            name: fake.access(name)
            for name, fake in (("discord", self.discord), ("other", self.other))
        }
        channels = OpenChannels(
            accesses, store, thread, clock=clock, longest_request=longest_send(LEASE),
            stop=RunStop(log), log=log,
        )  # fmt: skip
        discord = channels.named("discord")
        assert discord is not None
        discord.guard.refused_targets = self.refused_targets
        if self.halted:
            discord.halt(self.halted)
        try:
            async with channels:
                return await self._attempt(channels, clock).deliver(claim)
        finally:
            for each in channels:
                if each.guard.stopped:
                    self.stopped[each.access.name] = each.guard.stopped
            thread.close()
            store.close()

    def _attempt(self, channels: OpenChannels, clock: Clock) -> Attempt:
        revisions = Revisions("run")
        endings = Endings(revisions, clock)
        return Attempt(
            channels,
            Templates({"discord": CAPABILITIES, "other": self.other.capabilities}),
            Posts(channels, _nothing, revisions, clock),
            Recovery(channels, _nothing, endings, clock),
            endings,
            self._swap,
            revisions,
            clock,
            LEASE,
        )

    async def _swap(self, before: Delivery, after: Delivery) -> bool:
        self.swaps.append((before, after))
        return not self.taken_over


async def _nothing(_: str) -> set[str]:
    return set()


@pytest.fixture
def desk() -> Desk:
    return Desk()
