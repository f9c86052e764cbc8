"""Runs of jobs in this process, and of the installed command, against a loopback Discord."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import CapturingLogger

from speakerbot import bootstrap
from speakerbot.clock import Clock, real_now
from speakerbot.config import Settings
from speakerbot.delivery.ledger import Delivery
from speakerbot.delivery.session import bot_of
from speakerbot.errors import SpeakerbotError
from speakerbot.job import Context, Job
from speakerbot.messages import Decision, Message, NodeFlag, Route
from speakerbot.outcomes import Header, Outcome, Summary
from speakerbot.ports import Store
from speakerbot.runner import Order, Runner
from speakerbot.stores import open_store
from speakerbot.talks import Talk
from speakerbot.testing.crash.boundaries import REQUESTS, SteppingStore, stepping
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from speakerbot.delivery.session import Connect, CountingChannel

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TOKEN = "trial"
COMMAND = Path(sys.executable).parent / "speakerbot"


class Died(BaseException):
    """The process is dead: nothing it does from now on has any effect."""


@dataclass
class Death:
    """Comes at the nth time a run reaches a boundary (see speakerbot.testing.crash)."""

    at: str
    nth: int = 1
    dead: bool = False

    def __call__(self, boundary: str) -> None:
        if boundary == self.at:
            self.nth -= 1
            self.dead = self.dead or self.nth == 0
        if self.dead:
            raise Died(boundary)


@dataclass
class Ended:
    """What became of a run."""

    outcomes: list[Outcome] = field(default_factory=list)
    summary: Summary | None = None
    error: SpeakerbotError | None = None

    def begin(self, header: Header) -> None:
        pass

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def end(self, summary: Summary) -> None:
        self.summary = summary

    @property
    def states(self) -> list[str]:
        return [outcome.state for outcome in self.outcomes]


class Trial:
    """Jobs run for real in this process. Its clock is set to NOW and can be moved."""

    def __init__(self, discord: LoopbackDiscord, store: Store) -> None:
        self.discord = discord
        self.store = store
        self.clock = Clock(offset=NOW - real_now())
        self.settings = Settings(
            database_url="",
            discord_token=TOKEN,
            discord_api_base=discord.base_url,
            rate=200.0,
            new_dm_every=timedelta(0),
        )

    def later(self, step: timedelta) -> None:
        """Time passes, here and at Discord."""
        self.clock = replace(self.clock, skew=self.clock.skew + step)
        self.discord.clock.advance(step)

    def known(self, user_id: str, dm_id: str) -> None:
        """The bot has written to this person before."""
        self.discord.world.add_dm(user_id, dm_id)
        self.store.limits.remember_dms(bot_of(TOKEN), {user_id: dm_id})

    def run(
        self, *decisions: Decision, order: Order | None = None, job: Job | None = None
    ) -> Ended:
        """One run of a job that decides exactly this."""
        ended = Ended()
        connect = bootstrap.discord(self.settings)
        runner = self._runner(ended, _job(decisions, job), order, self.store, connect)
        try:
            runner.run()
        except SpeakerbotError as error:
            ended.error = error
        return ended

    def die(self, at: str, *decisions: Decision, nth: int = 1, job: Job | None = None) -> None:
        """One run that dies the nth time it reaches this boundary; it has to."""
        death = Death(at, nth)
        connect = _stepping(bootstrap.discord(self.settings), death)
        store = SteppingStore(self.store, death)
        with pytest.raises(Died):
            self._runner(Ended(), _job(decisions, job), None, store, connect).run()

    def _runner(
        self, ended: Ended, job: Job, order: Order | None, store: Store, connect: Connect
    ) -> Runner:
        return Runner(
            job=job,
            order=order or Order(),
            store=store,
            settings=self.settings,
            templates=bootstrap.templates(self.settings),
            connect=connect,
            sink=ended,
            log=_Quiet(),
            clock=self.clock,
        )

    def message(
        self,
        user_id: str,
        *routes: Route,
        topic: str = "Kites",
        occasion: str = "2026-11-20",
        expires_at: datetime = NOW + timedelta(hours=7),
        flag: NodeFlag | None = None,
    ) -> Message:
        """A reminder to this user; by direct message unless routes are given."""
        return Message(
            kind="trial",
            subject="talk:1",
            recipient=f"user:{user_id}",
            occasion=occasion,
            routes=routes or (Route("dm", user_id),),
            template="reminder.day_of",
            values={"username": f"user {user_id}", "date": "2026-11-20", "topic": topic},
            due_at=NOW - timedelta(minutes=5),
            expires_at=expires_at,
            reason="a test",
            opt_out="reminders",
            flag=flag,
        )

    def text(self, message: Message) -> str:
        return bootstrap.templates(self.settings).of(message)

    def record(self, message: Message) -> Delivery:
        """Raises KeyError if the ledger has none."""
        return self.store.ledger.get([message.key])[message.key]

    def sent(self) -> list[tuple[str, str]]:
        """Channel and text of every message Discord has accepted."""
        return [(message.channel_id, message.content) for message in self.discord.messages]


class _Quiet(CapturingLogger):
    def bind(self, **_: object) -> _Quiet:
        return self


def _job(decisions: tuple[Decision, ...], job: Job | None) -> Job:
    def decide(_context: Context) -> Iterator[Decision]:
        yield from decisions

    return job or Job("trial", decide)


def _stepping(connect: Connect, death: Death) -> Connect:
    @asynccontextmanager
    async def stepped(on_limited: Callable[[float], None]) -> AsyncIterator[CountingChannel]:
        async with connect(on_limited) as channel:
            yield stepping(channel, REQUESTS, "discord", death)

    def connected(
        on_limited: Callable[[float], None],
    ) -> AbstractAsyncContextManager[CountingChannel]:
        return stepped(on_limited)

    return connected


@pytest.fixture
def discord() -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        yield running


@pytest.fixture
def trial(discord: LoopbackDiscord) -> Iterator[Trial]:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    yield Trial(discord, store)
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
            [COMMAND, "run", "reminders", "--now", NOW.isoformat(), "--json"],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, exit_code: int = 0, **env: str) -> Report:
        """Runs it to its end, which has to be this one."""
        return self.ended(self.start(**env), exit_code)

    def ended(self, process: subprocess.Popen[str], exit_code: int = 0) -> Report:
        out, err = process.communicate(timeout=60)
        assert process.returncode == exit_code, (process.returncode, out, err)
        assert "Traceback" not in err
        return Report(json.loads(out), err)

    def records(self) -> dict[str, Delivery]:
        """By the talk's id."""
        return {record.key.split("/")[1][5:]: record for record in self.store.ledger.list()}

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
