"""The small world of ``changes``: talks booked, moved, cancelled, and moved back after a run that
died before it could note what it had sent; co-speakers who join and leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module

from speakerbot.channels.discord.access import bot_of
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.domain.talk_changes import TalkSnapshot, TalkVersion
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import (
    TOKEN,
    WITHOUT_ARRIVAL,
    Arrival,
    Expected,
    SharedClock,
    WorldChange,
    topic,
)
from speakerbot.testing.discord import DiscordWorld, LoopbackClient

MOVED, BOOKED, CANCELLED, BACK, UNDONE, JOINED, LEFT, NEWCOMER, LEAVER = range(9)
"""Its talks, which are given by the users of the same numbers; the last two are co-speakers: one
joins a talk, the other leaves one."""
FIRST_DAY = date(2026, 11, 27)
SHIFT = timedelta(days=10)


class ChangesWorld:
    """``variant`` shifts who is reached how: in a DM channel that we know, in one to be opened, or
    with closed DMs in their thread."""

    ends_after: timedelta | None = None
    minute: datetime | None = None
    clock: SharedClock | None = None

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.changes").JOB
        self.now = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
        self._base = 4 * 10**17 + number * 1000
        self._variant = variant
        self._talks = [self._talk(part) for part in range(NEWCOMER)]
        self._joined = self._together(JOINED, NEWCOMER)
        self._left = self._together(LEFT, LEAVER)
        co_speakers = (view for each in (self._joined, self._left) for view in [*each.views()][1:])
        self._views = [*self._talks, *co_speakers]
        self.dm_channels: Mapping[str, str] = {
            self._dm_of(each): each.user_id for each in self._views if self._way(each) != 1
        }

    def _together(self, part: int, user: int) -> Talk:
        """The talk of that part, with a co-speaker."""
        return replace(self._talks[part], co_speakers=(Speaker(str(self._base + user), "ada"),))

    def _talk(self, part: int) -> Talk:
        """As it was, or for the booked one as it is."""
        user_id, thread_id = str(self._base + part), str(self._base + 100 + part)
        day, about = FIRST_DAY + timedelta(days=part), topic(part + self._variant)[0]
        return Talk(f"talk{user_id}", user_id, "ada", about, day, self.now, thread_id=thread_id)

    def _part(self, talk: Talk) -> int:
        return int(talk.user_id) - self._base

    def _way(self, talk: Talk) -> int:
        return (self._part(talk) + self._variant) % 3

    def settings(self, base: Settings) -> Settings:
        return replace(base, reminder_routes=("dm", "thread"))

    def fill(self, store: Store) -> None:
        moved, booked, cancelled, back, undone, joined, left = self._talks
        store.talks.put([moved, cancelled, back, undone, joined, self._left])
        store.snapshots.take(self.now)
        moved_on = replace(moved, date=moved.date + SHIFT)
        store.talks.put([booked, moved_on, self._joined, left])
        store.talks.delete(cancelled.id)
        store.snapshots.advance([_noted(back, self.now), _noted(undone, self.now)])
        store.ledger.swap([DeliveryChange(None, self._sent(back))])
        known = {user_id: dm_id for dm_id, user_id in self.dm_channels.items()}
        store.limits.remember_dms(bot_of(TOKEN), known)

    def _sent(self, talk: Talk) -> Delivery:
        """The notice that somebody had read when the run that sent it died."""
        return Delivery(
            key=_key("moved", talk, talk.date, talk.date + SHIFT, sequence=2),
            kind="change.moved",
            recipient=f"user:{talk.user_id}",
            state=DeliveryState.SENT,
            revision="of a run that died",
            run_id="run",
            due_at=self.now,
            expires_at=self.now + timedelta(days=30),
            created_at=self.now,
            updated_at=self.now,
            attempts=1,
        )

    def _dm_of(self, talk: Talk) -> str:
        return str(int(talk.user_id) + 200)

    def furnish(self, discord: LoopbackClient) -> None:
        for talk in self._views:
            if self._way(talk) != 1:
                discord.change(DiscordWorld.add_dm, talk.user_id, self._dm_of(talk))
            if self._way(talk) == 2 and talk.thread_id:
                discord.change(DiscordWorld.close_dms, talk.user_id)
                discord.change(DiscordWorld.add_thread, talk.thread_id, "1")

    def expected(self) -> Mapping[str, Expected]:
        moved, booked, cancelled, back, *_ = self._talks
        newcomer, leaver = self._views[-2:]
        shift = SHIFT
        return {
            _key("moved", moved, moved.date, moved.date + shift, sequence=2): self._moved(
                moved, moved.date, moved.date + shift
            ),
            _key("booked", booked, booked.date, sequence=1): self._booked(booked),
            _key("booked", newcomer, newcomer.date, sequence=1): self._booked(newcomer),
            _key("cancelled", cancelled, cancelled.date, sequence=2): self._cancelled(cancelled),
            _key("cancelled", leaver, leaver.date, sequence=2): self._cancelled(leaver),
            _key("moved", back, back.date + shift, back.date, sequence=3): self._moved(
                back, back.date + shift, back.date
            ),
        }

    def _booked(self, talk: Talk) -> Expected:
        about = f'You are booked to speak on {talk.date} about "{{}}".'
        return self._told(talk, f"{about} Looking forward to your talk!")

    def _cancelled(self, talk: Talk) -> Expected:
        return self._told(talk, f'Your talk about "{{}}" on {talk.date} was cancelled.')

    def _moved(self, talk: Talk, old: date, new: date) -> Expected:
        return self._told(talk, f'Your talk about "{{}}" was moved from {old} to {new}.')

    def _told(self, talk: Talk, sentence: str) -> Expected:
        part = int(talk.id.removeprefix("talk")) - self._base
        text = f"Hi ada! {sentence.format(topic(part + self._variant)[1])}"
        thread = Arrival(f"<@{talk.user_id}> {text}", channel_id=talk.thread_id)
        if self._way(talk) == 2:
            return Expected((thread,))
        return Expected((Arrival(text, user_id=talk.user_id), thread))

    def change(self, event: WorldEvent) -> WorldChange | None:  # noqa: ARG002  # as all worlds
        return None

    def problems(self, store: Store) -> Sequence[str]:
        """Everybody's entry must say what is so, and nothing may be left to announce, but for what
        Discord refused for good: that speaker was not told."""
        records = store.ledger.get(sorted(self.expected()))
        given_up = {each.subject for each in records.values() if each.state in WITHOUT_ARRIVAL}
        differing = [
            f"{pair.key}: not at rest"
            for pair in store.snapshots.differing()
            if f"talk:{pair.key[0]}" not in given_up
        ]
        return differing + [
            f"{entry.talk_id}: {entry.user_id} is thought to know {entry.told}"
            for entry in store.snapshots.all()
            if entry.told != entry.seen and f"talk:{entry.talk_id}" not in given_up
        ]


def _noted(talk: Talk, at: datetime) -> tuple[TalkSnapshot, TalkSnapshot]:
    """From its entry to the one that says that a later date is being announced."""
    known = TalkVersion(talk.date, talk.topic)
    entry = TalkSnapshot(
        talk.id, talk.user_id, known, known, False, 1, at, talk.username, talk.thread_id
    )
    later = replace(known, date=talk.date + SHIFT)
    return entry, replace(entry, seen=later, pending=True, sequence=2)


def _key(kind: str, talk: Talk, *days: date, sequence: int) -> str:
    dates = "..".join(day.isoformat() for day in days)
    return f"change.{kind}/talk:{talk.id}/user:{talk.user_id}/{dates}#{sequence}"
