"""The delivery engine: claims what is planned, sends it, records it, in a steady stream.

A producer takes plans in batches, claims each batch in one write and feeds a bounded queue; workers
send; results are written in batches. Memory depends on the queue, not on the number of messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches
from speakerbot.delivery.circuit_breakers import Guard, Misconfigured, RunStopped
from speakerbot.delivery.claims import Claim, ClaimLost
from speakerbot.delivery.planning import CHUNK, MessagePlan, chained
from speakerbot.delivery.posts import posted_again
from speakerbot.delivery.results import FLUSH_EVERY, Results
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.delivery import Delivery, DeliveryState

Queue = asyncio.Queue[Claim | None]
"""None: there will be no more."""
Tasks = set[asyncio.Task[None]]

WORKERS = 16
WAITING_FOR_DM = 500
"""Messages that may wait for their new DM channel; the rest is left to later runs."""
GRACE = 8.0
"""Seconds a request under way may still take once the run is told to stop."""


@dataclass(slots=True)
class Engine:
    """Everything it needs comes from ``session``; it lives for one run."""

    batches: Batches
    attempt: Attempt
    results: Results
    guard: Guard
    thread: StoreThread
    stop: asyncio.Event
    log: Any

    async def run(self, plans: Iterator[MessagePlan]) -> None:
        """Sends all that is planned, or until ``stop`` is set; ``guard.stopped`` says why.

        Raises what the store raises: claims are then left unconfirmed, for a later run."""
        queue: Queue = asyncio.Queue(CHUNK)
        newcomers: Queue = asyncio.Queue(WAITING_FOR_DM)
        over = asyncio.Event()
        flusher = asyncio.create_task(self._flush_regularly(over))
        producer = asyncio.create_task(self._produce(chained(plans), queue, newcomers))
        workers = [asyncio.create_task(self._work(queue)) for _ in range(WORKERS)]
        workers.append(asyncio.create_task(self._work(newcomers)))
        tasks = [flusher, producer, *workers]
        for task in tasks:
            task.add_done_callback(self._stop_if_failed)
        unfinished = await self._until_done_or_stopped({producer, *workers})
        await self._wind_up(producer, unfinished, (queue, newcomers))
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
        _, unfinished = await asyncio.wait(work, timeout=GRACE)
        return unfinished

    async def _wind_up(
        self, producer: asyncio.Task[None], unfinished: Tasks, queues: tuple[Queue, ...]
    ) -> None:
        """Cuts off requests that hang, leaving them unconfirmed; gives back what has not begun."""
        for task in unfinished - {producer}:
            task.cancel()
        while True:
            for queue in queues:
                while not queue.empty():
                    if claim := queue.get_nowait():
                        self.results.give_back(claim)
            if producer.done():
                return
            await asyncio.wait({producer}, timeout=0.1)  # it has claims in hand: never cut it off

    async def _produce(self, plans: Iterator[MessagePlan], queue: Queue, newcomers: Queue) -> None:
        room = newcomers.maxsize
        try:
            while not self.stop.is_set():
                batch = await self.thread(self._next, plans)
                if not batch or self.stop.is_set():
                    break
                for claim in await self._claim(batch, room):
                    slow = claim.newcomer and self.batches.slow_newcomers
                    await (newcomers if slow else queue).put(claim)
                room = newcomers.maxsize - newcomers.qsize()
        finally:
            for _ in range(WORKERS):
                await queue.put(None)
            await newcomers.put(None)

    def _next(self, plans: Iterator[MessagePlan]) -> list[MessagePlan]:
        """What to claim next; deciding it may be slow, so a stop is looked at in between."""
        return list(takewhile(lambda _: not self.stop.is_set(), islice(plans, CHUNK)))

    async def _work(self, queue: Queue) -> None:
        while (claim := await queue.get()) is not None:
            after = await self._one(claim)
            if again := posted_again(claim, after):
                after = await self._claimed(again)
            for position, plan in enumerate(claim.plan.then):
                if not _opens_the_way(claim, after):
                    await self.thread(self.batches.leave_out, claim.plan.then[position:])
                    break
                after = await self._claimed(plan)

    async def _claimed(self, plan: MessagePlan) -> Delivery | None:
        """A message whose turn has come only now: nobody has claimed it yet."""
        claims = await self._claim([plan], room=1)
        return await self._one(claims[0]) if claims else None

    async def _claim(self, plans: list[MessagePlan], room: int) -> list[Claim]:
        claims = await self.thread(self.batches.claim, plans, room)
        for claim in claims:
            if user_id := claim.dm_user:
                self.attempt.destinations.expect(user_id, claim.dm_channel)
        return claims

    async def _one(self, claim: Claim) -> Delivery | None:
        """What became of it; None if it was given back or taken over."""
        after = await self._outcome(claim)
        if self.results.full:
            await self.results.flush()
        return after

    async def _outcome(self, claim: Claim) -> Delivery | None:
        if self.stop.is_set():
            self.results.give_back(claim)
            return None
        deliver = self.attempt.posts.edit if claim.message.edit else self.attempt.deliver
        try:
            after = await deliver(claim)
        except RunStopped as stopped:
            self.guard.halt(stopped)
            self.results.give_back(claim)
            return None
        except Misconfigured:
            self.results.give_back(claim)
            return None
        except ClaimLost:
            self.log.info("claim_lost", key=claim.message.key)
            await self.thread(self.batches.taken_over, claim)
            if user_id := claim.dm_user:
                self.attempt.destinations.done_with(user_id)
            return None
        self.guard.notice(after)
        self.results.add(claim, after)
        return after

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
