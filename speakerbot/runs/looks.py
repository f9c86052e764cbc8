"""When the runs of a timed job last looked at the store.

Such a job has no occurrences. That its schedule is alive shows in the age of its last look: each
run stores one when it starts, and one a minute while it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from speakerbot.clock import Clock, utc_text
from speakerbot.errors import SpeakerbotError

if TYPE_CHECKING:
    from speakerbot.ports.store import Store

STORED_EVERY = timedelta(minutes=1)
PATIENCE = timedelta(minutes=15)
"""How much older than a tick the last look may be: schedulers are late, and so are machines."""


@dataclass(slots=True)
class Looks:
    """Those of one run. ``schedule`` is the name of its schedule."""

    schedule: str
    store: Store
    clock: Clock
    log: Any
    _stored_at: datetime | None = None

    def note(self) -> None:
        """The store has just been looked at: writes that down, unless it did so less than a minute
        ago. A look that cannot be written down is a warning: what is due goes all the same."""
        now = self.clock.real()
        if self._stored_at and timedelta() <= now - self._stored_at < STORED_EVERY:
            return
        self._stored_at = now
        try:
            self.store.marks.put(_mark(self.schedule), utc_text(now))
        except SpeakerbotError as error:
            self.log.warning("look_not_stored", schedule=self.schedule, error=str(error))


def last_look(store: Store, schedule: str) -> datetime | None:
    """When a run of this schedule last looked, in UTC; None: never, as far as is known. One
    query."""
    try:
        at = datetime.fromisoformat(store.marks.get(_mark(schedule)) or "")
    except ValueError:
        return None
    return at if at.tzinfo else None


def is_late(last: datetime | None, tick: timedelta, now: datetime) -> bool:
    """Whether a schedule that is ticked every ``tick`` has not looked for too long. A look further
    in the future was stored by a machine with a wrong clock, and says nothing."""
    return last is None or abs(now - last) > tick + PATIENCE


def _mark(schedule: str) -> str:
    return f"look {schedule}"
