"""The reminders job's small worlds: four talks, each reached another way, one of them with a
co-speaker, and what people do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from functools import partial
from importlib import import_module
from itertools import permutations
from typing import Literal
from zoneinfo import ZoneInfo

from speakerbot.channels.discord.access import bot_of
from speakerbot.config import Settings
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.person import Person
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import (
    TOKEN,
    Arrival,
    Expected,
    SharedClock,
    WorldChange,
    inbox_topic,
    topic,
)
from speakerbot.testing.discord import DiscordWorld, LoopbackClient

DAY = date(2026, 11, 20)
TALKS = 4
KINDS = {0: "reminder.day_of", 1: "reminder.day_before"}
FLAGS = ("sent_day_of_at", "sent_tminus1_at", None, None)
Way = Literal["known", "new", "closed", "refused"]
WAYS: tuple[Way, ...] = ("known", "new", "closed", "refused")
"""A DM channel we know; one to be opened; closed DMs, then a thread; DMs that cannot even be
opened, then a thread that sleeps and has to be woken."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A speaker and their talk, so many days ahead of ``day``. ``base``: the first id of its
    world."""

    base: int
    day: date
    due: str
    """The clock time of its reminder."""
    way: Way
    days: int
    part: int
    """Which of the world's talks it is."""
    topic: int
    handed_over: bool = False
    inbox: bool = False
    """Whoever takes no direct messages has an inbox, and no thread is used."""
    start: str = ""
    """``HH:MM``; empty: it has none."""
    co_speaker: Booking | None = None
    """The same talk as its co-speaker has it."""
    is_co_speaker: bool = False

    @property
    def user_id(self) -> str:
        if self.is_co_speaker:
            return str(self.base + self.part + 600)
        return str(self.base + self.part + (500 if self.handed_over else 100))

    @property
    def thread_id(self) -> str:
        return str(self.base + self.part + 200)

    @property
    def dm_id(self) -> str:
        return str(self.base + self.part + (700 if self.is_co_speaker else 300))

    @property
    def username(self) -> str:
        if self.is_co_speaker:
            return f"co-speaker {self.part}"
        return f"{'deputy' if self.handed_over else 'speaker'} {self.part}"

    def with_co_speaker(self, way: Way) -> Booking:
        return replace(self, co_speaker=replace(self, is_co_speaker=True, way=way))

    @property
    def all(self) -> Sequence[Booking]:
        """As each of its speakers has it."""
        theirs = self.co_speaker
        if theirs is None:
            return [self]
        return [self, replace(theirs, days=self.days)]

    @property
    def talk(self) -> Talk:
        return Talk(
            id=f"talk{self.base + self.part}",
            user_id=self.user_id,
            username=self.username,
            topic=topic(self.topic)[0],
            date=self.day + timedelta(days=self.days),
            thread_id=self.thread_id,
            starts_at=clock_time.fromisoformat(self.start) if self.start else None,
            co_speakers=tuple(
                Speaker(each.user_id, each.username) for each in self.all if each.is_co_speaker
            ),
        )

    @property
    def key(self) -> str:
        talk = self.talk
        kind = KINDS.get(self.days, f"reminder.{self.days}d")
        return f"{kind}/talk:{talk.id}/user:{talk.user_id}/{talk.date}T{self.due}"

    @property
    def text(self) -> str:
        day, about = self._when, f'"{topic(self.topic)[1]}".{self._your_time}'
        opening = f"Hi {self.username}! This is a reminder that you're"
        match self.days:
            case 0:
                return f"{opening} speaking today ({day}) about {about} See you soon!"
            case 1:
                when = "tomorrow"
            case _:
                when = f"in {self.days} days"
        closing = "Looking forward to your talk!"
        return f"{opening} scheduled to speak {when} ({day}) about {about} {closing}"

    @property
    def _when(self) -> str:
        day = self.talk.date
        return f"{day:%A} {day}, {self.start}" if self.start else f"{day}"

    @property
    def _your_time(self) -> str:
        start = self.talk.start(ZoneInfo("UTC"))
        if start is None:
            return ""
        at = int(start.timestamp())
        return f" Your time: <t:{at}:F> (<t:{at}:R>)."

    @property
    def in_inbox(self) -> tuple[str, str]:
        """The text, unescaped as an inbox shows it, and whose it is."""
        plain = self.text.replace(topic(self.topic)[1], inbox_topic(self.topic))
        return plain, f"user:{self.user_id}"

    @property
    def expected(self) -> Expected:
        dm = Arrival(self.text, user_id=self.user_id)
        if self.inbox:
            reached = self.way in ("known", "new")
            return Expected((dm,), inbox=not reached)
        thread = Arrival(f"<@{self.user_id}> {self.text}", channel_id=self.thread_id)
        return Expected((dm, thread) if self.way in ("known", "new") else (thread,))


class RemindersWorld:
    """``variant`` (0 to 47) says which reminder goes which way, and what closed DMs answer."""

    day = DAY
    due = "16:00"
    """The clock time of every reminder."""
    ends_after: timedelta | None = timedelta(hours=9)
    minute: datetime | None = None
    clock: SharedClock | None = None
    node_bot_at: datetime | None = None
    """What the Node bot sets its flags to."""
    routes: tuple[str, ...] = ("dm", "thread")
    days: Sequence[int] = range(TALKS)
    """How many days ahead each of its talks is."""
    starts: Sequence[str] = [""] * TALKS

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.reminders").JOB
        self.now = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
        base = 10**17 + number * 1000
        self._dms_are_off: Literal[50007, 50278] = 50007 if variant < 24 else 50278
        bookings = [
            Booking(
                base,
                self.day,
                self.due,
                way,
                self.days[part],
                part,
                part + variant,
                inbox="inbox" in self.routes,
                start=self.starts[part],
            )
            for part, way in enumerate(self.ways(variant))
        ]
        shared = variant % TALKS
        known: Way = "known" if variant % 8 < 4 else "new"
        bookings[shared] = bookings[shared].with_co_speaker(known)
        self._bookings = bookings
        self._changed: set[int] = set()
        self.dm_channels: Mapping[str, str] = {
            each.dm_id: each.user_id for each in self._messages() if each.way in ("known", "closed")
        }

    def _messages(self) -> Sequence[Booking]:
        """Those of co-speakers after those of the others."""
        everybody = [each for booking in self._bookings for each in booking.all]
        return sorted(everybody, key=lambda each: each.is_co_speaker)

    def ways(self, variant: int) -> Sequence[Way]:
        """By which the speakers are reached, by days until their talk."""
        return list(permutations(WAYS))[variant % 24]

    def settings(self, base: Settings) -> Settings:
        offsets = ",".join(f"{days}d@{self.due}" for days in range(2 * TALKS))
        return replace(base, reminder_offsets=parse_offsets(offsets), reminder_routes=self.routes)

    def fill(self, store: Store) -> None:
        store.talks.put([each.talk for each in self._bookings])
        known = {user_id: dm_id for dm_id, user_id in self.dm_channels.items()}
        store.limits.remember_dms(bot_of(TOKEN), known)

    def furnish(self, discord: LoopbackClient) -> None:
        for each in self._messages():
            match each.way:
                case "known":
                    discord.change(DiscordWorld.add_dm, each.user_id, each.dm_id)
                case "closed":
                    discord.change(DiscordWorld.add_dm, each.user_id, each.dm_id)
                    code = self._dms_are_off
                    discord.change(DiscordWorld.close_dms, each.user_id, code=code)
                    discord.change(DiscordWorld.add_thread, each.thread_id, "1")
                case "refused":
                    discord.change(DiscordWorld.close_dms, each.user_id, refuse_opening=True)
                    discord.change(DiscordWorld.archive, each.thread_id, sends_unarchive=False)

    def expected(self) -> Mapping[str, Expected]:
        return {each.key: each.expected for each in self._messages()}

    def change(self, event: WorldEvent) -> WorldChange | None:
        """Each talk is changed once at the most."""
        if event.which in self._changed:
            return None
        self._changed.add(event.which)
        before = self._bookings[event.which]
        ended, begun = [each.key for each in before.all], dict[str, Expected]()
        match event.what:
            case "cancel":
                return WorldChange(partial(_cancel, before.talk), ended)
            case "opt_out":
                return WorldChange(partial(_opt_out, before.user_id), [before.key])
            case "move":
                after = replace(before, days=before.days + TALKS)
                begun = {each.key: each.expected for each in after.all}
                return WorldChange(partial(_move, after.talk), ended, begun)
            case "hand_over":
                # Whoever speaks beside them still does.
                after = replace(before, handed_over=True, way="new")
                begun = {after.key: after.expected}
                return WorldChange(partial(_hand_over, after.talk), [before.key], begun)
        return None

    def problems(self, store: Store) -> Sequence[str]:
        """The Node bot must find its flags, and everybody their inbox, as the ledger says."""
        return [*self._wrong_flags(store), *self._wrong_inboxes(store)]

    def _wrong_inboxes(self, store: Store) -> Iterator[str]:
        for each in self._messages():
            record = store.ledger.get([each.key]).get(each.key)
            there = store.inbox.get([each.key]).get(each.key)
            said = record is not None and record.route == "inbox"
            if there is not None and (there.text, there.recipient) != each.in_inbox:
                yield f"{each.key}: the inbox of {there.recipient} has {there.text!r}"
            if each.part in self._changed or record is None:
                continue
            if (there is not None) != (said and record.state == DeliveryState.SENT):
                yield f"{each.key}: in the inbox {there is not None}, by the ledger {said}"

    def _wrong_flags(self, store: Store) -> Iterator[str]:
        for each in self._bookings:
            name, talk = FLAGS[each.days], store.talks.get(each.talk.id)
            record = store.ledger.get([each.key]).get(each.key)
            if name is None or record is None or talk is None or each.part in self._changed:
                continue
            flag = getattr(talk, name)
            if record.state not in (DeliveryState.SENT, DeliveryState.UNDELIVERABLE):
                continue  # expired unseen, or its outcome is unknown
            told = record.state == DeliveryState.SENT and record.route != "inbox"
            wanted = record.flag_at if told else None
            if flag != wanted and (flag is None or flag != self.node_bot_at):
                yield f"{each.key}: the Node bot's flag is {flag}, not {wanted}"


class InboxWorld(RemindersWorld):
    """The same where the inbox stands in for the thread."""

    routes = ("dm", "inbox")


class EveningsWorld(RemindersWorld):
    """Two talks an evening, one of them with a start, where no Node bot works beside us."""

    days = (0, 0, 1, 1)
    starts = ("", "23:30", "23:45", "")

    def settings(self, base: Settings) -> Settings:
        return replace(super().settings(base), node_bot_coexist=False)


def _cancel(talk: Talk, store: Store) -> None:
    store.talks.delete(talk.id)


def _move(talk: Talk, store: Store) -> None:
    store.talks.reschedule(talk.id, talk.date)


def _hand_over(talk: Talk, store: Store) -> None:
    store.talks.put([talk])


def _opt_out(user_id: str, store: Store) -> None:
    person = Person(f"p{user_id}", discord_user_id=user_id, opted_out=frozenset({"reminders"}))
    store.people.put([person])
