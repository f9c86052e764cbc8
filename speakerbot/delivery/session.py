"""One run's delivery, wired: opens channels, has them read what was wanted, runs the engine, has
them change what is to be changed, stores the breakers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches, Keep, StillTrue
from speakerbot.delivery.channels import OpenChannels, RunStop
from speakerbot.delivery.circuit_breakers import ChannelStopped, RunStopped
from speakerbot.delivery.claims import Claim, Revisions, longest_send
from speakerbot.delivery.content import Content, Contents
from speakerbot.delivery.engine import Engine
from speakerbot.delivery.planning import Look, MessagePlan
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery, with_leftovers
from speakerbot.delivery.results import Result, Results
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryChange
from speakerbot.domain.message import Route
from speakerbot.domain.run import StopReason
from speakerbot.domain.service_request import Responses, ServiceRequest
from speakerbot.ports.channel import Channels
from speakerbot.ports.store import Store
from speakerbot.templates import Templates

RETRY_WITHIN = timedelta(seconds=60)
RECORDED = 200
"""More messages to a recipient than one page of their channel's history shows."""

StopRequests = Callable[[Callable[[str], None]], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a session cost, and why it, or a channel, ended early."""

    requests: int = 0
    rate_limited: int = 0
    stopped: RunStopped | None = None
    stopped_channels: Mapping[str, ChannelStopped] = field(default_factory=dict)
    """By name."""
    refused_targets: Mapping[str, str] = field(default_factory=dict)
    """Targets of the settings that refused us, and how."""
    refused_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings whose targets refused something else, and how."""
    waited: float = 0.0
    """Seconds with nothing to do, which do not count as the run's time."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a delivery needs beyond the messages. ``now`` is the run's decision time."""

    store: Store
    settings: Settings
    templates: Templates
    channels: Channels
    clock: Clock
    run_id: str
    now: datetime
    log: Any
    still_true: StillTrue
    keep: Keep = lambda *_: False
    """See ``Batches``."""
    content: Content | None = None
    """Where texts need more than what was decided."""
    timeout: timedelta | None = None
    """After it the run ends as on SIGTERM."""
    retry_within: timedelta = RETRY_WITHIN
    """A retry that is due so soon is made in the same run."""
    not_before: datetime | None = None
    """Real time: none of what is planned goes before it."""
    look: Callable[[bool], Look | None] = lambda _: None
    """What to do once all of it is claimed; None: nothing. Is told whether some is still under
    way."""
    wanted: Sequence[ServiceRequest[Any]] = ()
    """What is read before the first plan is asked for."""
    afterwards: Callable[[], Iterable[ServiceRequest[Any]]] = tuple
    """What is changed once all is sent: asked for in the store's thread, unless the run is stopped.
    """
    responded: Callable[[Responses], None] = lambda _: None
    """Called in the store's thread with what came back of either, unless the run is stopped."""
    stop_requests: StopRequests = nullcontext
    """While inside, what it is given is called with the reason (sigterm, sigint), in the main
    thread, when the process is asked to end."""

    async def deliver(
        self,
        plans: Iterator[MessagePlan],
        held: Callable[[MessagePlan], None],
        finished: Callable[[Result], None],
    ) -> Traffic:
        """Sends what is planned. ``held`` is called with plans that were not claimed, ``finished``
        with each claim once its outcome is in the store (None: it was given back); both in the
        store's thread, as ``look`` is."""
        thread = StoreThread()
        texts = ThreadPoolExecutor(1, thread_name_prefix="texts")
        stop = RunStop(self.log)
        channels = OpenChannels(
            self.channels,
            self.store,
            thread,
            clock=self.clock,
            longest_request=longest_send(self.settings.lease),
            stop=stop,
            log=self.log,
        )
        try:
            async with channels:
                limit = _TimeLimit(stop, self.timeout)
                contents = Contents(self.templates, self.content, texts)
                engine = self._engine(channels, thread, contents, limit.extend, held, finished)
                with self.stop_requests(_halting(stop)), limit:
                    await self._ask(lambda: self.wanted, channels, thread)
                    real = self.clock.real()
                    plans = with_leftovers(plans, self.store, self.now, real)
                    await engine.run(plans, self.not_before)
                    await self._ask(self.afterwards, channels, thread)
                for channel in channels:
                    await channel.leave_breakers()
                return replace(_traffic(channels), waited=limit.waited)
        finally:
            texts.shutdown()
            thread.close()

    async def _ask(
        self,
        what: Callable[[], Iterable[ServiceRequest[Any]]],
        channels: OpenChannels,
        thread: StoreThread,
    ) -> None:
        if channels.stop.is_set():
            return
        requests = await thread(lambda: list(what()))
        if requests:
            responses = await channels.ask_all(requests)
            if not channels.stop.is_set():
                await thread(self.responded, responses)

    def _engine(
        self,
        channels: OpenChannels,
        thread: StoreThread,
        contents: Contents,
        waited: Callable[[float], None],
        held: Callable[[MessagePlan], None],
        finished: Callable[[Result], None],
    ) -> Engine:
        revisions = Revisions(self.run_id)
        endings = Endings(revisions, self.clock)
        ledger = _Ledger(self.store, thread)
        recovery = Recovery(channels, ledger.recorded, endings, self.clock)

        def done_with(claim: Claim) -> None:
            engine.done_with(claim.plan)

        engine = Engine(
            batches=self._batches(revisions, held),
            contents=contents,
            attempt=Attempt(
                channels=channels,
                templates=self.templates,
                posts=Posts(channels, ledger.recorded, revisions, self.clock),
                recovery=recovery,
                endings=endings,
                swap=ledger.swap,
                revisions=revisions,
                clock=self.clock,
                lease=self.settings.lease,
            ),
            results=Results(self.store, thread, finished, done_with, revisions, self._notifies),
            channels=channels,
            thread=thread,
            log=self.log,
            retry_within=self.retry_within,
            look=self.look,
            waited=waited,
        )
        return engine

    def _notifies(self, sent: Delivery) -> bool:
        access = self.channels.get(Route(sent.route, sent.target).channel)
        return access is None or access.capabilities.notifies

    def _batches(self, revisions: Revisions, held: Callable[[MessagePlan], None]) -> Batches:
        return Batches(
            store=self.store,
            channels=self.channels,
            templates=self.templates,
            revisions=revisions,
            clock=self.clock,
            run_id=self.run_id,
            now=self.now,
            zone=self.settings.timezone,
            lease=self.settings.lease,
            still_true=self.still_true,
            keep=self.keep,
            coexist=self.settings.node_bot_coexist,
            report=held,
        )


@dataclass(frozen=True, slots=True)
class _Ledger:
    """The ledger as the event loop asks it: in the store's thread."""

    store: Store
    thread: StoreThread

    async def swap(self, before: Delivery, after: Delivery) -> bool:
        return bool(await self.thread(self.store.ledger.swap, [DeliveryChange(before, after)]))

    async def recorded(self, recipient: str) -> set[str]:
        """Ids of the latest messages to a recipient that the ledger knows."""
        find = self.store.ledger.find
        records = await self.thread(lambda: list(find(recipient, limit=RECORDED)))
        return {record.message_id for record in records}


def _traffic(channels: OpenChannels) -> Traffic:
    each = [channel.traffic for channel in channels]
    guards = {channel.access.name: channel.guard for channel in channels}
    return Traffic(
        requests=sum(requests for requests, _ in each),
        rate_limited=sum(limited for _, limited in each),
        stopped=channels.stop.reason,
        stopped_channels={n: guard.stopped for n, guard in guards.items() if guard.stopped},
        refused_targets={
            target: refusal.detail
            for guard in guards.values()
            for target, refusal in guard.refused_targets.items()
        },
        refused_settings={
            setting: how
            for guard in guards.values()
            for setting, how in guard.refused_settings.items()
        },
    )


def _halting(stop: RunStop) -> Callable[[str], None]:
    """Ends the run in order, whenever it is called."""
    loop = asyncio.get_running_loop()

    def halt(reason: str) -> None:
        stopped = RunStopped(StopReason(reason), "asked to stop")
        loop.call_soon_threadsafe(stop.halt, stopped)  # a signal wakes no loop that sleeps

    return halt


class _TimeLimit:
    """``with``: the run ends in order once it has taken that long, waiting not counted."""

    def __init__(self, stop: RunStop, limit: timedelta | None) -> None:
        self.waited = 0.0
        self._stop = stop
        self._limit = limit
        self._handle: asyncio.TimerHandle | None = None

    def extend(self, seconds: float) -> None:
        """So much longer: the run has only waited."""
        self.waited += seconds
        if self._handle is not None:
            self._set(self._handle.when() + seconds)

    def __enter__(self) -> None:
        if self._limit is not None:
            self._set(asyncio.get_running_loop().time() + self._limit.total_seconds())

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        too_long = RunStopped(StopReason.TIMEOUT, f"it took longer than {self._limit}")
        self._handle = asyncio.get_running_loop().call_at(when, self._stop.halt, too_long)
