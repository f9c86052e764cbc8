"""Whatever organisers, speakers, clocks, crashes, Discord and the Node bot do, in any order: every
reminder that was due went exactly once, by us or by the Node bot."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs.reminders import JOB
from speakerbot.offsets import parse_offsets
from speakerbot.people import Person
from speakerbot.ports import FlagWrite
from speakerbot.stores import open_store
from speakerbot.talks import Talk
from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackDiscord
from speakerbot.testing.discord.faults import FaultKind
from speakerbot.testing.discord.state import BOT_ID
from speakerbot.testing.trial import NOW, Death, Trial

pytestmark = pytest.mark.slow

DAYS = [NOW.date() + timedelta(days=n) for n in range(-1, 4)]
USERS = ("11", "12", "13")
BOUNDARIES = (
    "before ledger.swap", "after ledger.swap", "before talks.write_flags",
    "after talks.write_flags", "before discord.open_dm", "after discord.open_dm",
    "before discord.send", "after discord.send", "after discord.find", "before limits.reserve",
    "before limits.remember_dms", "after limits.remember_dms", "before runs.put",
)  # fmt: skip
FAULTS: tuple[FaultKind, ...] = ("lost_response", "reset", "html", "rate_limit", "error")
UNTIL_QUIET = 9
Reminder = Literal["tomorrow", "today"]


@dataclass(frozen=True)
class Due:
    """One reminder of one booking of one talk."""

    talk_id: str
    user_id: str
    day: date
    reminder: Reminder

    def is_in(self, text: str, topic: str) -> bool:
        words = "speaking today" if self.reminder == "today" else "speak tomorrow"
        return words in text and f'"{topic}"' in text and str(self.day) in text


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
        self.trial = Trial(self.discord, store)
        self.trial.settings = replace(
            self.trial.settings, reminder_offsets=parse_offsets("1d@16:00,0d@16:00")
        )
        self.topics: dict[str, str] = {}
        self.opted_out: set[str] = set()

    def teardown(self) -> None:
        self.open.close()

    @initialize(
        closed=st.sampled_from([None, *USERS]), speakers=st.tuples(*2 * [st.sampled_from(USERS)])
    )
    def two_talks_are_booked(self, closed: str | None, speakers: tuple[str, str]) -> None:
        """Today and tomorrow; somebody may take no direct messages."""
        if closed:
            self.discord.world.close_dms(closed)
        for day, user in zip(DAYS[1:], speakers, strict=False):
            self.book(day, user)

    # What people do.

    @rule(day=st.sampled_from(DAYS), user=st.sampled_from(USERS))
    def book(self, day: date, user: str) -> None:
        if self.trial.store.talks.get(str(day)) is None:
            talk_id = f"t{len(self.topics)}"
            self.topics[talk_id] = f"Topic {talk_id}."
            talk = Talk(talk_id, user, "ada", self.topics[talk_id], day, thread_id=f"7{user}")
            self.trial.store.talks.put([talk])

    @rule(index=st.integers(0, 9), day=st.sampled_from(DAYS))
    def reschedule(self, index: int, day: date) -> None:
        """As the Node bot does: the flags stay."""
        if (talk := self._talk(index)) and self.trial.store.talks.get(str(day)) is None:
            self.trial.store.talks.reschedule(talk.id, day)

    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        if talk := self._talk(index):
            self.trial.store.talks.delete(talk.id)

    @rule(user=st.sampled_from(USERS))
    def change_of_mind(self, user: str) -> None:
        self.opted_out ^= {user}
        wishes = frozenset({"reminders"} & ({"reminders"} if user in self.opted_out else set()))
        self.trial.store.people.put([Person(f"p{user}", discord_user_id=user, opted_out=wishes)])

    # What time does.

    @rule(minutes=st.sampled_from([1, 3, 6, 31, 8 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.trial.later(timedelta(minutes=minutes))

    @rule(minutes=st.sampled_from([-90, -3, 3, 90]))
    def our_clock_is_set(self, minutes: int) -> None:
        """Discord's goes on as it should."""
        step = timedelta(minutes=minutes)
        self.trial.clock = replace(self.trial.clock, skew=self.trial.clock.skew + step)

    # What programs do.

    @rule()
    def run(self) -> None:
        self.trial.run(job=JOB)

    @rule(at=st.sampled_from(BOUNDARIES), nth=st.integers(1, 3))
    def run_and_die(self, at: str, nth: int) -> None:
        self.trial.run_until(Death(at, nth), job=JOB)

    @rule(kind=st.sampled_from(FAULTS), nth=st.integers(1, 2))
    def run_in_trouble(self, kind: FaultKind, nth: int) -> None:
        fault = Fault(kind=kind, on="create_message", nth=nth, status=503, retry_after=100)
        self.discord.inject(fault)
        self.trial.run(job=JOB)
        self.discord.clear_faults()

    @rule()
    def node_bot_runs(self) -> None:
        """It looks at nothing but its flags, sends, then sets them."""
        today = self.trial.clock.decision().date()
        self._node_bot_reminds(today, "today", "sentDayOfAt")
        self._node_bot_reminds(today + timedelta(days=1), "tomorrow", "sentTminus1At")

    def _node_bot_reminds(
        self, day: date, reminder: Reminder, flag: Literal["sentDayOfAt", "sentTminus1At"]
    ) -> None:
        talk = self.trial.store.talks.get(str(day))
        if talk is None or self.trial.clock.decision().time() < time(16):
            return
        seen = talk.sent_day_of_at if reminder == "today" else talk.sent_tminus1_at
        if seen is None:
            words = "you're speaking today" if reminder == "today" else "you speak tomorrow"
            text = f'Hi! {words} ({day}) about "{talk.topic}".'
            self.discord.world.post(f"9{talk.user_id}", BOT_ID, text)
            now = self.trial.clock.decision()
            self.trial.store.talks.write_flags([FlagWrite(talk.id, flag, None, now)])

    # What must be true.

    @invariant()
    def nothing_went_twice(self) -> None:
        texts = [message.content for message in self.discord.messages]
        for talk_id, topic in self.topics.items():
            for day in DAYS:
                for reminder in ("today", "tomorrow"):
                    one = Due(talk_id, "", day, reminder)
                    sent = [text for text in texts if one.is_in(text, topic)]
                    assert len(sent) <= 1, sent

    @precondition(lambda self: self.topics)
    @rule()
    def all_that_is_due_goes_in_the_end(self) -> None:
        """Within hours in which nothing else happens; what waits is tried again meanwhile."""
        due = self._due()
        for _ in range(UNTIL_QUIET):
            self.trial.later(timedelta(minutes=31))
            self.trial.run(job=JOB)
        still_in_time = due & self._due()
        texts = [message.content for message in self.discord.messages]
        for one in still_in_time:
            topic = self.topics[one.talk_id]
            assert any(one.is_in(text, topic) for text in texts), (one, self._records())

    def _due(self) -> set[Due]:
        """By the rule alone: from 16:00 until the day ends, the day before and the day itself."""
        now = self.trial.clock.decision()
        if now.time() < time(16):
            return set()
        talks = [
            talk for talk in self.trial.store.talks.all() if talk.user_id not in self.opted_out
        ]
        tomorrow = now.date() + timedelta(days=1)
        return {
            Due(
                talk.id, talk.user_id, talk.date, "today" if talk.date == now.date() else "tomorrow"
            )
            for talk in talks
            if talk.date in (now.date(), tomorrow)
        }

    def _talk(self, index: int) -> Talk | None:
        talks = list(self.trial.store.talks.all())
        return talks[index % len(talks)] if talks else None

    def _records(self) -> list[object]:
        return list(self.trial.store.ledger.list())


WANTED = os.environ.get("SPEAKERBOT_CRASH_SCHEDULES")
"""So many examples, another choice each time; else always the same few."""
TestReminders = Reminders.TestCase
TestReminders.settings = settings(
    max_examples=int(WANTED or 50),
    stateful_step_count=30,
    deadline=None,
    derandomize=WANTED is None,
    suppress_health_check=list(HealthCheck),
)


def test_the_machine_begins_in_the_afternoon() -> None:
    """Else nothing would be due, and everything held."""
    assert datetime(2026, 11, 20, 16, tzinfo=UTC) < NOW
