"""Whether a tick of a schedule has anything to do. Pure: the store is asked by the runner.

A scheduler ticks at times that are not known exactly; the rules turn ticks into one run of each
occurrence: late but within its grace, resumed while messages of it wait, never twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from speakerbot.clock import LONGEST_WAIT
from speakerbot.domain.cron import Cron
from speakerbot.domain.run import RunSkipReason


class OccurrenceStanding(StrEnum):
    """How far an occurrence came."""

    RUNNING = "running"
    OPEN = "open"
    """A run has ended, but some of its messages still wait."""
    FINISHED = "finished"
    MISSED = "missed"
    """Its grace was over before a run had finished it."""
    SUPERSEDED = "superseded"
    """A later occurrence was served before it was finished."""


class OccurrenceRecord(NamedTuple):
    """What is stored of one occurrence of one schedule. Instants are aware, in UTC."""

    occurrence: datetime
    standing: OccurrenceStanding
    lease_until: datetime | None = None
    """Real time. Of a running one: past it the run is taken for dead."""
    retry_at: datetime | None = None
    """Real time. Of an open one: when the first failed or claimed message may be tried again."""
    resume_at: datetime | None = None
    """Decision time. Of an open one: when the first deferred message (quiet hours) may go."""
    revision: str = ""
    """Changes with every write and is never used twice: what compare-and-swap compares."""


def within_reason(record: OccurrenceRecord, now: datetime, lease: timedelta) -> OccurrenceRecord:
    """The record with no real instant further ahead than any can be: one that is was written by a
    machine whose clock is wrong, and would block its occurrence for days. The same where all is
    well, and where the occurrence is over. ``now`` is the real time; ``lease`` the longest that
    this process takes."""
    last = now + max(LONGEST_WAIT, lease)
    if (
        record.standing == OccurrenceStanding.RUNNING
        and record.lease_until
        and record.lease_until > last
    ):
        return record._replace(lease_until=last)
    if record.standing == OccurrenceStanding.OPEN and record.retry_at and record.retry_at > last:
        return record._replace(retry_at=last)
    return record


class Due(NamedTuple):
    """Claim the occurrence and run; sleep before that if it is still to come."""

    occurrence: datetime
    resumed: bool = False

    def sleep(self, now: datetime) -> timedelta:
        """How long until the occurrence; zero if it has come. Never longer than the wait."""
        return max(self.occurrence - now, timedelta())


class NotDue(NamedTuple):
    """Log ``run_skipped`` with the reason and exit 0."""

    reason: RunSkipReason
    occurrence: datetime | None
    again_at: datetime | None = None
    """Before this instant asking again brings the same answer, as far as is known."""


class Missed(NamedTuple):
    """Past its grace and not finished: record it, report it, do not run it."""

    occurrence: datetime
    late: timedelta
    begun: bool
    """A run of it had started; some of its messages may have gone out."""


class OccurrenceRules(NamedTuple):
    """One schedule's rules. ``wait``: how long a tick may sleep towards its occurrence.
    ``share``: several machines may work on one occurrence at once."""

    cron: Cron
    grace: timedelta
    wait: timedelta = timedelta()
    share: bool = False

    @property
    def whole_grace(self) -> timedelta:
        """At least the period where the machine ticks at an unknown phase."""
        return max(self.grace, self.cron.least_grace)

    def occurrence(self, now: datetime) -> datetime | None:
        """The occurrence that a tick at ``now`` (decision time) is about: the one to look up."""
        return self.cron.latest(now + self.wait)

    def decide(
        self,
        occurrence: datetime | None,
        record: OccurrenceRecord | None,
        *,
        now: datetime,
        real: datetime,
    ) -> Due | NotDue | Missed:
        """What a tick does. ``record``: what is stored of ``occurrence``; ``now``: decision time;
        ``real``: the real time, which leases and retries follow."""
        if occurrence is None:
            return NotDue(RunSkipReason.NOT_DUE, None, self.cron.next(now))
        if record is not None and (settled := self._settled(record, real)):
            return settled
        if (late := now - occurrence) > self.whole_grace:
            return Missed(occurrence, late, begun=record is not None)
        if record is not None and (at := _rests(record, now, real)):
            return NotDue(RunSkipReason.NOT_DUE, occurrence, at)
        return Due(occurrence, resumed=record is not None)

    def _settled(self, record: OccurrenceRecord, real: datetime) -> NotDue | None:
        """The answer where the record alone gives it."""
        following = self.cron.next(record.occurrence) - self.wait
        if record.standing in (OccurrenceStanding.FINISHED, OccurrenceStanding.SUPERSEDED):
            return NotDue(RunSkipReason.ALREADY_DONE, record.occurrence, following)
        if record.standing == OccurrenceStanding.MISSED:
            return NotDue(RunSkipReason.MISSED, record.occurrence, following)
        held = record.lease_until is not None and record.lease_until > real
        if held and not self.share:
            return NotDue(RunSkipReason.ALREADY_RUNNING, record.occurrence, record.lease_until)
        return None


def _rests(record: OccurrenceRecord, now: datetime, real: datetime) -> datetime | None:
    """The instant going on with an open occurrence makes sense; None: at once."""
    waits = [
        at
        for at, clock in ((record.retry_at, real), (record.resume_at, now))
        if at is not None and at > clock
    ]
    known = [at for at in (record.retry_at, record.resume_at) if at is not None]
    return min(waits) if waits and len(waits) == len(known) else None
