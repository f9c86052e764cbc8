"""The delivery engine: claims what is planned, sends it, records it, in a steady stream.

A producer takes plans in batches, claims each batch in one write and feeds a bounded queue; workers
send; results are written in batches. Memory depends on the queue, not on the number of messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.batches import Batches
from speakerbot.delivery.claims import Claim
from speakerbot.delivery.guard import Guard
from speakerbot.delivery.refusals import ClaimLost, Misconfigured, RunStopped
from speakerbot.delivery.results import FLUSH_EVERY, Results
from speakerbot.delivery.storethread import StoreThread
from speakerbot.planning import CHUNK, Plan

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

    async def run(self, plans: Iterator[Plan]) -> None:
        """Sends all that is planned, or until ``stop`` is set; ``guard.stopped`` says why.

        Raises what the store raises: claims are then left in doubt, for a later run."""
        queue: asyncio.Queue[Claim | None] = asyncio.Queue(CHUNK)
        newcomers: asyncio.Queue[Claim | None] = asyncio.Queue(WAITING_FOR_DM)
        tasks = [asyncio.create_task(self._work(queue)) for _ in range(WORKERS)]
        tasks.append(asyncio.create_task(self._work(newcomers)))
        producer = asyncio.create_task(self._produce(plans, queue, newcomers))
        flusher = asyncio.create_task(self._flush_regularly())
        try:
            await self._until_done([producer, *tasks], flusher)
        finally:
            for task in (producer, flusher, *tasks):
                task.cancel()
            await asyncio.gather(producer, flusher, *tasks, return_exceptions=True)
        await self.results.flush()

    async def _until_done(
        self, tasks: list[asyncio.Task[None]], flusher: asyncio.Task[None]
    ) -> None:
        """Waits for all tasks; once stopped, no longer than the grace for what is under way."""
        work = asyncio.gather(*tasks)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {work, stopped, flusher}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and self.stop.is_set():
                await asyncio.wait({work}, timeout=GRACE)
            if flusher.done():
                flusher.result()
            if work.done():
                work.result()
        finally:
            stopped.cancel()
            work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await work

    async def _produce(
        self,
        plans: Iterator[Plan],
        queue: asyncio.Queue[Claim | None],
        newcomers: asyncio.Queue[Claim | None],
    ) -> None:
        room = newcomers.maxsize
        while not self.stop.is_set():
            batch = await self.thread(lambda: list(islice(plans, CHUNK)))
            if not batch:
                break
            claims = await self.thread(self.batches.claim, batch, room)
            for claim in claims:
                await (newcomers if claim.newcomer else queue).put(claim)
            room = newcomers.maxsize - newcomers.qsize()
        for _ in range(WORKERS):
            await queue.put(None)
        await newcomers.put(None)

    async def _work(self, queue: asyncio.Queue[Claim | None]) -> None:
        while (claim := await queue.get()) is not None:
            if await self._one(claim):
                await self.results.flush()

    async def _one(self, claim: Claim) -> bool:
        """True: enough results wait to be written."""
        if self.stop.is_set():
            return self.results.give_back(claim)
        try:
            after = await self.attempt.deliver(claim)
        except RunStopped as stopped:
            self.guard.halt(stopped)
            return self.results.give_back(claim)
        except Misconfigured:
            return self.results.give_back(claim)
        except ClaimLost:
            self.log.info("claim_lost", key=claim.message.key)
            return False
        self.guard.notice(after)
        return self.results.add(claim, after)

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await self.results.flush()
