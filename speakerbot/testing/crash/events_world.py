"""The small world of ``events``: each talk has an event of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module

from speakerbot.config import Settings
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import Expected, SharedClock, WorldChange
from speakerbot.testing.discord import DiscordWorld, LoopbackClient, ScheduledEvent

FIRST_DAY = date(2500, 1, 1)
"""Much time passes at the Discord that many worlds share."""
TALKS = 4
BY_HAND = "where somebody has moved it"


class EventsWorld:
    """No message is sent. ``variant`` shifts which talks have a room."""

    ends_after: timedelta | None = None
    minute: datetime | None = None
    clock: SharedClock | None = None
    dm_channels: Mapping[str, str] = {}

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.events").JOB
        self.now = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
        self._guild = str(8 * 10**17 + number)
        self._variant = variant

    def _talk(self, which: int) -> Talk:
        room = f"Room {which}" if (which + self._variant) % 3 else None
        day = FIRST_DAY + timedelta(days=which)
        return Talk(
            f"talk{which}", str(which), "ada", f"Topic {which}", day, starts_at=time(18), room=room
        )

    def settings(self, base: Settings) -> Settings:
        return replace(base, guild_id=self._guild, node_bot_coexist=False)

    def fill(self, store: Store) -> None:
        store.talks.put([self._talk(which) for which in range(TALKS)])

    def furnish(self, discord: LoopbackClient) -> None:
        self._discord = discord

    def expected(self) -> Mapping[str, Expected]:
        return {}

    def change(self, event: WorldEvent) -> WorldChange | None:
        talk = self._talk(event.which % TALKS)

        def write(store: Store) -> None:
            match event.what:
                case "cancel":
                    store.talks.delete(talk.id)
                case "move":
                    self._put(store, replace(talk, date=talk.date + timedelta(days=30)))
                case "hand_over":
                    self._put(store, replace(talk, username="grace", topic="Compilers"))
                case _:
                    self._edit_by_hand(talk)

        return WorldChange(write, ())

    def _put(self, store: Store, talk: Talk) -> None:
        if store.talks.get(talk.id):
            store.talks.put([talk])

    def _edit_by_hand(self, talk: Talk) -> None:
        for event in self._events():
            if event.is_open and _talk_of(event) == talk.id:
                self._discord.change(DiscordWorld.edit_event, event.id, location=BY_HAND)

    def _events(self) -> list[ScheduledEvent]:
        return [event for event in self._discord.events() if event.guild_id == self._guild]

    def problems(self, store: Store) -> Sequence[str]:
        return list(self._problems(store))

    def _problems(self, store: Store) -> Iterator[str]:
        """Each talk has one event, which says what the talk does; none was ever made twice. What
        Discord refused for good may be missing, or out of date."""
        refused = {each.talk_id for each in store.server_events.all() if each.refused}
        events = self._events()
        made = Counter(_talk_of(event) for event in events)
        yield from (f"{talk}: made {times} times" for talk, times in made.items() if times > 1)
        there = {_talk_of(event): event for event in events if event.is_open}
        talks = {talk.id: talk for talk in store.talks.all()}
        yield from (f"{talk}: its event is still there" for talk in there.keys() - talks.keys())
        for talk in talks.values():
            if talk.id not in refused:
                yield from _unlike(talk, there.get(talk.id))


def _talk_of(event: ScheduledEvent) -> str:
    return (event.description or "").rpartition("speakerbot:")[2]


def _unlike(talk: Talk, event: ScheduledEvent | None) -> Iterator[str]:
    if event is None:
        yield f"{talk.id}: it has no event"
        return
    shown = (event.name, event.starts_at.date(), event.location)
    places = (talk.room or "Discord", BY_HAND)
    if shown[:2] != (talk.topic, talk.date) or event.location not in places:
        yield f"{talk.id}: its event shows {shown}"
    if not (event.description or "").startswith(f"{talk.username}:"):
        yield f"{talk.id}: its event says {event.description!r}"
