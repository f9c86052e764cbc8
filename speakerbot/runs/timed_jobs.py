"""Runs of jobs declared ``timed``: whether one has anything to do, and when one last looked.

Such a job has no occurrences: each run looks, and most find nothing. That its schedule is alive
shows in the age of its last look: a run stores one when it starts, and one a minute while it stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from speakerbot.clock import Clock, utc_text
from speakerbot.domain.run import Run, RunSkipReason
from speakerbot.errors import SpeakerbotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from speakerbot.domain.job_registry import JobDeclaration
    from speakerbot.ports.store import Store
    from speakerbot.runs.job import Job, JobContext, Pause

LOOKS_BACK = timedelta(days=1)
"""How long the time of a message may be over, and a run still closes what a dead one left of it."""
STORED_EVERY = timedelta(minutes=1)
PATIENCE = timedelta(minutes=15)
"""How much older than a tick the last look may be: schedulers are late, and so are machines."""


class Work(NamedTuple):
    """What a run finds when it starts."""

    is_due: bool = False
    """Something may be sent now."""
    was_due: bool = False
    """The time of something was over less than a day ago: a run that died may have left it."""
    next_due: datetime | None = None
    """When the next message falls due."""


def look_for_work(job: Job, context: JobContext, until: datetime) -> Work:
    """What is due at the context's time, was due lately, and falls due by ``until``. One query."""
    now, found = context.now, Work()
    earlier = replace(context, now=now - LOOKS_BACK)
    for window in job.windows(earlier, until) if job.windows else ():
        if window.due_at > now:
            next_due = min(window.due_at, found.next_due or window.due_at)
            found = found._replace(next_due=next_due)
        elif window.expires_at > now:
            found = found._replace(is_due=True)
        else:
            found = found._replace(was_due=True)
    return found


def why_not(
    declared: JobDeclaration, work: Work, context: JobContext, horizon: timedelta, clock: Clock
) -> RunSkipReason | None:
    """Why a scheduler's run does nothing; None: it has something to do, or to stay for."""
    stays = work.next_due is not None and work.next_due <= context.now + horizon
    if not (work.is_due or stays or (work.was_due and _left_over(context, clock))):
        return RunSkipReason.NOT_DUE
    from speakerbot.runs.routes import is_configured  # a look that finds nothing asks no more

    configured = is_configured(declared.posts_to, context.store.guilds, context.settings)
    return None if configured else RunSkipReason.NOT_CONFIGURED


def _left_over(context: JobContext, clock: Clock) -> bool:
    from speakerbot.runs.runner import is_left_over

    return is_left_over(context.store, context.now, clock)


def on_record(pause: Pause, store: Store, run: Run) -> Pause:
    """The same pause. While a run stays, the list of runs shows it."""
    recorded = False

    def pausing(until: datetime, woken: Callable[[], bool] | None = None) -> None:
        nonlocal recorded
        if not recorded:
            store.runs.put(run)
            recorded = True
        pause(until, woken)

    return pausing


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
