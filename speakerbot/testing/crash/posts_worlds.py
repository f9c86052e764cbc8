"""The small worlds of jobs that post in a channel: weekly, engagement, digest and starting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from importlib import import_module

from speakerbot.clock import real_now
from speakerbot.config import Settings
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import Arrival, Expected, SharedClock, WorldChange, topic
from speakerbot.testing.discord import BOT_ID, DiscordWorld, LoopbackClient

LATE = '3. **Wednesday 2026-11-18, 20:00** - grace and kaz: "Looms" (<t:1795032000:F>)'


class WeeklyWorld:
    """A schedule in two parts, which must stand in order; the second day has two talks. With an odd
    ``variant`` the Node bot has posted it already, and nothing may follow."""

    ends_after: timedelta | None = None
    minute: datetime | None = None
    clock: SharedClock | None = None
    dm_channels: Mapping[str, str] = {}

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.weekly").JOB
        self.now = datetime(2026, 11, 16, 17, 0, tzinfo=UTC)
        self._channel = str(2 * 10**17 + number)
        self._posted = variant % 2 == 1

    def settings(self, base: Settings) -> Settings:
        return replace(base, announcements_channel_id=self._channel, node_bot_coexist=self._posted)

    def fill(self, store: Store) -> None:
        for day in (17, 18):
            topic = f"  <:tada:323456789012345678> {day} @here {'x' * 1500} "
            store.talks.put([Talk(f"t{day}", str(day), "ada", topic, date(2026, 11, day))])
        if not self._posted:
            late = Talk("late", "5", "grace", "Looms", date(2026, 11, 18), starts_at=time(20))
            store.talks.put([replace(late, co_speakers=(Speaker("6", "kaz"),))])

    def _line(self, day: int) -> str:
        topic = f":tada: {day} @\u200bhere {'x' * 1500}"
        return f'{day - 16}. **2026-11-{day}** - ada: "{topic}"'

    def _expected(self, text: str) -> Expected:
        return Expected((Arrival(text, channel_id=self._channel),))

    def furnish(self, discord: LoopbackClient) -> None:
        if self._posted:
            text = "## Upcoming Talks\n\nas the Node bot has them"
            discord.change(DiscordWorld.post, self._channel, BOT_ID, text)

    def expected(self) -> Mapping[str, Expected]:
        if self._posted:
            return {}
        return {
            self._key(): self._expected(f"## Upcoming Talks\n\n{self._line(17)}"),
            f"{self._key()}/2": self._expected(f"{self._line(18)}\n{LATE}"),
        }

    def change(self, event: WorldEvent) -> WorldChange | None:  # noqa: ARG002  # as all worlds
        return None

    def _key(self) -> str:
        return f"weekly/schedule/channel:{self._channel}/2026-W47"

    def problems(self, store: Store) -> Sequence[str]:
        first, second = self._key(), f"{self._key()}/2"
        records = store.ledger.get([first, second])
        if self._posted:
            found = [key for key, record in records.items() if record.found]
            return [] if found == [first] == list(records) else [f"{records} is not the Node bot's"]
        ids = [int(records[key].message_id or 0) for key in (first, second) if key in records]
        return [] if ids == sorted(ids) else ["the second part stands before the first"]


class _OnePost:
    """A calendar without talks, of which a job makes one post. ``variant`` makes no difference."""

    ends_after: timedelta | None = None
    minute: datetime | None = None
    clock: SharedClock | None = None
    dm_channels: Mapping[str, str] = {}

    name: str
    now: datetime
    key: str
    """``{}`` stands for the channel."""
    text: str | re.Pattern[str]
    channels: int
    """The first of its channels' ids."""

    def __init__(self, number: int, variant: int) -> None:  # noqa: ARG002  # as all worlds
        self.job: Job = import_module(f"jobs.{self.name}").JOB
        self.channel = str(self.channels + number)

    def fill(self, store: Store) -> None:
        pass

    def furnish(self, discord: LoopbackClient) -> None:
        pass

    def expected(self) -> Mapping[str, Expected]:
        arrival = Arrival(self.text, channel_id=self.channel)
        return {self.key.format(self.channel): Expected((arrival,))}

    def change(self, event: WorldEvent) -> WorldChange | None:  # noqa: ARG002  # as all worlds
        return None

    def problems(self, store: Store) -> Sequence[str]:
        count = sum(1 for _ in store.ledger.list())
        return [] if count == 1 else [f"{count} posts in the ledger"]


class EngagementWorld(_OnePost):
    """Asks for speakers."""

    name = "engagement"
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    key = "engagement/speakers/channel:{}/first"
    text = (
        "No talks are scheduled for the next 14 days.\n\n"
        "**Would you like to give one?** Mention the bot and say that you want to sign up. "
        "The next free dates:\n"
        "- Friday, **2026-11-27**\n- Friday, **2026-12-04**\n- Friday, **2026-12-11**"
    )
    channels = 3 * 10**17

    def settings(self, base: Settings) -> Settings:
        return replace(base, announcements_channel_id=self.channel)


class DigestWorld(_OnePost):
    """Has nothing to tell. Its text counts what happened lately, so a later try words it again."""

    name = "digest"
    now = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    key = "digest/community/channel:{}/2026-11-20"
    text = re.compile(
        r"## Digest of 2026-11-20\n\n"
        r"\*\*Last 24 hours:\*\* 0 sent, \d failed and to be tried again, 0 undeliverable, "
        r"0 unknown\.( `speakerbot deliveries list` says which and why\.)?\n\n"
        r"\*\*Next 7 days:\*\* no talks\.\n\n"
        r"\*\*Opted out:\*\* nobody\."
    )
    channels = 5 * 10**17

    def settings(self, base: Settings) -> Settings:
        return replace(base, logs_channel_id=self.channel)


class StartingWorld:
    """Talks that start in some hours, which is soon here; two of them at one time, so there can be
    no Node bot. ``variant`` chooses their topics; with an odd one a role is mentioned."""

    ends_after: timedelta | None = timedelta(hours=14)
    minute: datetime | None = None
    dm_channels: Mapping[str, str] = {}
    starts = (
        datetime(2026, 11, 20, 20, 30, tzinfo=UTC),
        datetime(2026, 11, 20, 20, 30, tzinfo=UTC),
        datetime(2026, 11, 21, 0, 10, tzinfo=UTC),
    )
    before = timedelta(hours=12, minutes=15)
    link = "https://example.org/a_b"

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.starting").JOB
        self.now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        # Looks are stored by real clocks only.
        self.clock: SharedClock | None = SharedClock(skew=self.now - real_now())
        self._channel = str(6 * 10**17 + number)
        self._variant = variant
        self._role = "9001" if variant % 2 else None
        self._changed: set[int] = set()

    def settings(self, base: Settings) -> Settings:
        return replace(
            base,
            node_bot_coexist=False,
            announcements_channel_id=self._channel,
            starting_before=self.before,
            starting_mention=self._role,
        )

    def fill(self, store: Store) -> None:
        store.talks.put([self._talk(which) for which in range(len(self.starts))])

    def _talk(self, which: int) -> Talk:
        start = self.starts[which]
        written, _ = topic(self._variant + which)
        clock = time(start.hour, start.minute)
        return Talk(
            f"t{which}", str(which), "ada", written, start.date(), starts_at=clock, link=self.link
        )

    def furnish(self, discord: LoopbackClient) -> None:
        pass

    def expected(self) -> Mapping[str, Expected]:
        return {self._key(which): self._expected(which) for which in range(len(self.starts))}

    def _key(self, which: int) -> str:
        return f"starting/talk:t{which}/channel:{self._channel}/{self.starts[which].date()}"

    def _expected(self, which: int) -> Expected:
        _, shown = topic(self._variant + which)
        role = f"<@&{self._role}> " if self._role else ""
        at = int(self.starts[which].timestamp())
        # As in a text of one line: what stands around a topic is not part of it.
        text = f'{role}**Starting <t:{at}:R>:** ada: "{shown}"\n{self.link}'
        return Expected((Arrival(text, channel_id=self._channel),))

    def change(self, event: WorldEvent) -> WorldChange | None:
        """Each talk is changed once at the most."""
        which = event.which
        if which >= len(self.starts) or which in self._changed:
            return None
        if event.what not in ("cancel", "move"):
            return None
        self._changed.add(which)
        write = _cancel if event.what == "cancel" else _postpone
        return WorldChange(partial(write, self._talk(which)), [self._key(which)])

    def problems(self, store: Store) -> Sequence[str]:
        """Each run has stored that it looked."""
        return [] if store.marks.get("look starting") else ["no look was stored"]


def _cancel(talk: Talk, store: Store) -> None:
    store.talks.delete(talk.id)


def _postpone(talk: Talk, store: Store) -> None:
    store.talks.reschedule(talk.id, talk.date + timedelta(days=7))
