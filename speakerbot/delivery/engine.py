"""The delivery engine: claims what is planned, sends it, records it, in a steady stream.

A producer takes plans in batches, has their texts made, claims each batch in one write and feeds a
bounded queue; workers send; results are written in batches. Memory depends on the queue, not on the
number of messages. A run that stays for what falls due next is told round by round what that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches
from speakerbot.delivery.channels import OpenChannel, OpenChannels
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.claims import Claim, ClaimLost, next_route, routes_of
from speakerbot.delivery.content import Contents
from speakerbot.delivery.planning import CHUNK, Look, MessagePlan, chained
from speakerbot.delivery.posts import posted_again
from speakerbot.delivery.recovery import NotNow
from speakerbot.delivery.results import FLUSH_EVERY, Result, Results
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Route
from speakerbot.ports.channel import RefusalClass

Queue = asyncio.Queue[Claim | None]
NewcomerQueue = asyncio.Queue[MessagePlan | None]
"""None: there will be no more."""
Tasks = set[asyncio.Task[None]]

WORKERS = 16
WAITING_TO_OPEN = 500
"""Messages that may wait until their route may be opened; the rest is left to later runs."""
MOST_RETRIES = 500
"""Messages that may wait for a retry in the same run; the rest is left to later runs."""
LONGEST_UNWEIGHED = 5.0
"""Seconds between weighing a message and claiming it, after which it is weighed again."""
GRACE = 8.0
"""Seconds a request under way may still take once the run is told to stop."""


@dataclass(slots=True)
class Engine:
    """Everything it needs comes from ``session``; it lives for one run."""

    batches: Batches
    contents: Contents
    attempt: Attempt
    results: Results
    channels: OpenChannels
    thread: StoreThread
    log: Any
    retry_within: timedelta
    """A retry that is due so soon is made in the same run."""
    look: Callable[[bool], Look | None]
    """What to do once all is claimed; None: nothing. Is told whether some is still under way."""
    waited: Callable[[float], None]
    """Called with the seconds it has waited with nothing to do."""
    _under_way: int = 0
    """Claims that workers have in hand or in their queue, and messages that wait to be opened."""
    _grace_ends: float | None = None
    """Once it is stopped, of the loop's time: what is under way is cut off then."""
    _retries: Tasks = field(default_factory=set)

    @property
    def stop(self) -> asyncio.Event:
        """Set once the run must end."""
        return self.channels.stop.event

    async def run(self, plans: Iterator[MessagePlan], not_before: datetime | None) -> None:
        """Sends all that is planned, none of it before a real instant, or until the run, or every
        channel, is stopped.

        Raises what the store raises: claims are then left unconfirmed, for a later run."""
        queue: Queue = asyncio.Queue(CHUNK)
        newcomers: NewcomerQueue = asyncio.Queue(WAITING_TO_OPEN)
        over = asyncio.Event()
        flusher = asyncio.create_task(self._flush_regularly(over))
        producer = asyncio.create_task(self._produce(plans, not_before, queue, newcomers))
        workers = [asyncio.create_task(self._work(queue)) for _ in range(WORKERS)]
        workers.append(asyncio.create_task(self._welcome(newcomers)))
        tasks = [flusher, producer, *workers]
        for task in tasks:
            task.add_done_callback(self._stop_if_failed)
        unfinished = await self._until_done_or_stopped({producer, *workers})
        await self._wind_up(producer, unfinished, queue, newcomers)
        tasks += await self._finish_retries()
        for channel in self.channels:
            if channel.guard.faulty and not channel.guard.reached:
                await channel.ask_service()
        over.set()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    def _stop_if_failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.stop.set()

    async def _until_done_or_stopped(self, work: Tasks) -> Tasks:
        """The tasks that have not ended: none, unless the grace after a stop was not enough."""
        stopped = asyncio.create_task(self.stop.wait())
        ended = asyncio.gather(*work, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {ended, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        now = asyncio.get_running_loop().time()
        if self.stop.is_set() and self._grace_ends is None:
            self._grace_ends = now + GRACE
        left = GRACE if self._grace_ends is None else max(self._grace_ends - now, 0.0)
        _, unfinished = await asyncio.wait(work, timeout=left)
        return unfinished

    async def _wind_up(
        self,
        producer: asyncio.Task[None],
        unfinished: Tasks,
        queue: Queue,
        newcomers: NewcomerQueue,
    ) -> None:
        """Cuts off requests that hang, leaving them unconfirmed; gives back what has not begun."""
        for task in unfinished - {producer}:
            task.cancel()
        while True:
            while not queue.empty():
                if claim := queue.get_nowait():
                    self.results.give_back(claim)
            while not newcomers.empty():
                if plan := newcomers.get_nowait():
                    await self.thread(self.batches.left_waiting, plan)
            if producer.done():
                return
            await asyncio.wait({producer}, timeout=0.1)  # it has claims in hand: never cut it off

    async def _finish_retries(self) -> list[asyncio.Task[None]]:
        """Waits for those under way and for theirs; at a stop they end by themselves."""
        done: list[asyncio.Task[None]] = []
        while self._retries:
            waiting = set(self._retries)
            for task in await self._until_done_or_stopped(waiting):
                task.cancel()
            done += waiting
            self._retries -= waiting
        return done

    async def _produce(
        self,
        plans: Iterator[MessagePlan],
        not_before: datetime | None,
        queue: Queue,
        newcomers: NewcomerQueue,
    ) -> None:
        try:
            await self._produce_round(plans, not_before, queue, newcomers)
            while not self.stop.is_set():
                look = await self.thread(self.look, self._busy)
                if look is None:
                    break
                if look.plans is None:
                    await self._idle_until(look.at)
                else:
                    await self._produce_round(look.plans, look.at, queue, newcomers)
        finally:
            for _ in range(WORKERS):
                await queue.put(None)
            await newcomers.put(None)

    async def _produce_round(
        self,
        plans: Iterator[MessagePlan],
        not_before: datetime | None,
        queue: Queue,
        newcomers: NewcomerQueue,
    ) -> None:
        plans = chained(plans)
        while not self.stop.is_set():
            batch = await self.thread(self._next, plans)
            if not batch:
                break
            batch = await self._with_texts(batch)
            room = newcomers.maxsize - newcomers.qsize()
            claims, waiting = await self._claim(batch, room)
            self._under_way += len(claims) + len(waiting)
            if not_before is not None and claims:
                await self._sleep_until(not_before)
            for claim in claims:
                await queue.put(claim)
            for plan in waiting:
                newcomers.put_nowait(plan)

    @property
    def _busy(self) -> bool:
        return self._under_way > 0 or bool(self._retries)

    async def _with_texts(self, batch: list[MessagePlan]) -> list[MessagePlan]:
        """With their texts; weighed again where making these took long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        batch = await self.contents.made(batch)
        if loop.time() - began <= LONGEST_UNWEIGHED:
            return batch
        weighed = [await self.thread(self.batches.weigh_again, plan) for plan in batch]
        return await self.contents.rendered(weighed)

    async def _idle_until(self, at: datetime) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        idle = not self._busy
        await self._sleep_until(at)
        if idle:
            self.waited(loop.time() - began)

    async def _sleep_until(self, at: datetime) -> None:
        """Until a real instant, never shorter; or until the run is stopped."""
        while (left := (at - self.batches.clock.real()).total_seconds()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), left)
                return

    def _next(self, plans: Iterator[MessagePlan]) -> list[MessagePlan]:
        """What to claim next; deciding it may be slow, so a stop is looked at in between."""
        size = self.contents.batch or CHUNK
        return list(takewhile(lambda _: not self.stop.is_set(), islice(plans, size)))

    async def _work(self, queue: Queue) -> None:
        while (claim := await queue.get()) is not None:
            await self._deliver(claim)
            self._under_way -= 1

    async def _welcome(self, newcomers: NewcomerQueue) -> None:
        """Opens new routes at their own pace. A message is claimed only when its turn has come:
        until then people may opt out, and talks may move."""
        while (plan := await newcomers.get()) is not None:
            route = next_route(plan)
            channel = await self.channels.of(route) if route else None
            if channel and not self.stop.is_set():
                with suppress(ChannelStopped):
                    await channel.channel.turn_to_open()
            if self.stop.is_set():
                await self.thread(self.batches.left_waiting, plan)
                continue
            for claim in await self._claim_again(plan):
                await self._deliver(claim)
            self._under_way -= 1

    async def _deliver(self, claim: Claim) -> None:
        """The message, then those that follow it."""
        after = await self._one(claim, may_retry=True)
        if after is not None and claim.again:
            self._retry_soon(claim, after)
            return
        if again := posted_again(claim, after):
            after = await self._claimed(again)
        for position, plan in enumerate(claim.plan.then):
            if not _opens_the_way(claim, after):
                await self.thread(self.batches.leave_out, claim.plan.then[position:])
                break
            after = await self._claimed(plan)

    def _retry_soon(self, claim: Claim, after: Delivery) -> None:
        """Has another try made by this run."""
        retry = asyncio.create_task(self._retry(claim, after))
        self._retries.add(retry)
        retry.add_done_callback(self._retries.discard)
        retry.add_done_callback(self._stop_if_failed)

    def _worth_a_retry(self, claim: Claim, after: Delivery) -> bool:
        if after.state != DeliveryState.FAILED or after.error_class != RefusalClass.SERVICE:
            return False
        if after.retry_at is None or self.stop.is_set() or len(self._retries) >= MOST_RETRIES:
            return False
        clock = self.batches.clock
        wait = after.retry_at - clock.real()
        return wait <= self.retry_within and clock.decision() + wait < claim.message.expires_at

    async def _retry(self, claim: Claim, after: Delivery) -> None:
        wait = (after.retry_at or self.batches.clock.real()) - self.batches.clock.real()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), max(0.0, wait.total_seconds()))
        await self.results.flush()  # the record to go on from is in the store
        if self.stop.is_set():
            await self.thread(self.results.report, Result(claim, after))
            return
        for again in await self._claim_again(replace(claim.plan, record=after)):
            await self._deliver(again)

    async def _claimed(self, plan: MessagePlan) -> Delivery | None:
        """A message whose turn has come only now: no run has claimed it yet."""
        claims, _ = await self._claim([plan])
        return await self._one(claims[0]) if claims else None

    async def _claim_again(self, plan: MessagePlan) -> list[Claim]:
        """Weighed once more, for it has waited, and claimed if it still is to go: at most one.
        What it is held back for is reported."""
        weighed = await self.thread(self.batches.weigh_again, plan)
        claims, _ = await self._claim([weighed])
        return claims

    async def _claim(
        self, plans: list[MessagePlan], room: int | None = None
    ) -> tuple[list[Claim], list[MessagePlan]]:
        """``room``: how many may wait until their route may be opened; None: their turn has come,
        and they are claimed like the others."""
        routes = [route for plan in plans for route in routes_of(plan)]
        unopened = await self._expect(routes)
        if gone := [plan for plan in plans if not self._may_go(plan)]:
            await self.thread(self.batches.left_for_later, gone)
        able = [plan for plan in plans if plan not in gone] if gone else plans
        wait_for = unopened if room is not None else set()
        claims, waiting = await self.thread(self.batches.claim, able, wait_for, room or 0)
        claimed = {claim.message.key for claim in claims}
        for plan in plans:
            if plan.message.key not in claimed:
                self.done_with(plan)
        return claims, waiting

    async def _expect(self, routes: list[Route]) -> set[Route]:
        """Prepares their channels. Returns the routes that have to be opened first."""
        unopened: set[Route] = set()
        for name in {route.channel for route in routes}:
            theirs = [route for route in routes if route.channel == name]
            channel = await self.channels.of(theirs[0])
            if channel is not None and not channel.guard.stopped:
                unopened |= await channel.channel.expect(theirs)
        return unopened

    def _may_go(self, plan: MessagePlan) -> bool:
        """Whether it has a channel to go by, if it is to go at all."""
        if plan.state != DeliveryState.PLANNED:
            return True
        for route in routes_of(plan):
            channel = self.channels.named(route.channel)
            stopped = channel.guard.stopped if channel else None
            if stopped is None or not stopped.needs_a_person:
                return stopped is None
        return not routes_of(plan)

    def done_with(self, plan: MessagePlan) -> None:
        """What its channels have kept for it may be forgotten."""
        for route in routes_of(plan):
            channel = self.channels.named(route.channel)
            if channel is not None:
                channel.done_with(route)

    async def _one(self, claim: Claim, *, may_retry: bool = False) -> Delivery | None:
        """What became of it; None if it was given back or taken over."""
        after = await self._outcome(claim, may_retry)
        if self.results.full:
            await self.results.flush()
        return after

    async def _outcome(self, claim: Claim, may_retry: bool) -> Delivery | None:
        if self.stop.is_set():
            self.results.give_back(claim)
            return None
        deliver = self.attempt.posts.edit if claim.message.edit else self.attempt.deliver
        try:
            after = await deliver(claim)
        except NotNow:
            self.results.give_back(claim)
            return None
        except ClaimLost:
            self.log.info("claim_lost", key=claim.message.key)
            await self.thread(self.batches.taken_over, claim)
            self.done_with(claim.plan)
            return None
        claim.again = may_retry and self._worth_a_retry(claim, after)
        if claim.again:
            self.log.warning(
                "message_retried_soon", key=after.key, error=after.error, retry_at=after.retry_at
            )
        self.results.add(claim, after, again=claim.again)
        if channel := self._channel_of(after):
            channel.guard.notice(after)
            if channel.guard.suspects_outage:
                await channel.ask_service()
        return after

    def _channel_of(self, after: Delivery) -> OpenChannel | None:
        """The channel by which it was tried last."""
        return self.channels.named(Route(after.route, after.target).channel)

    async def _flush_regularly(self, over: asyncio.Event) -> None:
        """And once more when it is over."""
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), FLUSH_EVERY)
            await self.results.flush()
        await self.results.flush()  # what came in while the last one was written


def _opens_the_way(claim: Claim, after: Delivery | None) -> bool:
    """Whether a part may follow. Where the Node bot has posted, its post stands for all parts."""
    if after is None or after.state != DeliveryState.SENT:
        return False
    return claim.message.edit is not None or not after.found
