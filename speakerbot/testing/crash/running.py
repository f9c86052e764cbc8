"""One run of a world's job in a process of its own, which dies where its schedule says."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from speakerbot import bootstrap, logs
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.job_registry import JobRegistry, RunOptions
from speakerbot.errors import SpeakerbotError
from speakerbot.ports.channel import OnLimited
from speakerbot.runs.service import RunService
from speakerbot.stores import open_store
from speakerbot.testing.crash.boundaries import REQUESTS, Reached, stepping, stepping_store
from speakerbot.testing.crash.world import TOKEN, CrashWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from speakerbot.delivery.session import Connect, CountingChannel


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place: a store, a loopback Discord, and a lease."""

    store_url: str
    discord_base: str
    lease: timedelta

    def settings(self, world: CrashWorld) -> Settings:
        base = Settings(
            database_url=self.store_url,
            discord_token=TOKEN,
            discord_api_base=self.discord_base,
            lease=self.lease,
            rate=200.0,
            new_dm_every=timedelta(milliseconds=5),
        )
        return world.settings(base)


def run_once(world: CrashWorld, place: Place, clock: Clock, reached: Reached) -> int:
    """The exit code that the command line would end with."""
    logs.configure("json")
    settings = place.settings(world)
    store = open_store(settings.database_url)
    try:
        store.prepare()
        service = RunService(settings, JobRegistry(), retry_within=timedelta())
        connect = _stepping_connect(bootstrap.discord(settings), reached)
        stepped = stepping_store(store, reached)
        service.runner(world.job, RunOptions(), stepped, connect, (), clock).run()
    except SpeakerbotError as error:
        logs.report(error)
        return error.exit_code
    finally:
        store.close()
    return 0


def dying_at(kill_at: int | None, mouth: int) -> Reached:
    """Says each boundary into ``mouth``, and kills this process at the one of that number."""
    numbers = count(1)

    def reached(name: str) -> None:
        number = next(numbers)
        os.write(mouth, f"{number} {name}\n".encode())
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _stepping_connect(connect: Connect, reached: Reached) -> Connect:
    @asynccontextmanager
    async def stepped(on_limited: OnLimited, **more: Any) -> AsyncIterator[CountingChannel]:
        async with connect(on_limited, **more) as channel:
            yield stepping(channel, REQUESTS, "discord", reached)

    def connected(
        on_limited: OnLimited,
    ) -> AbstractAsyncContextManager[CountingChannel]:
        return stepped(on_limited)

    return connected
