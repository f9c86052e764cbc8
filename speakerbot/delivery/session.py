"""One run's delivery, wired: opens the channel, runs the engine, stores the breakers."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches
from speakerbot.delivery.claims import Revisions
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.endings import Endings
from speakerbot.delivery.engine import Engine
from speakerbot.delivery.guard import Guard
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery
from speakerbot.delivery.refusals import RunStopped
from speakerbot.delivery.results import Result, Results
from speakerbot.delivery.storethread import StoreThread
from speakerbot.ledger import Change, Delivery
from speakerbot.planning import Plan
from speakerbot.ports import Breaker, Channel, Store
from speakerbot.templates import Templates

DISCORDS_LIMIT = 50
"""Requests in any one second, over all processes of a bot."""
BUDGET_WINDOW = timedelta(minutes=10)
QUARANTINE_REST = timedelta(hours=1)
RECORDED = 200
"""More messages to a recipient than one page of their channel's history shows."""


class CountingChannel(Channel, Protocol):
    """A channel that also counts its requests."""

    requests: int
    rate_limited: int
    invalid_requests: int


Connect = Callable[[Callable[[float], None]], AbstractAsyncContextManager[CountingChannel]]
"""Opens the channel; is given what wants to hear of rate limits (seconds to wait)."""


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
    timeout: timedelta | None = None
    """After it the run ends as on SIGTERM."""

    async def deliver(
        self,
        plans: Iterator[Plan],
        held: Callable[[Plan], None],
        finished: Callable[[Result], None],
    ) -> Traffic:
        """Sends what is planned. ``held`` hears of plans that were not claimed, ``finished`` of
        each claim once its outcome is in the store (None: it was given back)."""
        thread, stop = StoreThread(), asyncio.Event()
        bot = bot_of(self.settings.discord_token or "")
        try:
            breakers = await thread(self.store.limits.breakers, bot)
            if closed := self._closed(breakers):
                return Traffic(stopped=closed)
            return await self._connected(plans, held, finished, thread, stop, bot, breakers)
        finally:
            thread.close()

    def _closed(self, breakers: dict[str, Breaker]) -> RunStopped | None:
        breaker = breakers.get("bot")
        if breaker is None or breaker.until <= self.clock.real():
            return None
        detail = f"{breaker.reason}; nothing is tried before {breaker.until:%F %H:%M} UTC"
        return RunStopped("bot", detail)

    async def _connected(
        self,
        plans: Iterator[Plan],
        held: Callable[[Plan], None],
        finished: Callable[[Result], None],
        thread: StoreThread,
        stop: asyncio.Event,
        bot: str,
        breakers: dict[str, Breaker],
    ) -> Traffic:
        pacer = self._pacer(thread, stop, bot)
        earlier = self._invalid_before(breakers)
        async with self.connect(pacer.slow_down) as channel:
            guard = Guard(stop, lambda: earlier + channel.invalid_requests, self.log)
            engine = self._engine(channel, guard, pacer, thread, bot, held, finished)
            rest = breakers.get("new_dms")
            engine.attempt.destinations.new_dms_rest_until = rest.until if rest else None
            if self.timeout:
                too_long = RunStopped("timeout", f"it took longer than {self.timeout}")
                asyncio.get_running_loop().call_later(
                    self.timeout.total_seconds(), guard.halt, too_long
                )
            with _signals(guard):
                await engine.run(plans)
            await thread(self._leave_breakers, bot, guard, earlier + channel.invalid_requests)
            refused = {name: r.detail for name, r in guard.refused_channels.items()}
            return Traffic(channel.requests, channel.rate_limited, guard.stopped, refused)

    def _engine(
        self,
        channel: Channel,
        guard: Guard,
        pacer: Pacer,
        thread: StoreThread,
        bot: str,
        held: Callable[[Plan], None],
        finished: Callable[[Result], None],
    ) -> Engine:
        limits, settings, revisions = self.store.limits, self.settings, Revisions(self.run_id)
        new_dm_pace = settings.new_dm_every.total_seconds()
        new_dms = Pacer(
            lambda interval, count: thread(
                limits.reserve, bot, "new_dms", self.clock.real(), interval, count, 0
            ),
            new_dm_pace,
            ahead=0,
            stop=guard.stop,
            clock=self.clock,
        )
        destinations = Destinations(
            channel,
            pacer=pacer,
            new_dms=new_dms,
            clock=self.clock,
            save_dm=lambda user, dm: thread(limits.remember_dms, bot, {user: dm}),
            save_breaker=lambda name, breaker: thread(limits.set_breaker, bot, name, breaker),
        )

        async def swap(before: Delivery, after: Delivery) -> bool:
            return bool(await thread(self.store.ledger.swap, [Change(before, after)]))

        async def recorded(recipient: str) -> set[str]:
            records = await thread(lambda: list(self.store.ledger.find(recipient, limit=RECORDED)))
            return {record.message_id for record in records}

        endings = Endings(revisions, self.clock)

        return Engine(
            batches=Batches(
                self.store,
                self.templates,
                revisions,
                self.clock,
                self.run_id,
                bot,
                self.now,
                settings.lease,
                settings.node_bot_coexist,
                new_dm_pace > 0,
                held,
            ),
            attempt=Attempt(
                channel,
                destinations,
                pacer,
                Posts(channel, pacer, recorded, revisions, guard, self.clock),
                Recovery(channel, destinations, pacer, recorded, endings, self.clock),
                endings,
                swap,
                revisions,
                guard,
                self.clock,
                settings.lease,
            ),
            results=Results(self.store, thread, destinations, finished, revisions),
            guard=guard,
            thread=thread,
            stop=guard.stop,
            log=self.log,
        )

    def _pacer(self, thread: StoreThread, stop: asyncio.Event, bot: str) -> Pacer:
        rate = self.settings.rate
        # Most of what is left below the limit is for processes and networks that bunch things up.
        ahead = max(0, int((DISCORDS_LIMIT - rate - 1) / 4))
        return Pacer(
            lambda interval, count: thread(
                self.store.limits.reserve, bot, "send", self.clock.real(), interval, count, ahead
            ),
            1 / rate,
            ahead=ahead,
            stop=stop,
            clock=self.clock,
        )

    def _invalid_before(self, breakers: dict[str, Breaker]) -> int:
        breaker = breakers.get("invalid_requests")
        return breaker.count if breaker and breaker.until > self.clock.real() else 0

    def _leave_breakers(self, bot: str, guard: Guard, invalid: int) -> None:
        """For the next one-shot run. A refused token leaves nothing: each run asks once."""
        limits, now = self.store.limits, self.clock.real()
        stopped = guard.stopped
        if invalid and not (stopped and stopped.reason == "token"):
            breaker = Breaker(now + BUDGET_WINDOW, "requests Discord refused", invalid)
            limits.set_breaker(bot, "invalid_requests", breaker)
        if stopped and stopped.reason in ("bot", "invalid_requests"):
            rest = QUARANTINE_REST if stopped.reason == "bot" else BUDGET_WINDOW
            limits.set_breaker(bot, "bot", Breaker(now + rest, stopped.detail))


def bot_of(token: str) -> str:
    """Tells bots apart in the store. A token's first part stays when it is reset."""
    return hashlib.sha256(token.split(".", maxsplit=1)[0].encode()).hexdigest()[:16]


class _signals:  # noqa: N801  # reads as a statement: with _signals(guard)
    """While inside, SIGTERM and Ctrl-C end the run in order rather than the process at once."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._names = (signal.SIGTERM, signal.SIGINT)

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for name in self._names:
            stopped = RunStopped(name.name.lower(), "asked to stop")
            loop.add_signal_handler(name, self._guard.halt, stopped)

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            asyncio.get_running_loop().remove_signal_handler(name)
