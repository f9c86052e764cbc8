"""The lock that lets one run serve each occurrence of a schedule, and records how far it came.

The decision is :mod:`speakerbot.domain.occurrence`'s; here the store is asked and told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from speakerbot import process
from speakerbot.clock import OUR_CLOCK_IS_OFF, Clock, read_zone, utc_text
from speakerbot.domain.cron import Cron
from speakerbot.domain.occurrence import (
    Due,
    Missed,
    NotDue,
    OccurrenceRecord,
    OccurrenceRules,
    OccurrenceStanding,
    within_reason,
)
from speakerbot.domain.run import Run, RunOutcome, RunSkipReason
from speakerbot.errors import UsageError

if TYPE_CHECKING:
    from speakerbot.ports.store import Store
    from speakerbot.runs.report import Waits

MARGIN = timedelta(minutes=1)
"""How much longer than its timeout a run holds its occurrence: it takes a while to end."""
KEPT = timedelta(days=400)
"""How long records of a schedule's earlier occurrences are kept."""
TRIES = 3
LOOK_EVERY = timedelta(seconds=1)
STEP = timedelta(minutes=5)
"""How long a run that waits keeps its occurrence from others if it dies."""


class LockedSchedule(NamedTuple):
    """The schedule a run belongs to."""

    name: str
    rules: OccurrenceRules
    timeout: timedelta
    enabled: bool
    """False: the run says so and does nothing."""


def read_cron(expression: str, zone: str) -> OccurrenceRules:
    """The occurrences that a command line names, without any grace. Raises UsageError."""
    try:
        return OccurrenceRules(Cron(expression, read_zone(zone)), grace=timedelta())
    except ValueError as error:
        raise UsageError(f"--cron, --timezone: {error}") from error


class HeldOccurrence(NamedTuple):
    """An occurrence that this run may serve. ``now`` is the decision time to serve it at."""

    occurrence: datetime
    now: datetime
    held: OccurrenceRecord | None
    """What was written when it was claimed; None in a dry run."""


@dataclass(slots=True)
class OccurrenceLock:
    """One gated run's way in and out."""

    schedule: LockedSchedule
    store: Store
    clock: Clock
    dry_run: bool
    log: Any
    sleep: Callable[[float], None] = process.sleep
    configured: Callable[[], bool] = lambda: True
    """Asked only where an occurrence is due: whether the job can do anything at all."""
    _turn: HeldOccurrence | None = None

    def serve(self, run: Run, work: Callable[[Run], Waits | None]) -> NotDue | None:
        """Does the work if it is this run's turn. ``work`` is given the run, with its occurrence
        and the decision time to serve it at; it returns what still waits, None if it was cut
        short. Where it is not its turn, returns why (``run_skipped``)."""
        turn = self.acquire(run)
        if isinstance(turn, NotDue):
            return turn
        name = self.schedule.name
        waits = None
        self._turn = turn
        try:
            waits = work(run._replace(now=turn.now, schedule=name, occurrence=turn.occurrence))
        finally:
            self.release(self._turn, waits)
        return None

    def next_occurrence(self) -> datetime | None:
        """When the occurrence after the one that is served comes, in UTC; None: never, or it is
        not known where another decision time than the present is asked for."""
        if self._turn is None or self.clock.offset:
            return None
        return self.schedule.rules.cron.next(self._turn.occurrence)

    def pause(self, until: datetime, woken: Callable[[], bool] | None = None) -> None:
        """Sleeps until this real instant, or until it is woken, and holds the occurrence for the
        work after it, too."""
        self.log.info("run_waits", seconds=round((until - self.clock.real()).total_seconds()))
        renew_at = now = self.clock.real()
        while now < until:
            if now >= renew_at:
                self._renew(STEP)
                now = self.clock.real()  # the store may have been slow
                renew_at = now + STEP
            left = max(until - now, timedelta())
            self.sleep(min(left, STEP if woken is None else LOOK_EVERY).total_seconds())
            now = self.clock.real()
            if woken is not None and woken():
                break
        self._renew(timedelta())

    def _renew(self, nap: timedelta) -> None:
        turn = self._turn
        if turn is None or turn.held is None:
            return
        lease = self.clock.real() + nap + self.schedule.timeout + MARGIN
        held = turn.held._replace(lease_until=lease, revision=f"{turn.held.revision}.")
        # Where another run shares or has taken it, that one's word counts; claims divide the work.
        if self.store.occurrences.swap(self.schedule.name, turn.held, held):
            self._turn = turn._replace(held=held)

    def acquire(self, run: Run) -> HeldOccurrence | NotDue:
        """The occurrence to serve, claimed; or why there is none. Sleeps, at most the schedule's
        ``wait``, for one that is about to come."""
        occurrence = None
        now = run.now
        for _ in range(TRIES):
            real = self.clock.real()
            occurrence = self.schedule.rules.occurrence(now)
            record = self._corrected(self._stored(occurrence), run)
            match self.schedule.rules.decide(occurrence, record, now=now, real=real):
                case Due() if not self.configured():
                    return NotDue(RunSkipReason.NOT_CONFIGURED, occurrence)
                case Due() as due:
                    if self._slept(due.sleep(now)):
                        now = self.clock.decision()
                        continue  # somebody else may have been here meanwhile
                    if turn := self._claim(due.occurrence, record, run, max(now, due.occurrence)):
                        return turn
                case Missed() as missed:
                    self._note_missed(missed, record, run)
                    return NotDue(RunSkipReason.MISSED, occurrence)
                case not_due:
                    return not_due
        return NotDue(RunSkipReason.ALREADY_RUNNING, occurrence)

    def _stored(self, occurrence: datetime | None) -> OccurrenceRecord | None:
        if occurrence is None:
            return None
        return self.store.occurrences.get(self.schedule.name, occurrence)

    def _corrected(self, record: OccurrenceRecord | None, run: Run) -> OccurrenceRecord | None:
        """What a machine with a wrong clock has left ends like any other; not where the wrong clock
        may be this machine's."""
        if record is None or self.dry_run:
            return record
        longest = STEP + self.schedule.timeout + MARGIN
        corrected = within_reason(record, self.clock.real(), longest)
        if corrected is record or self._clock_differs():
            return record
        corrected = corrected._replace(revision=f"{record.revision}.clock.{run.id}")
        if not self.store.occurrences.swap(self.schedule.name, record, corrected):
            return self._stored(record.occurrence)
        self.log.warning(
            "instant_corrected",
            schedule=self.schedule.name,
            occurrence=utc_text(record.occurrence),
            revision=record.revision,
        )
        return corrected

    def _clock_differs(self) -> bool:
        error = self.store.clock_error()
        if abs(error) <= OUR_CLOCK_IS_OFF:
            return False
        seconds = round(error.total_seconds())
        self.log.error("clock_differs", seconds=seconds, hint="set this machine's clock")
        return True

    def _slept(self, nap: timedelta) -> bool:
        """With ``--now`` nothing sleeps; a dry run shows what the occurrence will bring."""
        if not nap or self.clock.offset or self.dry_run:
            return False
        self.log.info("run_waits", seconds=round(nap.total_seconds()))
        self.sleep(nap.total_seconds())
        return True

    def _claim(
        self, occurrence: datetime, record: OccurrenceRecord | None, run: Run, now: datetime
    ) -> HeldOccurrence | None:
        if self.dry_run:
            return HeldOccurrence(occurrence, now, None)
        lease = self.clock.real() + self.schedule.timeout + MARGIN
        held = OccurrenceRecord(
            occurrence, OccurrenceStanding.RUNNING, lease_until=lease, revision=run.id
        )
        if not self.store.occurrences.swap(self.schedule.name, record, held):
            return None
        self.store.occurrences.supersede(self.schedule.name, before=occurrence)
        self.store.occurrences.forget(self.schedule.name, before=occurrence - KEPT)
        return HeldOccurrence(occurrence, now, held)

    def _note_missed(self, missed: Missed, record: OccurrenceRecord | None, run: Run) -> None:
        if self.dry_run:
            return
        noted = OccurrenceRecord(missed.occurrence, OccurrenceStanding.MISSED, revision=run.id)
        if self.store.occurrences.swap(self.schedule.name, record, noted):
            late = timedelta(seconds=missed.late // timedelta(seconds=1))
            self.store.runs.put(
                run._replace(
                    schedule=self.schedule.name,
                    occurrence=missed.occurrence,
                    finished_at=self.clock.real(),
                    outcome=RunOutcome.MISSED,
                    error=f"{late} late, and {self.schedule.rules.whole_grace} are allowed",
                )
            )

    def release(self, turn: HeldOccurrence, waits: Waits | None) -> None:
        """Closes the occurrence, or leaves it open for a later tick while messages still wait."""
        if turn.held is None:
            return
        last = turn.occurrence + self.schedule.rules.whole_grace
        after = _ended(turn.held, waits, last)
        if self.store.occurrences.swap(self.schedule.name, turn.held, after):
            return
        # Another run has the occurrence: one that took over when our lease had ended, whose word is
        # the later one; or one that shares it. Of those nobody can tell alone whether all is done,
        # so it stays open and the next tick looks.
        current = self._stored(turn.occurrence)
        if current and self.schedule.rules.share and not _both_over(current, after):
            reopened = after._replace(
                standing=OccurrenceStanding.OPEN, retry_at=None, resume_at=None
            )
            self.store.occurrences.swap(self.schedule.name, current, reopened)


def _both_over(current: OccurrenceRecord, after: OccurrenceRecord) -> bool:
    if current.standing in (OccurrenceStanding.SUPERSEDED, OccurrenceStanding.MISSED):
        return True
    return current.standing == after.standing == OccurrenceStanding.FINISHED


def _ended(held: OccurrenceRecord, waits: Waits | None, last: datetime) -> OccurrenceRecord:
    """What is noted when a run ends. ``last``: deferred beyond it, a message is not waited for."""
    after = held._replace(
        standing=OccurrenceStanding.OPEN, lease_until=None, revision=f"{held.revision}.end"
    )
    if waits is None or waits.more:
        return after
    resume_at = waits.resume_at if waits.resume_at and waits.resume_at <= last else None
    if waits.retry_at is None and resume_at is None:
        return after._replace(standing=OccurrenceStanding.FINISHED)
    return after._replace(retry_at=waits.retry_at, resume_at=resume_at)
