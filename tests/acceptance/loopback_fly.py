"""A loopback Fly that answers while the test's own thread runs commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from speakerbot.testing.fly import FlyWorld, serve


@contextmanager
def serving(world: FlyWorld) -> Iterator[str]:
    """Serves the world from a thread; yields its address."""
    ready, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    found: list[str] = []

    async def stay() -> None:
        async with serve(world) as base:
            found.append(base)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(stay(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
