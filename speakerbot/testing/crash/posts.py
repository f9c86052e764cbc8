"""The small worlds of jobs that post in a channel: weekly, engagement and digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib import import_module

from speakerbot.config import Settings
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.world import Expected
from speakerbot.testing.discord import BOT_ID, DiscordWorld, LoopbackClient


class WeeklyWorld:
    """A schedule in two parts, which must stand in order. With an odd ``variant`` the Node bot has
    posted it already, and nothing may follow."""

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.weekly").JOB
        self.now = datetime(2026, 11, 16, 17, 0, tzinfo=UTC)
        self._number = number
        self._channel = str(2 * 10**17 + number)
        self._posted = variant % 2 == 1

    def settings(self, base: Settings) -> Settings:
        return replace(base, announcements_channel_id=self._channel)

    def fill(self, store: Store) -> None:
        for day in (17, 18):
            topic = f"{self._topic(day)} {'x' * 1500}"
            store.talks.put([Talk(f"t{day}", str(day), "ada", topic, date(2026, 11, day))])

    def _topic(self, day: int) -> str:
        return f"talk {day} of {self._number}."

    def furnish(self, discord: LoopbackClient) -> None:
        if self._posted:
            text = "## Upcoming Talks\n\nas the Node bot has them"
            discord.change(DiscordWorld.post, self._channel, BOT_ID, text)

    def expected(self) -> Mapping[str, Expected]:
        if self._posted:
            return {}
        return {
            self._key(): Expected(self._topic(17), channel_id=self._channel),
            f"{self._key()}/2": Expected(self._topic(18), channel_id=self._channel),
        }

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

    name: str
    now: datetime
    key: str
    """``{}`` stands for the channel."""
    heading: str
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
        return {self.key.format(self.channel): Expected(self.heading, channel_id=self.channel)}

    def problems(self, store: Store) -> Sequence[str]:
        count = sum(1 for _ in store.ledger.list())
        return [] if count == 1 else [f"{count} posts in the ledger"]


class EngagementWorld(_OnePost):
    """Asks for speakers."""

    name = "engagement"
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    key = "engagement/speakers/channel:{}/first"
    heading = "The next free dates"
    channels = 3 * 10**17

    def settings(self, base: Settings) -> Settings:
        return replace(base, announcements_channel_id=self.channel)


class DigestWorld(_OnePost):
    """Has nothing to tell. Its text counts what happened lately, so a later try words it anew."""

    name = "digest"
    now = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    key = "digest/community/channel:{}/2026-11-20"
    heading = "Digest of 2026-11-20"
    channels = 4 * 10**17

    def settings(self, base: Settings) -> Settings:
        return replace(base, logs_channel_id=self.channel)
