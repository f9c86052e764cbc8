"""Whatever organisers, speakers, clocks, crashes, Discord and the Node bot do, in any order: every
reminder that was due went exactly once, by us or by the Node bot."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobs.reminders import JOB
from speakerbot.domain.person import Person
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.ports.store import FlagWrite
from speakerbot.stores import open_store
from speakerbot.testing.discord import BOT_ID, NO_LIMITS, DiscordMessage, Fault, LoopbackDiscord
from speakerbot.testing.discord.faults import FaultKind
from speakerbot.testing.run_harness import NOW, Death, RunHarness

pytestmark = pytest.mark.slow

AHEAD = 4
DAYS = [NOW.date() + timedelta(days=n) for n in range(-1, AHEAD + 1)]
WORDS = ("speaking today", "speak tomorrow", *(f"speak in {n} days" for n in range(2, AHEAD)))
"""What only the reminder so many days before says."""
SAID = re.compile(r'\((?P<day>[0-9-]{10})\) about "Topic (?P<talk>t[0-9]+)\."')
USERS = ("11", "12", "13")
STEPS = 40
"""About as many boundaries has a run that sends four messages."""
FAULTS: tuple[FaultKind, ...] = ("lost_response", "reset", "html", "rate_limit", "error")
UNTIL_QUIET = 9
MOST_A_DAY = 2
FLAGS: tuple[Literal["sentDayOfAt", "sentTminus1At"], ...] = ("sentDayOfAt", "sentTminus1At")


@dataclass(frozen=True)
class Due:
    """One reminder of one booking of one talk, so many days before, to its speaker."""

    talk_id: str
    day: date
    before: int
    user_id: str


def topic(talk_id: str) -> str:
    return f"Topic {talk_id}."


class Reminders(RuleBasedStateMachine):
    """The model knows talks, opt-outs, the time, and the rule by which reminders are due."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        discord = LoopbackDiscord(NO_LIMITS).running_in_thread()
        self.discord = self.open.enter_context(discord)
        store = open_store("sqlite:///:memory:")
        store.prepare()
        self.open.callback(store.close)
        self.harness = RunHarness(self.discord, store)
        self.harness.settings = replace(
            self.harness.settings,
            reminder_offsets=parse_offsets(",".join(f"{n}d@16:00" for n in range(AHEAD))),
        )
        self.booked: list[str] = []
        self.speakers: dict[str, set[str]] = {}
        """Who has ever been the main speaker of a talk: the Node bot's flags were theirs."""
        self.co_speakers: dict[str, set[str]] = {}
        self.by_node_bot: dict[tuple[str, date, int], str] = {}
        """Whom the Node bot has reminded, by talk, date and days before. Its flag does not say."""
        self.opted_out: set[str] = set()

    def teardown(self) -> None:
        self.open.close()

    @initialize(
        closed=st.sampled_from([None, *USERS]), speakers=st.tuples(*4 * [st.sampled_from(USERS)])
    )
    def some_talks_are_booked(self, closed: str | None, speakers: tuple[str, ...]) -> None:
        """Today and on the next days; somebody may take no direct messages."""
        if closed:
            self.discord.world.close_dms(closed)
        for day, user in zip(DAYS[1:], speakers, strict=False):
            self.book(day, user)

    # What people do.

    @rule(day=st.sampled_from(DAYS), user=st.sampled_from(USERS))
    def book(self, day: date, user: str) -> None:
        if len(self._on(day)) < MOST_A_DAY:
            talk_id = f"t{len(self.booked)}"
            self.booked.append(talk_id)
            self.speakers[talk_id], self.co_speakers[talk_id] = {user}, set()
            self.harness.store.talks.put(
                [Talk(talk_id, user, "ada", topic(talk_id), day, thread_id=f"7{user}")]
            )

    @rule(index=st.integers(0, 9), day=st.sampled_from(DAYS))
    def reschedule(self, index: int, day: date) -> None:
        """As the Node bot does: the flags stay."""
        if (talk := self._talk(index)) and len(self._on(day)) < MOST_A_DAY:
            self.harness.store.talks.reschedule(talk.id, day)

    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        if talk := self._talk(index):
            self.harness.store.talks.delete(talk.id)

    @rule(index=st.integers(0, 9), user=st.sampled_from(USERS))
    def hand_over(self, index: int, user: str) -> None:
        """The thread, the flags and the co-speakers stay. Not to who ever was one of these: of
        their reminder the Node bot knows nothing."""
        talk = self._talk(index)
        if talk and user not in self.co_speakers[talk.id]:
            self.speakers[talk.id].add(user)
            self.harness.store.talks.put([replace(talk, user_id=user)])

    @rule(index=st.integers(0, 9), user=st.sampled_from(USERS))
    def join_or_leave(self, index: int, user: str) -> None:
        """Not someone who was the talk's speaker: the Node bot may have reminded them."""
        talk = self._talk(index)
        if talk is None or user in self.speakers[talk.id]:
            return
        self.co_speakers[talk.id].add(user)
        others = tuple(each for each in talk.co_speakers if each.user_id != user)
        if len(others) == len(talk.co_speakers):
            others = (*others, Speaker(user, "grace"))
        self.harness.store.talks.put([replace(talk, co_speakers=others)])

    @rule(user=st.sampled_from(USERS))
    def change_of_mind(self, user: str) -> None:
        self.opted_out ^= {user}
        wishes = frozenset({"reminders"} & ({"reminders"} if user in self.opted_out else set()))
        self.harness.store.people.put([Person(f"p{user}", discord_user_id=user, opted_out=wishes)])

    # What time does.

    @rule(minutes=st.sampled_from([1, 3, 6, 31, 8 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.harness.later(timedelta(minutes=minutes))

    @rule(minutes=st.sampled_from([-90, -3, 3, 90]))
    def our_clock_is_set(self, minutes: int) -> None:
        """Discord's goes on as it should."""
        step = timedelta(minutes=minutes)
        self.harness.clock = replace(self.harness.clock, skew=self.harness.clock.skew + step)

    # What programs do.

    @rule()
    def run(self) -> None:
        self.harness.run(job=JOB)

    @rule(step=st.integers(1, STEPS))
    def run_and_die(self, step: int) -> None:
        self.harness.run_until(Death(None, step), job=JOB)

    @rule(steps=st.tuples(*2 * [st.integers(1, STEPS)]), pause=st.sampled_from([0, 6]))
    def run_and_die_twice(self, steps: tuple[int, int], pause: int) -> None:
        for step in steps:
            self.harness.run_until(Death(None, step), job=JOB)
            self.harness.later(timedelta(minutes=pause))

    @rule(kind=st.sampled_from(FAULTS), nth=st.integers(1, 2))
    def run_in_trouble(self, kind: FaultKind, nth: int) -> None:
        fault = Fault(kind=kind, on="create_message", nth=nth, status=503, retry_after=100)
        self.discord.inject(fault)
        self.harness.run(job=JOB)
        self.discord.clear_faults()

    @rule(kind=st.sampled_from(FAULTS), hours=st.sampled_from([0.1, 1, 3]))
    def discord_is_down(self, kind: FaultKind, hours: float) -> None:
        """Each request fails, of runs before, in the middle and at the end."""
        self.discord.inject(Fault(kind=kind, status=503, retry_after=600, times=None))
        self.harness.run(job=JOB)
        for _ in range(2):
            self.harness.later(timedelta(hours=hours / 2))
            self.harness.run(job=JOB)
        self.discord.clear_faults()

    @rule()
    def node_bot_runs(self) -> None:
        """It looks at nothing but its flags, sends, then sets them."""
        now = self.harness.clock.decision()
        for before, flag in enumerate(FLAGS):
            talks = self._on(now.date() + timedelta(days=before))
            for talk in talks if now.time() >= time(16) else ():
                if (talk.sent_tminus1_at if before else talk.sent_day_of_at) is None:
                    text = f'Hi! You {WORDS[before]} ({talk.date}) about "{talk.topic}".'
                    self.discord.world.post(f"9{talk.user_id}", BOT_ID, text)
                    self.by_node_bot[talk.id, talk.date, before] = talk.user_id
                    self.harness.store.talks.write_flags([FlagWrite(talk.id, flag, None, now)])

    # What must be true.

    @invariant()
    def nothing_went_twice(self) -> None:
        read = Counter(self._read(message) for message in self.discord.messages)
        twice = [one for one, times in read.items() if times > 1]
        assert not twice, (twice, self._texts())

    @rule()
    def all_that_is_due_goes_in_the_end(self) -> None:
        """When nothing else happens for a while; what waits is tried again meanwhile."""
        due = self._due()
        for _ in range(UNTIL_QUIET):
            self.harness.later(timedelta(minutes=31))
            self.harness.run(job=JOB)
            if not self._waiting():
                break
        for one in due & self._due():
            assert self._sent(one), (one, self._texts(), list(self.harness.store.ledger.list()))

    def _waiting(self) -> bool:
        states = {record.state for record in self.harness.store.ledger.list()}
        return bool(states & {"claimed", "failed"})

    def _texts(self) -> list[str]:
        return [message.content for message in self.discord.messages]

    def _sent(self, one: Due) -> bool:
        return any(self._read(message) == one for message in self.discord.messages)

    def _read(self, message: DiscordMessage) -> Due:
        """Which reminder it is."""
        said = SAID.search(message.content)
        [before] = [n for n, word in enumerate(WORDS) if word in message.content]
        user_id = self._reader(message)
        assert said, message.content
        assert user_id, message
        return Due(said["talk"], date.fromisoformat(said["day"]), before, user_id)

    def _reader(self, message: DiscordMessage) -> str | None:
        """Whose direct messages it stands in, ours or those of the Node bot; whom it mentions in
        a thread."""
        if message.users_notified:
            return message.users_notified[0]
        dms = {dm.channel_id: dm.user_id for dm in self.discord.dms_opened}
        return dms.get(message.channel_id) or message.channel_id.removeprefix("9")

    def _due(self) -> set[Due]:
        """By the rule alone: from 16:00 until the day ends. Who takes a talk over after the Node
        bot has reminded the speaker before looks reminded, too."""
        now = self.harness.clock.decision()
        if now.time() < time(16):
            return set()
        due = {
            Due(talk.id, talk.date, (talk.date - now.date()).days, each.user_id)
            for talk in self.harness.store.talks.all()
            for each in talk.speakers
            if each.user_id not in self.opted_out
            and not (each.user_id == talk.user_id and self._looks_reminded(talk, now.date()))
        }
        return {one for one in due if 0 <= one.before < AHEAD}

    def _looks_reminded(self, talk: Talk, today: date) -> bool:
        by_node_bot = self.by_node_bot.get((talk.id, talk.date, (talk.date - today).days))
        return by_node_bot not in (None, talk.user_id)

    def _on(self, day: date) -> list[Talk]:
        return list(self.harness.store.talks.between(day, day))

    def _talk(self, index: int) -> Talk | None:
        talks = list(self.harness.store.talks.all())
        return talks[index % len(talks)] if talks else None


WANTED = os.environ.get("SPEAKERBOT_CRASH_SCHEDULES")
"""So many examples, another choice each time; else always the same few."""
TestReminders = Reminders.TestCase
TestReminders.settings = settings(
    max_examples=int(WANTED or 60),
    stateful_step_count=30,
    deadline=None,
    derandomize=WANTED is None,
    suppress_health_check=list(HealthCheck),
)


def test_the_machine_begins_in_the_afternoon() -> None:
    """Else nothing would be due, and everything held."""
    assert datetime(2026, 11, 20, 16, tzinfo=UTC) < NOW
