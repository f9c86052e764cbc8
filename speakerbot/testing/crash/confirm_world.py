"""The small world of reminders that ask: one asks now, one has gone unanswered, under two there is
an answer that no run has read, and of one the organisers are to be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module

from speakerbot.channels.discord.access import bot_of
from speakerbot.config import Settings
from speakerbot.domain import confirmation
from speakerbot.domain.confirmation import NO, YES, Word, answers_of
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import TOKEN, Arrival, Expected, SharedClock, WorldChange, topic
from speakerbot.testing.discord import BOT_ID, DiscordWorld, LoopbackClient

DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
AGAIN_AFTER = timedelta(hours=20)
"""Longer than a schedule is played: nothing falls due meanwhile."""
QUESTION = "Will you be there"
DATE_AND_CLOCK = {"asks": (3, "3d@16:00"), "silent": (4, "5d@16:00"), "no": (8, "8d@15:00"),
                  "yes": (12, "12d@15:00"), "told": (16, "17d@16:00")}  # fmt: skip
"""By part, in how many days its talk is, and which reminder has asked, or asks now."""
ASKED_AT = {"silent": "2026-11-19T16:00", "no": "2026-11-20T15:00", "yes": "2026-11-20T15:00",
            "told": "2026-11-19T16:00"}  # fmt: skip
ASKED_AGAIN_AT = datetime(2026, 11, 19, 19, 0, tzinfo=UTC)
"""Who is asked again so early waits no longer: the organisers are to be told."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One speaker and their talk. ``base``: the first id of its world."""

    base: int
    part: str
    topic: int

    @property
    def number(self) -> int:
        return list(DATE_AND_CLOCK).index(self.part)

    @property
    def user_id(self) -> str:
        return str(self.base + self.number + 100)

    @property
    def dm_id(self) -> str:
        return str(self.base + self.number + 300)

    @property
    def talk(self) -> Talk:
        days, _ = DATE_AND_CLOCK[self.part]
        return Talk(
            id=f"talk{self.base + self.number}",
            user_id=self.user_id,
            username=f"speaker {self.part}",
            topic=topic(self.topic)[0],
            date=DAY + timedelta(days=days),
        )

    @property
    def reminder(self) -> str:
        """The key of the one that asks."""
        days, clock = DATE_AND_CLOCK[self.part][1].split("d@")
        talk = self.talk
        return f"reminder.{days}d/talk:{talk.id}/user:{talk.user_id}/{talk.date}T{clock}"

    @property
    def again(self) -> str:
        return f"confirm.again/talk:{self.talk.id}/user:{self.user_id}/{self.talk.date}"

    def to_organisers(self, kind: str, channel: str) -> str:
        talk = self.talk
        return f"confirm.{kind}/talk:{talk.id}/channel:{channel}/{talk.date}/user:{talk.user_id}"

    def about(self, opening: str) -> str:
        return f'{opening} "{topic(self.topic)[1]}" on {self.talk.date}'


class ConfirmWorld:
    """``variant`` says what the talks are about."""

    now = NOW
    ends_after: timedelta | None = None
    minute: datetime | None = None
    clock: SharedClock | None = None

    def __init__(self, number: int, variant: int) -> None:
        self.job: Job = import_module("jobs.reminders").JOB
        base = 6 * 10**17 + number * 1000
        self._organisers = str(base)
        self._parts = {
            part: Asked(base, part, place + variant) for place, part in enumerate(DATE_AND_CLOCK)
        }
        self.dm_channels: Mapping[str, str] = {
            each.dm_id: each.user_id for each in self._parts.values()
        }
        self._discord: LoopbackClient | None = None
        self._message_ids: dict[str, str] = {}

    def settings(self, base: Settings) -> Settings:
        offsets = ",".join(clock for _, clock in DATE_AND_CLOCK.values())
        return replace(
            base,
            reminder_offsets=parse_offsets(offsets),
            confirm="reactions",
            confirm_again=AGAIN_AFTER,
            logs_channel_id=self._organisers,
        )

    def furnish(self, discord: LoopbackClient) -> None:
        self._discord = discord
        discord.change(DiscordWorld.add_channel, self._organisers)
        for part, each in self._parts.items():
            discord.change(DiscordWorld.add_dm, each.user_id, each.dm_id)
            if part == "asks":
                continue
            discord.change(DiscordWorld.post, each.dm_id, BOT_ID, f"{QUESTION}?")
            message_id = self._message_ids[part] = discord.messages()[-1].id
            # One of our own is gone: it is put again.
            discord.change(DiscordWorld.react, message_id, BOT_ID, NO)
            for said, emoji in (("no", NO), ("yes", YES)):
                if part == said:
                    discord.change(DiscordWorld.react, message_id, each.user_id, emoji)

    def fill(self, store: Store) -> None:
        store.talks.put([each.talk for each in self._parts.values()])
        known = {user_id: dm_id for dm_id, user_id in self.dm_channels.items()}
        store.limits.remember_dms(bot_of(TOKEN), known)
        for part, at in ASKED_AT.items():
            asked_at = datetime.fromisoformat(at).replace(tzinfo=UTC)
            self._sent(store, self._parts[part], self._parts[part].reminder, asked_at)
        told = self._parts["told"]
        self._sent(store, told, told.again, ASKED_AGAIN_AT)

    def _sent(self, store: Store, asked: Asked, key: str, at: datetime) -> None:
        record = Delivery(
            key=key,
            kind=key.partition("/")[0],
            recipient=f"user:{asked.user_id}",
            state=DeliveryState.SENT,
            revision="before",
            run_id="before",
            due_at=at,
            expires_at=at + timedelta(days=30),
            created_at=at,
            updated_at=at,
            route="dm",
            target=asked.user_id,
            attempts=1,
            message_id=self._message_ids[asked.part],
            channel_id=asked.dm_id,
            sent_at=at,
            note=confirmation.note(at),
        )
        store.ledger.swap([DeliveryChange(None, record)])

    def expected(self) -> Mapping[str, Expected]:
        parts, organisers = self._parts, self._organisers
        asks, silent, no, told = (parts[part] for part in ("asks", "silent", "no", "told"))
        ask = "React with ✅ if you will, or with ❌ if you can't make it."
        about = topic(asks.topic)[1]
        reminder = (
            "Hi speaker asks! This is a reminder that you're scheduled to speak in 3 days "
            f'({asks.talk.date}) about "{about}". Looking forward to your talk!\n\n'
            f"{QUESTION}? {ask}"
        )
        again = (
            silent.about(f"Hi speaker silent! {QUESTION} for your talk about")
            + f"? You have not answered yet. {ask}"
        )
        declined = no.about("speaker no can't make it to their talk about") + (
            ". It stays in the programme until you move it, hand it over or cancel it."
        )
        escalated = told.about(
            "speaker told has not said yet whether they will be there for their talk about"
        )
        return {
            asks.reminder: Expected((Arrival(reminder, user_id=asks.user_id),)),
            silent.again: Expected((Arrival(again, user_id=silent.user_id),)),
            no.to_organisers("declined", organisers): _told(declined, organisers),
            told.to_organisers("escalated", organisers): _told(f"{escalated}.", organisers),
        }

    def change(self, event: WorldEvent) -> WorldChange | None:  # noqa: ARG002  # as all worlds
        return None

    def problems(self, store: Store) -> Sequence[str]:
        """What was answered must be written down, and under each question stand our reactions."""
        return [*self._wrong_answers(store), *self._missing_reactions()]

    def _wrong_answers(self, store: Store) -> Iterator[str]:
        wanted: dict[str, Word] = {"no": "no", "yes": "yes"}
        for part, each in self._parts.items():
            found = answers_of(each.talk, store.answers.about([each.talk.id])).get(each.user_id)
            if found != wanted.get(part):
                yield f"{each.talk.id}: they said {wanted.get(part)}, the store says {found}"

    def _missing_reactions(self) -> Iterator[str]:
        """Where an answer was read, none is put any more."""
        unanswered = [self._parts[part].dm_id for part in ("asks", "silent", "told")]
        for message in self._discord.messages() if self._discord else ():
            if message.channel_id not in unanswered or QUESTION not in message.content:
                continue
            ours = [emoji for emoji, users in message.reactions.items() if BOT_ID in users]
            if set(ours) != {YES, NO}:
                yield f"{message.content!r}: we have put {ours}"


def _told(text: str, channel: str) -> Expected:
    return Expected((Arrival(text, channel_id=channel),))
