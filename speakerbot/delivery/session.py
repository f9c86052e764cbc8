"""One run's delivery, wired: opens the channel, runs the engine, stores the breakers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches, StillTrue
from speakerbot.delivery.circuit_breakers import Breakers, Guard, RunStopped
from speakerbot.delivery.claims import Revisions
from speakerbot.delivery.desk import Desk
from speakerbot.delivery.dm_channels import Destinations
from speakerbot.delivery.engine import Engine
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery, with_leftovers
from speakerbot.delivery.results import Result, Results
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.delivery.transitions import Endings
from speakerbot.ports.channel import Channel, OnLimited
from speakerbot.ports.store import Store
from speakerbot.templates import Templates

DISCORDS_LIMIT = 50
"""Requests in any one second, over all processes of a bot."""


RETRY_WITHIN = timedelta(seconds=60)


class CountingChannel(Channel, Protocol):
    """A channel that also counts its requests."""

    requests: int
    rate_limited: int
    invalid_requests: int


Connect = Callable[[OnLimited], AbstractAsyncContextManager[CountingChannel]]
"""Opens the channel; is given what wants to hear of rate limits (seconds to wait)."""
StopRequests = Callable[[Callable[[str], None]], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a session cost, and why it ended early if it did."""

    requests: int = 0
    rate_limited: int = 0
    stopped: RunStopped | None = None
    refused_channels: Mapping[str, str] = field(default_factory=dict)
    """Channels of the settings that refused us, and how."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a delivery needs beyond the messages. ``now`` is the run's decision time."""

    store: Store
    settings: Settings
    templates: Templates
    connect: Connect
    clock: Clock
    run_id: str
    now: datetime
    log: Any
    still_true: StillTrue
    timeout: timedelta | None = None
    """After it the run ends as on SIGTERM."""
    retry_within: timedelta = RETRY_WITHIN
    """A retry that is due so soon is made in the same run."""
    stop_requests: StopRequests = nullcontext
    """While inside, what it is given is called with the reason (sigterm, sigint), in the main
    thread, when the process is asked to end."""

    async def deliver(
        self,
        plans: Iterator[MessagePlan],
        held: Callable[[MessagePlan], None],
        finished: Callable[[Result], None],
    ) -> Traffic:
        """Sends what is planned. ``held`` hears of plans that were not claimed, ``finished`` of
        each claim once its outcome is in the store (None: it was given back)."""
        thread = StoreThread()
        desk = Desk(self.store, thread, bot_of(self.settings.discord_token or ""), self.clock)
        try:
            breakers = await desk.breakers(self.clock.real())
            if stopped := breakers.forbids(self.clock.real()):
                self.log.error("run_stopped", reason=stopped.reason, detail=stopped.detail)
                return Traffic(stopped=stopped)
            return await self._connected(desk, breakers, plans, held, finished)
        finally:
            thread.close()

    async def _connected(
        self,
        desk: Desk,
        breakers: Breakers,
        plans: Iterator[MessagePlan],
        held: Callable[[MessagePlan], None],
        finished: Callable[[Result], None],
    ) -> Traffic:
        stop, rate = asyncio.Event(), self.settings.rate
        # Most of what is left below the limit is for processes and networks that bunch things up.
        ahead = max(0, int((DISCORDS_LIMIT - rate - 1) / 4))
        pacer = desk.pacer("send", 1 / rate, stop, ahead=ahead)
        earlier = breakers.invalid_requests(self.clock.real())
        async with self.connect(pacer.slow_down) as channel:
            guard = Guard(stop, lambda: earlier + channel.invalid_requests, self.log)
            destinations = self._destinations(desk, channel, pacer, stop)
            destinations.new_dms_rest_until = breakers.new_dms_until
            engine = self._engine(desk, channel, destinations, guard, pacer, held, finished)
            with self.stop_requests(_halting(guard)), _time_limit(guard, self.timeout):
                real = self.clock.real()
                await engine.run(with_leftovers(plans, self.store, self.now, real))
            await desk.leave_breakers(guard.stopped, earlier + channel.invalid_requests)
            refused = {name: r.detail for name, r in guard.refused_channels.items()}
            return Traffic(channel.requests, channel.rate_limited, guard.stopped, refused)

    def _destinations(
        self, desk: Desk, channel: Channel, pacer: Pacer, stop: asyncio.Event
    ) -> Destinations:
        return Destinations(
            channel,
            pacer=pacer,
            new_dms=desk.pacer("new_dms", self.settings.new_dm_every.total_seconds(), stop),
            clock=self.clock,
            save_dm=desk.save_dm,
            save_breaker=desk.save_breaker,
        )

    def _engine(
        self,
        desk: Desk,
        channel: Channel,
        destinations: Destinations,
        guard: Guard,
        pacer: Pacer,
        held: Callable[[MessagePlan], None],
        finished: Callable[[Result], None],
    ) -> Engine:
        revisions = Revisions(self.run_id)
        endings = Endings(revisions, self.clock)
        return Engine(
            batches=self._batches(desk.bot, revisions, held),
            attempt=Attempt(
                channel=channel,
                destinations=destinations,
                pacer=pacer,
                posts=Posts(channel, pacer, desk.recorded, revisions, guard, self.clock),
                recovery=Recovery(channel, destinations, pacer, desk.recorded, endings, desk.bot),
                endings=endings,
                swap=desk.swap,
                revisions=revisions,
                guard=guard,
                clock=self.clock,
                lease=self.settings.lease,
            ),
            results=Results(self.store, desk.thread, destinations, finished, revisions),
            guard=guard,
            thread=desk.thread,
            stop=guard.stop,
            log=self.log,
            retry_within=self.retry_within,
        )

    def _batches(
        self, bot: str, revisions: Revisions, held: Callable[[MessagePlan], None]
    ) -> Batches:
        return Batches(
            store=self.store,
            templates=self.templates,
            revisions=revisions,
            clock=self.clock,
            run_id=self.run_id,
            bot=bot,
            now=self.now,
            zone=self.settings.timezone,
            lease=self.settings.lease,
            still_true=self.still_true,
            coexist=self.settings.node_bot_coexist,
            slow_newcomers=self.settings.new_dm_every > timedelta(0),
            report=held,
        )


def bot_of(token: str) -> str:
    """Which bot a token belongs to: the first part of a token is the bot's user id. That of another
    shape is told apart by its hash. It stays when the token is reset."""
    first = token.split(".", maxsplit=1)[0]
    with suppress(ValueError):
        user_id = base64.b64decode(first + "=" * (-len(first) % 4), validate=True).decode()
        if user_id.isascii() and user_id.isdigit():
            return user_id
    return hashlib.sha256(first.encode()).hexdigest()[:16]


def _halting(guard: Guard) -> Callable[[str], None]:
    """Ends the run in order, whenever it is called."""
    loop = asyncio.get_running_loop()

    def halt(reason: str) -> None:
        stopped = RunStopped(reason, "asked to stop")
        loop.call_soon_threadsafe(guard.halt, stopped)  # a signal wakes no loop that sleeps

    return halt


@contextmanager
def _time_limit(guard: Guard, limit: timedelta | None) -> Iterator[None]:
    """While inside, the run ends in order once it has taken that long."""
    if limit is None:
        yield
        return
    too_long = RunStopped("timeout", f"it took longer than {limit}")
    loop = asyncio.get_running_loop()
    handle = loop.call_later(limit.total_seconds(), guard.halt, too_long)
    try:
        yield
    finally:
        handle.cancel()
