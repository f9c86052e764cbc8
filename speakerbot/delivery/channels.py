"""The channels of one run: opened when first needed, stopped one by one, each with its own lanes,
circuit breakers and memory in the store; and what is asked of them beside sending messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from speakerbot.clock import Clock, real_now
from speakerbot.delivery.circuit_breakers import (
    Breakers,
    ChannelStopped,
    Guard,
    RunStopped,
    left_by,
)
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.message import Route
from speakerbot.domain.run import StopReason
from speakerbot.domain.service_request import NoResponse, Responses, ServiceRequest
from speakerbot.ports.channel import (
    Channel,
    ChannelAccess,
    Channels,
    RefusalClass,
    Refused,
    Withheld,
)
from speakerbot.ports.store import Breaker, Store

T = TypeVar("T")

ASKED_AT_ONCE = 16
"""Targets."""
ASKS_FOR = timedelta(seconds=60)
"""How long a run asks at the most: its messages wait for that."""


@dataclass(slots=True)
class RunStop:
    """Whether the run must end; anybody may ask for it."""

    log: Any
    event: asyncio.Event = field(default_factory=asyncio.Event)
    reason: RunStopped | None = None
    also: list[asyncio.Event] = field(default_factory=list)
    """Set together with ``event``."""

    def halt(self, stopped: RunStopped) -> None:
        """Ends the run; the first reason stays."""
        if self.reason is None:
            self.reason = stopped
            self.log.error("run_stopped", reason=stopped.reason, detail=stopped.detail)
        for event in (self.event, *self.also):
            event.set()

    def is_set(self) -> bool:
        return self.event.is_set()


class OpenChannel:
    """One channel of the run, with what the engine knows of it. A :class:`ChannelHost`."""

    def __init__(
        self,
        access: ChannelAccess,
        store: Store,
        thread: StoreThread,
        *,
        clock: Clock,
        longest_request: timedelta,
        halted: Callable[[], None],
        log: Any,
    ) -> None:
        self.access = access
        self.sender = access.sender
        self.clock = clock
        self.longest_request = longest_request
        self.breakers: Mapping[str, Breaker] = {}
        self.stop = asyncio.Event()
        self._store = store
        self._thread = thread
        self._asking = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._clock_error: timedelta | None = None
        self._channel: Channel | None = None
        self._earlier = 0
        self._halted = halted
        self._log = log
        self.guard = Guard(lambda: self.invalid_requests, self._on_halt, log)

    @property
    def channel(self) -> Channel:
        """Raises ChannelStopped where it could not be opened."""
        if self._channel is None:
            raise self.guard.stopped or ChannelStopped(StopReason.STOPPED)
        return self._channel

    @property
    def traffic(self) -> tuple[int, int]:
        """Requests, and how many of them met a rate limit."""
        channel = self._channel
        return (channel.requests, channel.rate_limited) if channel else (0, 0)

    @property
    def invalid_requests(self) -> int:
        """What the service holds against us, earlier runs' too."""
        return self._earlier + (self._channel.invalid_requests if self._channel else 0)

    async def open(self, stack: AsyncExitStack) -> None:
        """Opens it once, unless a circuit breaker of an earlier run forbids it."""
        if self._channel is not None:
            return
        async with self._opening:
            if self._channel is not None or self.guard.stopped:
                return
            now = self.clock.real()
            breakers = await self._stored_breakers()
            self.breakers = breakers.found
            self._earlier = breakers.invalid_requests(now)
            if stopped := breakers.forbids(now):
                self.guard.halt(stopped)
                return
            self._channel = await stack.enter_async_context(self.access.open(self))

    async def _stored_breakers(self) -> Breakers:
        """Those in force. One that a broken clock has left is cut to the longest there is."""
        found = Breakers(await self.ask_store(lambda store: store.limits.breakers(self.sender)))
        cut = found.impossible(self.clock.real())
        for name, breaker in cut.items():
            await self.save_breaker(name, breaker)
        return Breakers({**found.found, **cut})

    def lane(self, name: str, interval: float, *, ahead: int = 0) -> Pacer:
        """A lane that all processes of the sender share, by the store's clock."""

        async def reserve(interval: float, count: int) -> timedelta:
            now = await self._now_in_store()
            first = await self._thread(
                self._store.limits.reserve, self.sender, name, now, interval, count, ahead
            )
            return first - now

        return Pacer(reserve, interval, ahead=ahead, stop=self.stop)

    async def _now_in_store(self) -> datetime:
        """Whatever this machine's clock shows. Asked once: clocks that tick stay as far apart."""
        if self._clock_error is None:
            self._clock_error = await self._thread(self._store.clock_error)
        return real_now() - self._clock_error

    async def ask_store(self, call: Callable[[Store], T]) -> T:
        return await self._thread(call, self._store)

    async def save_breaker(self, name: str, breaker: Breaker) -> None:
        await self._thread(self._store.limits.set_breaker, self.sender, name, breaker)

    def done_with(self, route: Route) -> None:
        """A message less that may go by this route."""
        if self._channel is not None:
            self._channel.done_with([route])

    async def ask_service(self) -> None:
        """Many targets failed: whether that is theirs or the service's, its own question tells."""
        async with self._asking:
            if self.guard.stopped or not self.guard.faulty:
                return
            try:
                await self.channel.probe()
            except Refused as refusal:
                service = refusal.why == RefusalClass.SERVICE
                reason = StopReason.UNREACHABLE if service else StopReason(refusal.why)
                self.guard.halt(ChannelStopped(reason, refusal.detail))
            except ChannelStopped as stopped:
                self.halt(stopped)
            self.guard.faulty.clear()

    def halt(self, stopped: ChannelStopped) -> None:
        """Stops the channel, unless it only passed on that it, or the run, has stopped."""
        if not self.stop.is_set():
            self.guard.halt(stopped)

    def _on_halt(self, stopped: ChannelStopped) -> None:
        self.stop.set()
        self._log.error(
            "channel_stopped",
            channel=self.access.name,
            reason=stopped.reason,
            detail=stopped.detail,
        )
        self._halted()

    async def leave_breakers(self) -> None:
        """What later runs are to know. One that was forbidden to open has learnt nothing new."""
        if self._channel is not None:
            left = left_by(self.guard.stopped, self.invalid_requests, self.clock.real())
            for name, breaker in left:
                await self.save_breaker(name, breaker)


class OpenChannels:
    """``async with``. All channels that the run may use, by name."""

    def __init__(
        self,
        channels: Channels,
        store: Store,
        thread: StoreThread,
        *,
        clock: Clock,
        longest_request: timedelta,
        stop: RunStop,
        log: Any,
    ) -> None:
        self.stop = stop
        self._stack = AsyncExitStack()
        self._by_name = {
            name: OpenChannel(
                access,
                store,
                thread,
                clock=clock,
                longest_request=longest_request,
                halted=self._end_if_none_is_left,
                log=log,
            )
            for name, access in channels.items()
        }
        stop.also += [each.stop for each in self._by_name.values()]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._stack.__aexit__(*raised)

    def __iter__(self) -> Iterator[OpenChannel]:
        return iter(self._by_name.values())

    def named(self, name: str) -> OpenChannel | None:
        """None where the settings have no such channel (any more)."""
        return self._by_name.get(name)

    async def of(self, route: Route) -> OpenChannel | None:
        """The channel that the route goes by, open, or stopped."""
        return await self.opened(route.channel)

    async def opened(self, name: str) -> OpenChannel | None:
        """The channel of this name, open, or stopped; None where the settings have none."""
        found = self._by_name.get(name)
        if found is not None:
            await found.open(self._stack)
        return found

    async def ask_all(
        self, requests: Iterable[ServiceRequest[Any]], within: timedelta = ASKS_FOR
    ) -> Responses:
        """What came back of each. One target's fault stops no other; what is left when the time is
        over, or the run is stopped, has no response. Raises what the store raises."""
        asking = _Asking(self, asyncio.get_running_loop().time() + within.total_seconds())
        by_target: dict[tuple[str, str], list[ServiceRequest[Any]]] = {}
        for request in requests:
            by_target.setdefault((request.channel, request.target), []).append(request)
        targets = iter(list(by_target.values()))
        hands = [asyncio.create_task(asking.work(targets)) for _ in range(ASKED_AT_ONCE)]
        stopped = asyncio.create_task(self.stop.event.wait())
        through = asyncio.create_task(
            asyncio.wait(hands, return_when=asyncio.FIRST_EXCEPTION)  # what the store raises
        )
        await asyncio.wait({through, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, through, *hands):
            task.cancel()  # whatever is under way may be done or not: nothing waits for it
        await asyncio.wait({stopped, through, *hands})
        for hand in hands:
            if not hand.cancelled():
                hand.result()
        return {
            request: asking.responses.get(request, _NO_TIME)
            for theirs in by_target.values()
            for request in theirs
        }

    def _end_if_none_is_left(self) -> None:
        stopped = [each.guard.stopped for each in self._by_name.values()]
        first = stopped[0]
        if first is not None and all(stopped):
            self.stop.halt(RunStopped(first.reason, first.detail))


_NO_TIME = NoResponse("no time was left for it", passing=True)


@dataclass(slots=True)
class _Asking:
    """Carries out requests until ``deadline``, of the loop's time."""

    channels: OpenChannels
    deadline: float
    responses: dict[ServiceRequest[Any], Any] = field(default_factory=dict)

    async def work(self, targets: Iterator[list[ServiceRequest[Any]]]) -> None:
        """Takes one target after another, and its requests in order."""
        for requests in targets:
            for request in requests:
                if request not in self.responses:
                    self.responses[request] = await self._response(request)

    async def _response(self, request: ServiceRequest[Any]) -> Any:
        if asyncio.get_running_loop().time() >= self.deadline:
            return _NO_TIME
        channel = await self.channels.opened(request.channel)
        if channel is None:
            return NoResponse(f"the settings have no channel {request.channel!r}")
        if stopped := channel.guard.stopped:
            return NoResponse(str(stopped), passing=True)
        try:
            async with asyncio.timeout_at(self.deadline):
                response = await channel.channel.ask(request)
        except ChannelStopped as stopped:
            channel.halt(stopped)
            return NoResponse(str(stopped), passing=True)
        except Withheld:
            return NoResponse("it was not repeated", passing=True)
        except (Refused, TimeoutError) as fault:
            return await self._fault(request, channel, fault)
        channel.guard.answered()
        return response

    async def _fault(
        self, request: ServiceRequest[Any], channel: OpenChannel, fault: Refused | TimeoutError
    ) -> NoResponse:
        """Faults count as those of messages do."""
        if isinstance(fault, TimeoutError):
            fault = Refused(RefusalClass.SERVICE, "no answer in time", maybe_accepted=True)
        guard = channel.guard
        if fault.why == RefusalClass.SERVICE:
            guard.service_fault(request.target, fault)
            if guard.suspects_outage:
                await channel.ask_service()
        elif fault.why in (RefusalClass.BOT, RefusalClass.TOKEN):
            channel.halt(ChannelStopped(StopReason(fault.why), fault.detail))
        else:
            guard.answered()
            if fault.why == RefusalClass.TARGET and request.setting:
                guard.setting_refused(request.setting, request.target, fault)
        guard.check_budget()
        passing = fault.why in (RefusalClass.SERVICE, RefusalClass.BOT, RefusalClass.TOKEN)
        return NoResponse(fault.detail, passing, fault.why == RefusalClass.REJECTED)
