"""Reminders beside the Node bot, which sends its own from the store that we share with it.

Runs start, stall and die before its minute, in it, and while it begins, and sleep until it is over:
this world's clock is put forward by its Node bot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time

from speakerbot.clock import real_now
from speakerbot.config import Settings
from speakerbot.domain.message import NODE_FLAGS
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.runs.node_bot_minute import BEGINS, ENDS
from speakerbot.testing.crash.reminders_world import KINDS, Booking, RemindersWorld, Way
from speakerbot.testing.crash.seeds import WorldEvent
from speakerbot.testing.crash.world import SharedClock, WorldChange
from speakerbot.testing.discord import BOT_ID, DiscordWorld, LoopbackClient

SENDS_EACH = 0.06
"""Seconds that the Node bot needs for a message: about as long as a speakerbot run takes."""
WAYS: tuple[tuple[Way, ...], ...] = (
    ("known", "known", "new", "closed"),
    ("known", "known", "refused", "known"),
    ("known", "closed", "new", "known"),
    ("refused", "known", "known", "new"),
    ("known", "new", "closed", "refused"),
)
"""Mostly by direct messages that the Node bot can send, too."""


class NodeBotWorld(RemindersWorld):
    """The reminders of today and of tomorrow are the Node bot's as well; both are due before its
    minute. It reaches whom it has written to before, and leaves the others unsent.

    The day is the present one: old things are forgotten by the machine's own clock.
    """

    due = "15:30"

    def __init__(self, number: int, variant: int) -> None:
        self.day = real_now().date()
        super().__init__(number, variant)
        minute = datetime.combine(self.day, BEGINS, UTC)
        self.now, self.minute = minute - timedelta(seconds=90), minute
        self._over = datetime.combine(self.day, ENDS, UTC)
        self.node_bot_at = self._at = datetime.combine(self.day, clock_time(16), UTC)
        self._time = SharedClock(skew=self.now - real_now())
        self.clock = self._time

    def ways(self, variant: int) -> Sequence[Way]:
        return WAYS[variant % len(WAYS)]

    def settings(self, base: Settings) -> Settings:
        """Only a MongoDB is shared; where a run's store really is, it does not go by this."""
        shared = "mongodb://shared.with.the.node.bot/speakers"
        return replace(super().settings(base), database_url=shared, node_bot_coexist=True)

    def furnish(self, discord: LoopbackClient) -> None:
        super().furnish(discord)
        self._discord = discord

    def change(self, event: WorldEvent) -> WorldChange | None:
        """The Node bot's own job runs; no data changes."""
        return WorldChange(self._node_bot_runs, ()) if event.what == "node_bot" else None

    def _node_bot_runs(self, store: Store) -> None:
        """At 16:00, or later where it is late: it reads, then sends, then saves. Afterwards its
        minute is over."""
        self._time.put_forward_to(self._at)
        unsent = list(self._unsent(store))
        for each in unsent:
            time.sleep(SENDS_EACH)
            if each.way == "known":
                self._discord.change(DiscordWorld.post, each.dm_id, BOT_ID, each.text)
                self._save(each, store)
        self._time.put_forward_to(self._over)

    def _unsent(self, store: Store) -> Iterator[Booking]:
        for each in self._bookings[: len(KINDS)]:
            talk = store.talks.get(each.talk.id)
            if talk and [talk.sent_day_of_at, talk.sent_tminus1_at][each.days] is None:
                yield each

    def _save(self, booking: Booking, store: Store) -> None:
        """Without looking again what the flag is by now."""
        name = NODE_FLAGS[KINDS[booking.days]]
        saved: set[str] = set()
        while not saved:
            talk = store.talks.by_ids([booking.talk.id])[booking.talk.id]
            seen = [talk.sent_day_of_at, talk.sent_tminus1_at][booking.days]
            saved = store.talks.write_flags([FlagWrite(booking.talk.id, name, seen, self._at)])
