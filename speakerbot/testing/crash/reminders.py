"""The reminders job's small world: four talks, each reached another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from itertools import permutations
from typing import Literal

from speakerbot.config import Settings
from speakerbot.delivery.session import bot_of
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.world import TOKEN, Expected
from speakerbot.testing.discord import DiscordWorld, LoopbackClient

DAY = date(2026, 11, 20)
KINDS = ("reminder.day_of", "reminder.day_before", "reminder.2d", "reminder.3d")
FLAGS = ("sent_day_of_at", "sent_tminus1_at", None, None)
Way = Literal["known", "new", "closed", "refused"]
WAYS: tuple[Way, ...] = ("known", "new", "closed", "refused")
"""A DM channel we know; one to be opened; closed DMs, then a thread; DMs that cannot even be
opened, then a thread that sleeps and has to be woken."""


@dataclass(frozen=True, slots=True)
class _Person:
    """The speaker of the talk so many days ahead."""

    way: Way
    days: int
    number: int

    @property
    def user_id(self) -> str:
        return str(self.number + 100)

    @property
    def thread_id(self) -> str:
        return str(self.number + 200)

    @property
    def dm_id(self) -> str:
        return str(self.number + 300)

    @property
    def topic(self) -> str:
        return f"topic {self.number}."

    @property
    def talk(self) -> Talk:
        return Talk(
            id=f"talk{self.user_id}",
            user_id=self.user_id,
            username=f"speaker {self.days}",
            topic=self.topic,
            date=DAY + timedelta(days=self.days),
            thread_id=self.thread_id,
        )

    @property
    def key(self) -> str:
        talk = self.talk
        return f"{KINDS[self.days]}/talk:{talk.id}/user:{talk.user_id}/{talk.date}T16:00"


class RemindersWorld:
    """``variant`` (0 to 23) says which reminder goes which way."""

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.reminders").JOB
        self.now = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
        base = 10**17 + number * 1000
        ways = list(permutations(WAYS))[variant % 24]
        self._people = [_Person(way, days, base + days) for days, way in enumerate(ways)]

    def settings(self, base: Settings) -> Settings:
        return replace(
            base,
            reminder_offsets=parse_offsets("0d@16:00,1d@16:00,2d@16:00,3d@16:00"),
            reminder_routes=("dm", "thread"),
        )

    def fill(self, store: Store) -> None:
        store.talks.put([person.talk for person in self._people])
        known = {p.user_id: p.dm_id for p in self._people if p.way in ("known", "closed")}
        store.limits.remember_dms(bot_of(TOKEN), known)

    def furnish(self, discord: LoopbackClient) -> None:
        for person in self._people:
            match person.way:
                case "known":
                    discord.change(DiscordWorld.add_dm, person.user_id, person.dm_id)
                case "closed":
                    discord.change(DiscordWorld.add_dm, person.user_id, person.dm_id)
                    discord.change(DiscordWorld.close_dms, person.user_id)
                    discord.change(DiscordWorld.add_thread, person.thread_id, "1")
                case "refused":
                    discord.change(DiscordWorld.close_dms, person.user_id, refuse_opening=True)
                    discord.change(DiscordWorld.archive, person.thread_id, sends_unarchive=False)

    def expected(self) -> Mapping[str, Expected]:
        return {person.key: _expected(person) for person in self._people}

    def problems(self, store: Store) -> Sequence[str]:
        """The Node bot must find its flags as the ledger says."""
        records = store.ledger.get([person.key for person in self._people])
        found = []
        for person in self._people:
            name, record, talk = (
                FLAGS[person.days],
                records.get(person.key),
                store.talks.get(person.talk.id),
            )
            if name is None or record is None or talk is None:
                continue
            flag = getattr(talk, name)
            wanted = record.flag_at if record.state == DeliveryState.SENT else None
            if flag != wanted:
                found.append(f"{person.key}: the Node bot's flag is {flag}, not {wanted}")
        return found


def _expected(person: _Person) -> Expected:
    match person.way:
        case "known":
            return Expected(person.topic, channel_id=person.dm_id)
        case "new":
            return Expected(person.topic, user_id=person.user_id)
    return Expected(person.topic, channel_id=person.thread_id)
