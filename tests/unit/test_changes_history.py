"""Whatever happens to talks, runs, the network and the clock: each speaker's notices tell one true
story. Every one begins where the one before ended, tells what is so, and in the end nobody is left
with an outdated one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from jobs.changes import JOB
from speakerbot.bootstrap import templates as templates_of
from speakerbot.channels.discord.access import CAPABILITIES, nonce_of
from speakerbot.channels.discord.channel import DiscordChannel
from speakerbot.clock import Clock, real_now
from speakerbot.config import Settings
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.errors import DateTaken
from speakerbot.ports.channel import (
    ChannelAccess,
    ChannelHost,
    Channels,
    Posted,
    Ready,
    RefusalClass,
    Refused,
)
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.runs.runner import Runner
from speakerbot.runs.steps import carry_out
from speakerbot.stores import open_store
from speakerbot.testing.crash.boundaries import REQUESTS, stepping, stepping_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from speakerbot.channels.discord.api import DiscordApi

START = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
FIRST_DAY = date(2026, 11, 22)
NONCE_WINDOW = timedelta(minutes=3)
TALKS = st.sampled_from(["a", "b"])
STEADY, FICKLE = ("1", "2"), ("3", "4")
"""Speakers who take every message, and those who now and then opt out or close their DMs."""
DAYS = st.integers(0, 3).map(lambda days: FIRST_DAY + timedelta(days=days))
WAITS = st.sampled_from(
    [timedelta(minutes=1), timedelta(minutes=6), timedelta(hours=1), timedelta(hours=20)]
)
FAULTS = st.sampled_from(["refused", "lost", "vague"])
SNAPSHOTS = ("take", "advance", "differing", "pending")
"""Talks may change before each look at them, too."""
Known = dict[tuple[str, str], date | None]


def _silence(*_: Any) -> Any:
    raise structlog.DropEvent


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Mailbox:
    """A Discord of direct messages only, with its memory of nonces."""

    now: Callable[[], datetime]
    accepted: Callable[[str, str], None]
    """Is told of each message: the user and the text."""
    faults: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    posts_made: list[tuple[str, Posted, str]] = field(default_factory=list)
    requests: int = 0
    rate_limited: int = 0
    invalid_requests: int = 0

    async def open_dm(self, user_id: str) -> str:
        return f"dm{user_id}"

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None,  # noqa: ARG002  # the port's
        ready: Ready,
    ) -> str:
        await ready()
        fault = self.faults.pop() if self.faults else ""
        if fault in ("refused", "vague"):
            raise Refused(RefusalClass.SERVICE, "503", maybe_accepted=fault == "vague")
        user = channel_id.removeprefix("dm")
        if user in self.closed:
            raise Refused(RefusalClass.RECIPIENT, "closed DMs")
        posted = self._posted(channel_id, text, nonce)
        if fault == "lost":
            raise Refused(RefusalClass.SERVICE, "no answer", maybe_accepted=True)
        return posted.id

    def _posted(self, channel_id: str, text: str, nonce: str) -> Posted:
        now = self.now()
        for where, earlier, its_nonce in self.posts_made:
            if (where, its_nonce) == (channel_id, nonce) and now - earlier.at <= NONCE_WINDOW:
                return earlier
        posted = Posted(str(len(self.posts_made) + 1), text, now)
        self.posts_made.append((channel_id, posted, nonce))
        self.accepted(channel_id.removeprefix("dm"), text)
        return posted

    async def find(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,  # noqa: ARG002  # not shown when messages are read back
        since: datetime,
        known: Collection[str],
        author: str | None,  # noqa: ARG002  # there is one bot
    ) -> str | None:
        for where, posted, _ in self.posts_made:
            same = (where, posted.text) == (channel_id, text)
            if same and posted.at >= since and posted.id not in known:
                return posted.id
        return None

    async def probe(self) -> None:
        """It works."""


class History(RuleBasedStateMachine):
    """Edits of talks, wishes of people, runs that die or meet faults, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.store: Store = open_store("sqlite:///:memory:")
        self.store.prepare()
        self.clock = Clock(offset=START - real_now())
        self.mailbox = Mailbox(lambda: self.clock.real(), self._heard)
        self.settings = Settings(
            "sqlite:///:memory:", discord_token="t", rate=1e6, new_dm_every=timedelta(0)
        )
        self.known: Known = {}
        """What each speaker would say about each talk, from the messages they got."""
        self.true_now: dict[tuple[str, str], set[date | None]] = {}
        """What has been so at some moment of the present run."""
        self.run_once()  # the first snapshot, of nothing

    def teardown(self) -> None:
        self.mailbox.faults.clear()
        for _ in range(12):
            self.wait(timedelta(minutes=31))
            self.run_once()
        sent = len(self.mailbox.posts_made)
        self.run_once()
        assert len(self.mailbox.posts_made) == sent, "a run with nothing to do sends"
        truth = self._truth()
        for talk, user in {*self.known, *truth}:
            told, so = self.known.get((talk, user)), truth.get((talk, user))
            last = max((day for day in (told, so) if day), default=None)
            if user in STEADY and last and self.clock.decision().date() <= last:
                assert told == so, f"{user} believes {talk} is on {told}, but it is on {so}"
        self.store.close()

    # What people do

    @rule(talk=TALKS, user=st.sampled_from(STEADY + FICKLE), day=DAYS)
    def book_or_hand_over(self, talk: str, user: str, day: date) -> None:
        """An import can bring a cancelled talk back under its id, or give it another speaker."""
        with suppress(DateTaken):
            self.store.talks.put([Talk(talk, user, f"user {user}", f"topic {talk}", day)])
        self._note_truth()

    @rule(talk=TALKS, day=DAYS)
    def move(self, talk: str, day: date) -> None:
        with suppress(DateTaken):
            self.store.talks.reschedule(talk, day)
        self._note_truth()

    @rule(talk=TALKS)
    def cancel(self, talk: str) -> None:
        self.store.talks.delete(talk)
        self._note_truth()

    @rule(user=st.sampled_from(FICKLE), out=st.booleans())
    def opt(self, user: str, out: bool) -> None:
        kinds = frozenset(["changes"] if out else [])
        self.store.people.put([Person(user, discord_user_id=user, opted_out=kinds)])

    @rule(user=st.sampled_from(FICKLE))
    def close_or_open_dms(self, user: str) -> None:
        self.mailbox.closed ^= {user}

    @rule(time=WAITS)
    def wait(self, time: timedelta) -> None:
        self.clock = replace(self.clock, skew=self.clock.skew + time)

    @rule(
        kill_at=st.none() | st.integers(1, 30),
        faults=st.lists(FAULTS, max_size=3),
        limit=st.none() | st.integers(0, 1),
        meanwhile=st.none() | st.tuples(TALKS, DAYS | st.none(), st.booleans()),
        at=st.integers(1, 10),
        undone=st.booleans(),
    )
    def run(
        self,
        kill_at: int | None,
        faults: list[str],
        limit: int | None,
        meanwhile: tuple[str, date | None, bool] | None,
        at: int,
        undone: bool,
    ) -> None:
        """A run that may die, meet faults, and in the midst of which a talk changes, perhaps not
        for long, and another run settles what it finds."""

        def reached(number: int) -> None:
            if meanwhile and number == at:
                talk, day, settled = meanwhile
                self.move(talk, day) if day else self.cancel(talk)
                if settled and JOB.steps:
                    now = self.clock.decision()
                    context = JobContext(
                        self.store, self.settings, now, settled=True, templates=templates_of()
                    )
                    carry_out(JOB.steps(context), self.store, self.clock.real())

        before = self.store.talks.get(meanwhile[0]) if meanwhile else None
        self.mailbox.faults = list(faults)
        self.run_once(kill_at, reached, RunOptions(limit=limit))
        self.mailbox.faults.clear()
        if before and undone:
            self.book_or_hand_over(before.id, before.user_id, before.date)

    # How it is run and judged

    def run_once(
        self,
        kill_at: int | None = None,
        reached: Callable[[int], None] = lambda _: None,
        order: RunOptions | None = None,
    ) -> None:
        self.true_now = {}
        self._note_truth()
        steps = _Steps(kill_at, reached)
        store = stepping_store(self.store, steps)
        store.snapshots = stepping(self.store.snapshots, SNAPSHOTS, "snapshots", steps)
        with suppress(Killed):
            Runner(
                job=JOB,
                options=order or RunOptions(),
                retry_within=timedelta(),
                timeout=None,
                store=store,
                settings=self.settings,
                templates=templates_of(),
                channels=self._channels(steps),
                observers=(),
                log=structlog.wrap_logger(None, processors=[_silence]),
                clock=self.clock,
            ).run()

    def _channels(self, steps: Callable[[str], None]) -> Channels:
        @asynccontextmanager
        async def opened(host: ChannelHost) -> AsyncIterator[DiscordChannel]:
            api = stepping(self.mailbox, REQUESTS, "discord", steps)
            yield DiscordChannel(cast("DiscordApi", api), host, new_dm_every=0.0)

        return {"discord": ChannelAccess("discord", "bot", CAPABILITIES, nonce_of, opened)}

    def _truth(self) -> Known:
        return {(talk.id, talk.user_id): talk.date for talk in self.store.talks.all()}

    def _note_truth(self) -> None:
        truth = self._truth()
        for key in {*truth, *self.known, *self.true_now}:
            self.true_now.setdefault(key, set()).add(truth.get(key))

    def _heard(self, user: str, text: str) -> None:
        talk = text.partition('"topic ')[2][:1]
        days = [
            date.fromisoformat(word) for word in text.replace(".", "").split() if word[:3] == "202"
        ]
        new = None if "cancelled" in text else days[-1]
        old = days[0] if "moved" in text or "cancelled" in text else None
        assert self.known.get((talk, user)) == old, f"{user} knows otherwise: {text}"
        assert new in self.true_now.get((talk, user), {None}), f"not so any more: {text}"
        self.known[talk, user] = new


class _Steps:
    """RunCounts boundaries; edits happen at those of the store, where nothing is under way."""

    def __init__(self, kill_at: int | None, reached: Callable[[int], None]) -> None:
        self._kill_at = kill_at
        self._reached = reached
        self._all: Iterator[int] = count(1)
        self._stores: Iterator[int] = count(1)
        self._dead = False

    def __call__(self, name: str) -> None:
        if self._dead or next(self._all) == self._kill_at:
            self._dead = True
            raise Killed
        if "discord" not in name:
            self._reached(next(self._stores))


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
