"""Runs of jobs in this process, and of the installed command, against a loopback Discord."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
import time_machine

from speakerbot.channels.discord.access import bot_of
from speakerbot.channels.discord.api import DiscordApi
from speakerbot.clock import real_now
from speakerbot.config import Settings
from speakerbot.delivery.status import retried
from speakerbot.domain.delivery import Delivery, DeliveryChange
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.channel import Refused
from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.testing.discord import NO_LIMITS, LoopbackClock, LoopbackDiscord, LoopbackSettings
from speakerbot.testing.run_harness import NOW, TOKEN, RunHarness
from tests.integration.machine import Machine, instant
from tests.started_commands import run_command

COMMAND = Path(sys.executable).parent / "speakerbot"
RUN = ("run", "reminders", "--now", NOW.isoformat(), "--json")


@pytest.fixture
def discord() -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        yield running


@pytest.fixture
def harness(discord: LoopbackDiscord) -> Iterator[RunHarness]:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    yield RunHarness(discord, store)
    store.close()


@dataclass
class Command:
    """The installed ``speakerbot run reminders``, on a SQLite file, for a community with a talk
    each day from NOW's on: the nth day's speaker is user 100 + n, DM channel 200 + n, thread
    300 + n. Every talk has a reminder due at NOW."""

    discord: LoopbackDiscord
    env: dict[str, str]
    store: Store
    days: int = 0

    def book(self, days: int, *, known: bool = True) -> None:
        """Talks on so many days; ``known``: the bot has written to their speakers before."""
        self.days = days
        today = NOW.date()
        self.store.talks.put(
            [
                Talk(f"t{n}", str(100 + n), f"user {n}", f"Topic {n}", today + timedelta(days=n),
                     thread_id=str(300 + n))
                for n in range(days)
            ]
        )  # fmt: skip
        offsets = ",".join(f"{n}d@16:00" for n in range(days))
        self.env["SPEAKERBOT_REMINDER_OFFSETS"] = offsets
        for n in range(days):
            self.discord.world.add_thread(str(300 + n), "1")
            if known:
                self.discord.world.add_dm(str(100 + n), str(200 + n))
                self.store.limits.remember_dms(bot_of(TOKEN), {str(100 + n): str(200 + n)})

    def start(self, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *RUN],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, exit_code: int = 0, **env: str) -> Report:
        """Runs it to its end, which has to be this one."""
        done = run_command("cli.main", RUN, fresh=[COMMAND], env={**self.env, **env})
        return report(done.returncode, exit_code, done.stdout, done.stderr)

    def ended(self, process: subprocess.Popen[str], exit_code: int = 0) -> Report:
        out, err = process.communicate(timeout=60)
        return report(process.returncode, exit_code, out, err)

    def records(self) -> dict[str, Delivery]:
        """By the talk's id."""
        return {record.key.split("/")[1][5:]: record for record in self.store.ledger.list()}

    def retry_now(self) -> None:
        """As a person would with ``deliveries retry --status failed``."""
        failed = list(self.store.ledger.list(state="failed"))
        self.store.ledger.swap(
            [
                DeliveryChange(record, retried(record, real_now(), f"{record.revision}.again"))
                for record in failed
            ]
        )

    def sent_to(self) -> list[str]:
        """Channels, in order, of every message Discord has accepted."""
        return sorted((m.channel_id for m in self.discord.messages), key=int)


@dataclass
class Report:
    """What a run printed."""

    document: Any
    stderr: str

    @property
    def counts(self) -> Any:
        return self.document["counts"]

    @property
    def states(self) -> list[str]:
        return [message["state"] for message in self.document["messages"]]


def report(code: int, expected: int, out: str, err: str) -> Report:
    """Of a run that has ended, with the exit code it has to have."""
    assert code == expected, (code, out, err)
    assert "Traceback" not in err
    return Report(json.loads(out), err)


@pytest.fixture
def command(discord: LoopbackDiscord, tmp_path: Path) -> Iterator[Command]:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    url = f"sqlite:///{tmp_path / 'store.db'}"
    env |= {
        "SPEAKERBOT_ENV_FILE": "",
        "DATABASE_URL": url,
        "DISCORD_TOKEN": TOKEN,
        "DISCORD_API_BASE": discord.base_url,
    }
    store = open_store(url)
    store.prepare()
    yield Command(discord, env, store)
    store.close()


async def always() -> None:
    """Lets every request leave."""


class Over(Exception):
    """What a lane that has stopped raises."""


@dataclass
class Unpaced:
    """A lane without a limit, that notes how long it was asked to pause."""

    pauses: list[float] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def slot(self) -> None:
        if self.stop.is_set():
            raise Over

    async def stopped(self) -> None:
        await self.stop.wait()

    def slow_down(self, seconds: float, everywhere: bool) -> None:  # noqa: ARG002
        self.pauses.append(seconds)


@dataclass
class Line:
    """A channel and the loopback Discord at its other end."""

    channel: DiscordApi
    discord: LoopbackDiscord
    pauses: list[float]
    stop: asyncio.Event
    """Set: no request may begin any more."""

    async def send(self, text: str = "hello", nonce: str = "n1", to: str = "77") -> str:
        return await self.channel.send(to, text, nonce=nonce, mention=None, ready=always)

    async def refused(self, request: Awaitable[object]) -> Refused:
        with pytest.raises(Refused) as caught:
            await request
        return caught.value

    async def find(self, text: str = "hello", *, known: tuple[str, ...] = ()) -> str | None:
        since = datetime.now(UTC)
        return await self.channel.find(
            "77", text, nonce="n1", since=since, known=known, author=None
        )


class Connected(Protocol):
    """Talks over a line that is opened before and closed after it."""

    def __call__(
        self,
        talk: Callable[[Line], Awaitable[None]],
        settings: LoopbackSettings = ...,
        *,
        timeout: float = ...,
        clock: LoopbackClock | None = ...,
    ) -> None: ...


@pytest.fixture
def connected() -> Connected:
    return _connected


def _connected(
    talk: Callable[[Line], Awaitable[None]],
    settings: LoopbackSettings = NO_LIMITS,
    *,
    timeout: float = 20.0,
    clock: LoopbackClock | None = None,
) -> None:
    async def run() -> None:
        limit, pace = timedelta(seconds=timeout), Unpaced()
        async with (
            LoopbackDiscord(settings, clock=clock) as discord,
            DiscordApi(
                "t",
                discord.base_url,
                timeout=limit,
                pace=pace,
            ) as channel,
        ):
            await talk(Line(channel, discord, pace.pauses, pace.stop))

    asyncio.run(run())


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(instant("12:00"), tick=True) as traveller:
        yield traveller


@pytest.fixture
def machine(clock: time_machine.Traveller, discord: LoopbackDiscord) -> Iterator[Machine]:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    settings = Settings(
        database_url="mongodb://localhost/shared",
        discord_token=TOKEN,
        discord_api_base=discord.base_url,
        reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
        new_dm_every=timedelta(0),
    )
    yield Machine(store, discord, clock, settings)
    store.close()
