"""Jobs run for real in this process, against a loopback Discord: for tests of jobs and engine.

For runs in processes of their own that are killed, see :mod:`speakerbot.testing.crash`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from structlog.testing import CapturingLogger

from speakerbot import bootstrap
from speakerbot.channels.discord.access import bot_of
from speakerbot.clock import Clock, real_now
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery
from speakerbot.domain.job_registry import JobRegistry, RunOptions
from speakerbot.domain.message import Decision, Message, NodeFlag, Route
from speakerbot.errors import SpeakerbotError
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.report import MessageOutcome, RunHeader, RunSummary, ServiceChange
from speakerbot.runs.service import RunService
from speakerbot.testing.crash.boundaries import Reached, stepping_channels, stepping_store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from speakerbot.ports.channel import Channels
    from speakerbot.runs.runner import Runner

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TOKEN = "harness"  # noqa: S105  # the loopback takes any


class Died(BaseException):
    """The process is dead: nothing it does from now on has any effect."""


@dataclass
class Death:
    """Comes at the nth time a run reaches this boundary, or any (see speakerbot.testing.crash)."""

    at: str | None
    nth: int = 1
    dead: bool = False

    def __call__(self, boundary: str) -> None:
        if self.at in (None, boundary):
            self.nth -= 1
            self.dead = self.dead or self.nth == 0
        if self.dead:
            raise Died(boundary)


@dataclass
class Ended:
    """What became of a run."""

    outcomes: list[MessageOutcome] = field(default_factory=list)
    changes: list[ServiceChange] = field(default_factory=list)
    summary: RunSummary | None = None
    error: SpeakerbotError | None = None

    def begin(self, header: RunHeader) -> None:
        pass

    def add(self, outcome: MessageOutcome) -> None:
        self.outcomes.append(outcome)

    def change(self, change: ServiceChange) -> None:
        self.changes.append(change)

    def end(self, summary: RunSummary) -> None:
        self.summary = summary

    @property
    def states(self) -> list[str]:
        return [outcome.state for outcome in self.outcomes]


class RunHarness:
    """Jobs run for real in this process. Its clock is set to NOW and can be moved."""

    def __init__(self, discord: LoopbackDiscord, store: Store) -> None:
        self.discord = discord
        self.store = store
        self.clock = Clock(offset=NOW - real_now())
        self.retry_within = timedelta()
        """None by default: what a later run does is looked at one run at a time."""
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
        self, *decisions: Decision, options: RunOptions | None = None, job: Job | None = None
    ) -> Ended:
        """One run of a job that decides exactly this."""
        return self.run_with(_nothing_special, *decisions, options=options, job=job)

    def run_with(
        self,
        reached: Reached,
        *decisions: Decision,
        options: RunOptions | None = None,
        job: Job | None = None,
    ) -> Ended:
        """One run that calls ``reached`` at every boundary; their names are those of
        speakerbot.testing.crash."""
        ended = Ended()
        store = stepping_store(self.store, reached)
        channels = stepping_channels(bootstrap.channels(self.settings), reached)
        runner = self._runner(ended, _job(decisions, job), options, store, channels)
        try:
            runner.run()
        except SpeakerbotError as error:
            ended.error = error
        return ended

    def die(self, at: str, *decisions: Decision, nth: int = 1, job: Job | None = None) -> None:
        """One run that dies the nth time it reaches this boundary. Raises AssertionError if it
        does not."""
        death = Death(at, nth)
        self.run_until(death, *decisions, job=job)
        assert death.dead, f"it never reached {at!r}"  # noqa: S101

    def run_until(self, death: Death, *decisions: Decision, job: Job | None = None) -> None:
        """One run that dies if it reaches that point."""
        with suppress(Died):
            self.run_with(death, *decisions, job=job)

    def _runner(
        self, ended: Ended, job: Job, options: RunOptions | None, store: Store, channels: Channels
    ) -> Runner:
        service = RunService(self.settings, NO_JOBS, log=_Quiet(), retry_within=self.retry_within)
        return service.runner(
            job, options or RunOptions(), store, channels, (ended,), self.clock, timeout=None
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
            kind="harness",
            subject="talk:1",
            recipient=f"user:{user_id}",
            occasion=occasion,
            routes=routes or (Route("dm", user_id),),
            template="reminder.day_of",
            values={
                "username": f"user {user_id}",
                "date": "2026-11-20",
                "topic": topic,
                "starts_at": "",
            },
            due_at=NOW - timedelta(minutes=5),
            expires_at=expires_at,
            reason="a test",
            opt_out="reminders",
            flag=flag,
        )

    def text(self, message: Message) -> str:
        return bootstrap.templates(self.settings.templates).of(message)

    def record(self, message: Message) -> Delivery:
        """Raises KeyError if the ledger has none."""
        return self.store.ledger.get([message.key])[message.key]

    def sent(self) -> list[tuple[str, str]]:
        """Channel and text of every message Discord has accepted."""
        return [(message.channel_id, message.content) for message in self.discord.messages]


NO_JOBS = JobRegistry()


class _Quiet(CapturingLogger):
    def bind(self, **_: object) -> _Quiet:
        return self


def _nothing_special(_boundary: str) -> None:
    pass


def _job(decisions: tuple[Decision, ...], job: Job | None) -> Job:
    def decide(_context: JobContext) -> Iterator[Decision]:
        yield from decisions

    return job or Job("harness", decide)
