"""The lock over a real store: of any number of ticks, one serves each occurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import structlog
import time_machine
from structlog.testing import capture_logs

from speakerbot.clock import LONGEST_WAIT, Clock, read_zone
from speakerbot.domain.cron import Cron
from speakerbot.domain.occurrence import (
    NotDue,
    OccurrenceRecord,
    OccurrenceRules,
    OccurrenceStanding,
)
from speakerbot.domain.run import Run, RunSkipReason, new_run
from speakerbot.errors import UsageError
from speakerbot.ports.store import Occurrences, Store
from speakerbot.runs.occurrence_lock import (
    MARGIN,
    STEP,
    HeldOccurrence,
    LockedSchedule,
    OccurrenceLock,
    read_cron,
)
from speakerbot.runs.report import Waits
from speakerbot.stores import open_store

MONDAY = datetime(2026, 11, 23, 17, tzinfo=UTC)
MINUTE, HOUR, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)
NAME = "weekly"
TIMEOUT = 10 * MINUTE


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def time() -> Iterator[time_machine.Traveller]:
    """The real time: a Monday, five past five."""
    with time_machine.travel(MONDAY + 5 * MINUTE, tick=False) as traveller:
        yield traveller


@dataclass
class Machine:
    """A machine whose every tick runs the same command."""

    store: Store
    time: time_machine.Traveller
    wait: timedelta = timedelta()
    share: bool = False
    dry_run: bool = False
    clock: Clock = field(default_factory=Clock)
    timeout: timedelta = TIMEOUT
    served: list[Run] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)

    def lock(self) -> OccurrenceLock:
        cron = Cron("0 17 * * MON", read_zone("UTC"))
        rules = OccurrenceRules(cron, grace=24 * HOUR, wait=self.wait, share=self.share)
        return OccurrenceLock(
            LockedSchedule(NAME, rules, self.timeout, enabled=True),
            self.store,
            self.clock,
            self.dry_run,
            structlog.get_logger(),
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "this would never end"
        self.naps.append(seconds)
        self.time.shift(seconds)

    def tick(self, waits: Waits | None = None) -> str:
        """Why nothing was done; empty if the occurrence was served."""

        def work(run: Run) -> Waits | None:
            self.served.append(run)
            return waits

        skipped = self.lock().serve(new_run(NAME, self.clock), work)
        return skipped.reason if skipped else ""

    def acquire(self) -> HeldOccurrence:
        turn = self.lock().acquire(new_run(NAME, self.clock))
        assert isinstance(turn, HeldOccurrence)
        return turn

    def stored(self, occurrence: datetime = MONDAY) -> OccurrenceRecord | None:
        return self.store.occurrences.get(NAME, occurrence)

    def standing(self, occurrence: datetime = MONDAY) -> OccurrenceStanding | None:
        stored = self.stored(occurrence)
        return stored.standing if stored else None


@pytest.fixture
def machine(store: Store, time: time_machine.Traveller) -> Machine:
    return Machine(store, time)


DONE = Waits()


def test_an_occurrence_is_served_once(machine: Machine, time: time_machine.Traveller) -> None:
    assert machine.tick(DONE) == ""
    [run] = machine.served
    assert (run.schedule, run.occurrence, run.now) == (NAME, MONDAY, MONDAY + 5 * MINUTE)
    assert machine.standing() == "finished"
    assert machine.tick(DONE) == "already_done"
    time.shift(HOUR)
    assert machine.tick(DONE) == "already_done"
    assert len(machine.served) == 1


def test_the_next_occurrence_is_served_again(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(DONE)
    time.shift(WEEK)
    assert machine.tick(DONE) == ""
    assert [run.occurrence for run in machine.served] == [MONDAY, MONDAY + WEEK]


def test_why_a_tick_does_nothing_names_the_occurrence(machine: Machine) -> None:
    machine.tick(DONE)
    skipped = machine.lock().serve(new_run(NAME, machine.clock), lambda _: DONE)
    assert skipped is not None
    assert (skipped.reason, skipped.occurrence) == ("already_done", MONDAY)


def test_a_job_that_is_not_configured_leaves_its_occurrence_for_when_it_is(
    machine: Machine,
) -> None:
    lock = replace(machine.lock(), configured=lambda: False)
    skipped = lock.serve(new_run(NAME, machine.clock), lambda _: DONE)
    assert skipped == NotDue(RunSkipReason.NOT_CONFIGURED, MONDAY)
    assert machine.stored() is None
    assert machine.tick(DONE) == ""


def test_while_it_runs_it_is_held_a_little_longer_than_it_may_take(machine: Machine) -> None:
    turn = machine.acquire()
    assert turn.held is not None
    assert turn.held.lease_until == MONDAY + 5 * MINUTE + TIMEOUT + MARGIN
    assert machine.stored() == turn.held
    assert machine.tick(DONE) == "already_running"


def test_a_run_that_died_is_taken_up_again_when_its_lease_is_over(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.acquire()
    time.shift(TIMEOUT)
    assert machine.tick(DONE) == "already_running"
    time.shift(MARGIN)
    assert machine.tick(DONE) == ""
    assert machine.standing() == "finished"


def test_a_run_that_fails_leaves_its_occurrence_open_for_the_next_tick(machine: Machine) -> None:
    def fail(_: Run) -> Waits | None:
        raise RuntimeError("as a bug would")

    with pytest.raises(RuntimeError):
        machine.lock().serve(new_run(NAME, machine.clock), fail)
    assert machine.standing() == "open"
    assert machine.tick(DONE) == ""


@pytest.mark.parametrize("waits", [None, Waits(more=True)])
def test_a_run_that_was_cut_short_is_gone_on_with_at_once(
    machine: Machine, waits: Waits | None
) -> None:
    machine.tick(waits)
    stored = machine.stored()
    assert stored is not None
    assert (stored.standing, stored.lease_until) == ("open", None)
    assert machine.tick(DONE) == ""
    assert machine.standing() == "finished"


def test_a_failed_message_keeps_it_open_and_quiet_until_its_next_try(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(Waits(retry_at=MONDAY + 15 * MINUTE))
    assert machine.tick(DONE) == "not_due"
    time.shift(10 * MINUTE)
    assert machine.tick(DONE) == ""
    assert machine.standing() == "finished"


def test_a_deferred_message_keeps_it_open_until_its_quiet_hours_end(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(Waits(resume_at=MONDAY + 15 * HOUR))
    time.shift(14 * HOUR)
    assert machine.tick(DONE) == "not_due"
    time.shift(HOUR)
    assert machine.tick(DONE) == ""


def test_what_is_deferred_to_the_end_of_the_grace_is_waited_for(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(Waits(resume_at=MONDAY + 24 * HOUR))
    assert machine.standing() == "open"
    time.move_to(MONDAY + 24 * HOUR)
    assert machine.tick(DONE) == ""


def test_what_is_deferred_beyond_the_grace_is_not_waited_for(machine: Machine) -> None:
    machine.tick(Waits(resume_at=MONDAY + 25 * HOUR))
    assert machine.standing() == "finished"


def test_past_its_grace_it_is_missed_and_recorded_once(
    machine: Machine, time: time_machine.Traveller, store: Store
) -> None:
    time.shift(24 * HOUR)
    assert machine.tick(DONE) == "missed"
    assert machine.tick(DONE) == "missed"
    assert machine.served == []
    assert machine.standing() == "missed"
    [run] = store.runs.list()
    assert (run.outcome, run.schedule, run.occurrence) == ("missed", NAME, MONDAY)
    assert run.finished_at is not None
    assert run.error == "1 day, 0:05:00 late, and 1 day, 0:00:00 are allowed"


def test_one_that_a_later_one_overtook_is_superseded(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(None)
    time.shift(WEEK)
    machine.tick(DONE)
    assert machine.standing(MONDAY) == "superseded"
    assert machine.standing(MONDAY + WEEK) == "finished"


def test_records_of_old_occurrences_are_forgotten(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.tick(DONE)
    time.shift(57 * WEEK)
    machine.tick(DONE)
    assert machine.standing(MONDAY) == "finished"
    time.shift(WEEK)
    machine.tick(DONE)
    assert machine.stored(MONDAY) is None


def test_of_two_that_sleep_towards_it_one_is_let_in(
    machine: Machine, store: Store, time: time_machine.Traveller
) -> None:
    other = Machine(store, time)
    machine.wait = HOUR
    time.move_to(MONDAY - MINUTE)

    def oversleep(_: float) -> None:
        time.move_to(MONDAY)
        other.acquire()

    lock = replace(machine.lock(), sleep=oversleep)
    answer = lock.acquire(new_run(NAME, machine.clock))
    assert answer == NotDue(RunSkipReason.ALREADY_RUNNING, MONDAY, MONDAY + TIMEOUT + MARGIN)


class Contested:
    """Occurrences that others do something to right after this run has looked."""

    def __init__(self, behind: Occurrences, *meanwhile: Callable[[], object]) -> None:
        self.behind = behind
        self.meanwhile = list(meanwhile)
        self.revisions: list[str] = []

    def get(self, schedule: str, occurrence: datetime) -> OccurrenceRecord | None:
        found = self.behind.get(schedule, occurrence)
        if self.meanwhile:
            self.meanwhile.pop()()
        return found

    def swap(self, schedule: str, before: OccurrenceRecord | None, after: OccurrenceRecord) -> bool:
        won = self.behind.swap(schedule, before, after)
        if won:
            self.revisions.append(after.revision)
        return won

    def supersede(self, schedule: str, before: datetime) -> None:
        self.behind.supersede(schedule, before)

    def forget(self, schedule: str, before: datetime) -> int:
        return self.behind.forget(schedule, before)


def contested(store: Store, *meanwhile: Callable[[], object]) -> Store:
    """The same store, but for its occurrences."""
    changed = copy(store)
    changed.occurrences = Contested(store.occurrences, *meanwhile)
    return changed


def test_of_two_that_look_at_the_same_instant_one_is_let_in(
    machine: Machine, store: Store, time: time_machine.Traveller
) -> None:
    other = Machine(store, time)
    machine.store = contested(store, other.acquire)
    assert machine.tick(DONE) == "already_running"
    assert machine.served == []


def test_who_loses_to_a_run_that_is_cut_short_goes_on_with_it(
    machine: Machine, store: Store, time: time_machine.Traveller
) -> None:
    other = Machine(store, time)
    machine.store = contested(store, lambda: other.tick(None))
    assert machine.tick(DONE) == ""
    assert len(machine.served) == len(other.served) == 1
    assert machine.standing() == "finished"


def test_who_is_always_too_late_leaves_it_to_the_others(machine: Machine, store: Store) -> None:
    other = Machine(store, machine.time)
    others = [lambda: other.tick(None)] * 10
    machine.store = contested(store, *others)
    answer = machine.lock().acquire(new_run(NAME, machine.clock))
    assert answer == NotDue(RunSkipReason.ALREADY_RUNNING, MONDAY)


def test_a_shared_occurrence_is_over_when_all_have_finished(machine: Machine) -> None:
    machine.share = True
    first, second = machine.acquire(), machine.acquire()
    machine.lock().release(second, DONE)
    machine.lock().release(first, DONE)
    assert machine.tick(DONE) == "already_done"


def test_a_shared_occurrence_stays_open_for_what_one_of_them_has_left(machine: Machine) -> None:
    machine.share = True
    first, second = machine.acquire(), machine.acquire()
    machine.lock().release(second, Waits(retry_at=MONDAY + HOUR))
    machine.lock().release(first, DONE)
    assert machine.tick(DONE) == ""


def test_who_leaves_a_shared_occurrence_last_has_the_next_tick_look(machine: Machine) -> None:
    machine.share = True
    first, second = machine.acquire(), machine.acquire()
    machine.lock().release(second, DONE)
    machine.lock().release(first, Waits(resume_at=MONDAY + HOUR))
    assert machine.tick(DONE) == ""


def test_a_shared_occurrence_that_a_later_one_overtook_stays_superseded(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.share = True
    slow = machine.acquire()
    time.shift(WEEK)
    machine.tick(DONE)
    machine.lock().release(slow, None)
    assert machine.standing(MONDAY) == "superseded"


def test_a_shared_occurrence_that_was_taken_as_missed_stays_missed(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.share = True
    slow = machine.acquire()
    time.shift(24 * HOUR)
    assert machine.tick(DONE) == "missed"
    machine.lock().release(slow, None)
    assert machine.standing() == "missed"


def test_an_occurrence_that_was_forgotten_meanwhile_is_not_written_again(
    machine: Machine, store: Store
) -> None:
    machine.share = True
    first, second = machine.acquire(), machine.acquire()
    machine.lock().release(second, DONE)
    store.occurrences.forget(NAME, before=MONDAY + HOUR)
    machine.lock().release(first, None)
    assert machine.stored() is None


def test_every_write_has_a_revision_of_its_own(
    machine: Machine, store: Store, time: time_machine.Traveller
) -> None:
    """Compare-and-swap would otherwise take an old record for the one that was read."""
    machine.store = watched = contested(store)
    held_by_a_wrong_clock(machine)
    machine.tick(DONE)
    time.move_to(MONDAY + 5 * MINUTE + LONGEST_WAIT)

    lock = machine.lock()

    def work(run: Run) -> Waits | None:
        lock.pause(machine.clock.real() + HOUR)
        return None

    lock.serve(new_run(NAME, machine.clock), work)
    machine.tick(DONE)
    time.shift(WEEK + 25 * HOUR)
    machine.tick(DONE)
    assert machine.standing(MONDAY + WEEK) == "missed"
    revisions = cast(Contested, watched.occurrences).revisions
    assert len(revisions) > 15
    assert len(set(revisions)) == len(revisions)
    assert "" not in revisions


def test_a_shared_occurrence_lets_all_in_and_is_over_when_all_say_so(
    machine: Machine, store: Store
) -> None:
    machine.share = True
    first = machine.acquire()
    second = machine.acquire()
    machine.lock().release(second, DONE)
    machine.lock().release(first, Waits(retry_at=MONDAY + HOUR))
    assert machine.standing() == "open"
    assert machine.tick(DONE) == ""
    assert machine.standing() == "finished"


def test_who_was_taken_for_dead_does_not_overrule_who_took_over(
    machine: Machine, time: time_machine.Traveller
) -> None:
    slow = machine.acquire()
    time.shift(TIMEOUT + MARGIN)
    quick = machine.acquire()
    machine.lock().release(slow, DONE)
    assert machine.stored() == quick.held
    machine.lock().release(quick, DONE)
    assert machine.standing() == "finished"


def test_an_early_tick_sleeps_until_the_occurrence_and_serves_it_on_the_dot(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.wait = HOUR
    time.move_to(MONDAY - 40 * MINUTE)
    with capture_logs() as lines:
        assert machine.tick(DONE) == ""
    assert machine.naps == [40 * 60]
    assert lines == [{"event": "run_waits", "seconds": 2400, "log_level": "info"}]
    [run] = machine.served
    assert (run.now, run.occurrence) == (MONDAY, MONDAY)


def test_nothing_is_held_while_it_sleeps(machine: Machine, time: time_machine.Traveller) -> None:
    """A machine that is lost in its sleep must not keep others from the occurrence."""
    machine.wait = HOUR
    time.move_to(MONDAY - 40 * MINUTE)

    def look(_: float) -> None:
        assert machine.stored() is None
        time.move_to(MONDAY)

    lock = replace(machine.lock(), sleep=look)
    assert isinstance(lock.acquire(new_run(NAME, machine.clock)), HeldOccurrence)


def test_who_sleeps_past_the_grace_has_missed_it(
    machine: Machine, time: time_machine.Traveller
) -> None:
    """As a machine does that is suspended meanwhile."""
    machine.wait = HOUR
    time.move_to(MONDAY - 40 * MINUTE)
    lock = replace(machine.lock(), sleep=lambda _: time.move_to(MONDAY + 25 * HOUR))
    answer = lock.acquire(new_run(NAME, machine.clock))
    assert answer == NotDue(RunSkipReason.MISSED, MONDAY)


def test_a_tick_too_early_to_wait_is_about_last_week(
    machine: Machine, time: time_machine.Traveller
) -> None:
    machine.wait = HOUR
    machine.tick(DONE)
    time.move_to(MONDAY + WEEK - 2 * HOUR)
    assert machine.tick(DONE) == "already_done"
    assert machine.naps == []


def test_in_another_time_nothing_sleeps(machine: Machine, time: time_machine.Traveller) -> None:
    machine.wait, machine.clock = HOUR, Clock.at(MONDAY + WEEK - 40 * MINUTE)
    assert machine.tick(DONE) == ""
    assert machine.naps == []
    assert machine.served[0].now == MONDAY + WEEK, "it is served at the time it is for"


def test_a_dry_run_shows_the_same_and_writes_nothing(
    machine: Machine, time: time_machine.Traveller, store: Store
) -> None:
    machine.dry_run = True
    assert machine.tick(DONE) == ""
    assert machine.served[0].occurrence == MONDAY
    time.shift(24 * HOUR)
    assert machine.tick(DONE) == "missed"
    time.shift(WEEK - 24 * HOUR - 10 * MINUTE)
    machine.wait = HOUR
    assert machine.tick(DONE) == ""
    assert machine.served[1].now == MONDAY + WEEK
    assert machine.naps == []
    assert machine.stored() is None
    assert list(store.runs.list()) == []


class StoreWithClock:
    """The same store, whose own clock differs from this machine's."""

    def __init__(self, behind: Store, error: timedelta) -> None:
        self._behind = behind
        self._error = error

    def clock_error(self) -> timedelta:
        return self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


AHEAD = MONDAY + timedelta(days=3)


def held_by_a_wrong_clock(machine: Machine) -> OccurrenceRecord:
    record = OccurrenceRecord(
        MONDAY, OccurrenceStanding.RUNNING, lease_until=AHEAD, revision="wrong-clock"
    )
    assert machine.store.occurrences.swap(NAME, None, record)
    return record


def test_a_lease_from_a_clock_that_is_days_ahead_is_cut_and_then_ends_like_any_other(
    machine: Machine, time: time_machine.Traveller
) -> None:
    held_by_a_wrong_clock(machine)
    longest = MONDAY + 5 * MINUTE + LONGEST_WAIT
    with capture_logs() as lines:
        assert machine.tick(DONE) == "already_running"
        assert machine.tick(DONE) == "already_running"
    stored = machine.stored()
    assert stored is not None
    assert (stored.standing, stored.lease_until) == ("running", longest)
    corrected = [line for line in lines if line["event"] == "instant_corrected"]
    assert corrected == [
        {
            "event": "instant_corrected",
            "log_level": "warning",
            "schedule": NAME,
            "occurrence": "2026-11-23T17:00:00Z",
            "revision": "wrong-clock",
        }
    ]
    time.move_to(longest + MINUTE)
    assert machine.tick(DONE) == ""
    assert machine.standing() == "finished"


def test_a_retry_days_ahead_is_cut_too(machine: Machine, time: time_machine.Traveller) -> None:
    record = OccurrenceRecord(
        MONDAY, OccurrenceStanding.OPEN, retry_at=AHEAD, revision="wrong-clock"
    )
    assert machine.store.occurrences.swap(NAME, None, record)
    assert machine.tick(DONE) == "not_due"
    time.shift(LONGEST_WAIT + MINUTE)
    assert machine.tick(DONE) == ""


def test_a_machine_whose_own_clock_is_wrong_leaves_leases_alone_and_says_so(
    machine: Machine, store: Store
) -> None:
    record = held_by_a_wrong_clock(machine)
    machine.store = cast(Store, StoreWithClock(store, timedelta(seconds=-31)))
    with capture_logs() as lines:
        assert machine.tick(DONE) == "already_running"
    assert machine.stored() == record
    assert lines == [
        {
            "event": "clock_differs",
            "log_level": "error",
            "seconds": -31,
            "hint": "set this machine's clock",
        }
    ]


def test_clocks_that_differ_a_little_are_right_enough(machine: Machine, store: Store) -> None:
    record = held_by_a_wrong_clock(machine)
    machine.store = cast(Store, StoreWithClock(store, timedelta(seconds=30)))
    assert machine.tick(DONE) == "already_running"
    assert machine.stored() != record


def test_the_lease_of_a_long_run_that_waits_is_left_alone(machine: Machine, store: Store) -> None:
    machine.timeout = 3 * HOUR
    other = Machine(store, machine.time, timeout=3 * HOUR)

    def look(machine: Machine) -> None:
        held = machine.stored()
        assert other.tick(DONE) == "already_running"
        assert machine.stored() == held

    waiting(machine, machine.clock.real() + HOUR, look)


def test_a_dry_run_cuts_no_lease(machine: Machine) -> None:
    record = held_by_a_wrong_clock(machine)
    machine.dry_run = True
    assert machine.tick(DONE) == "already_running"
    assert machine.stored() == record


def test_a_lease_that_changed_meanwhile_is_not_overwritten(machine: Machine, store: Store) -> None:
    record = held_by_a_wrong_clock(machine)
    ended = record._replace(
        standing=OccurrenceStanding.FINISHED, lease_until=None, revision="ended"
    )
    machine.store = contested(store, lambda: store.occurrences.swap(NAME, record, ended))
    assert machine.tick(DONE) == "already_done"
    assert machine.stored() == ended


def waiting(
    machine: Machine,
    until: datetime,
    meanwhile: Callable[[Machine], None] | None = None,
    woken: Callable[[], bool] | None = None,
    then: Waits | None = DONE,
) -> None:
    """A run that waits, and what happens in each of its naps."""

    def sleep(seconds: float) -> None:
        if meanwhile is not None:
            meanwhile(machine)
        machine.sleep(seconds)

    lock = replace(machine.lock(), sleep=sleep)

    def work(_: Run) -> Waits | None:
        lock.pause(until, woken)
        return then

    assert lock.serve(new_run(NAME, machine.clock), work) is None


def test_a_run_that_waits_says_so_and_goes_on_at_that_instant(
    machine: Machine, time: time_machine.Traveller
) -> None:
    until = machine.clock.real() + HOUR
    with capture_logs() as lines:
        waiting(machine, until)
    assert machine.clock.real() == until
    assert lines == [{"event": "run_waits", "seconds": 3600, "log_level": "info"}]


def test_who_waits_keeps_its_occurrence_to_itself(machine: Machine, store: Store) -> None:
    """Also when it waits longer than its first lease."""
    other = Machine(store, machine.time)

    def look(machine: Machine) -> None:
        assert other.tick(DONE) == "already_running"

    waiting(machine, machine.clock.real() + HOUR, look)
    assert machine.standing() == "finished"


def test_after_it_has_waited_it_has_its_whole_time_left(machine: Machine) -> None:
    lock = machine.lock()

    def work(_: Run) -> Waits | None:
        lock.pause(machine.clock.real() + 7 * MINUTE)
        stored = machine.stored()
        assert stored is not None
        assert stored.lease_until == machine.clock.real() + TIMEOUT + MARGIN
        return DONE

    lock.serve(new_run(NAME, machine.clock), work)


def test_a_run_that_dies_while_it_waits_soon_leaves_its_occurrence_to_others(
    machine: Machine,
) -> None:
    def look(machine: Machine) -> None:
        stored = machine.stored()
        assert stored is not None
        assert stored.lease_until is not None
        ahead = stored.lease_until - machine.clock.real()
        assert TIMEOUT + MARGIN <= ahead <= STEP + TIMEOUT + MARGIN

    waiting(machine, machine.clock.real() + HOUR, look)


def test_a_run_that_may_be_woken_looks_every_second(machine: Machine) -> None:
    answers = iter([False, False, True])
    begin = machine.clock.real()
    waiting(machine, begin + HOUR, woken=lambda: next(answers))
    assert machine.naps == [1, 1, 1]


def test_who_looks_every_second_does_not_write_every_second(machine: Machine, store: Store) -> None:
    machine.store = watched = contested(store)
    waiting(machine, machine.clock.real() + 4 * MINUTE, woken=lambda: False)
    assert len(machine.naps) == 240
    assert len(cast(Contested, watched.occurrences).revisions) < 6


def test_who_lost_its_occurrence_while_it_waited_leaves_it_to_who_has_it(
    machine: Machine, store: Store
) -> None:
    taken = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, revision="another")

    def take(machine: Machine) -> None:
        machine.store.occurrences.swap(NAME, machine.stored(), taken)

    waiting(machine, machine.clock.real() + 2 * STEP, take)
    assert machine.stored() == taken


def test_a_dry_run_that_waits_writes_nothing(machine: Machine) -> None:
    machine.dry_run = True
    waiting(machine, machine.clock.real() + MINUTE)
    assert machine.stored() is None


def test_before_it_has_an_occurrence_a_run_waits_for_its_own_sake(machine: Machine) -> None:
    machine.lock().pause(machine.clock.real() + MINUTE)
    assert machine.naps == [60]
    assert machine.stored() is None


def test_a_run_knows_when_the_occurrence_after_its_own_comes(machine: Machine) -> None:
    lock = machine.lock()
    assert lock.next_occurrence() is None
    lock.serve(new_run(NAME, machine.clock), lambda _: DONE)
    assert lock.next_occurrence() == MONDAY + WEEK


def test_in_another_time_it_is_not_known_when_the_next_occurrence_comes(machine: Machine) -> None:
    machine.clock = Clock.at(MONDAY + WEEK)
    lock = machine.lock()
    lock.serve(new_run(NAME, machine.clock), lambda _: DONE)
    assert lock.next_occurrence() is None


def test_a_cron_expression_of_the_command_line_is_read_in_its_zone() -> None:
    rules = read_cron("0 9 * * *", "Europe/Berlin")
    assert rules == OccurrenceRules(Cron("0 9 * * *", read_zone("Europe/Berlin")), timedelta())


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [("0 9 * *", "UTC", "5 fields"), ("0 9 * * *", "Mars", "'Mars' is not a time zone")],
)
def test_what_is_wrong_with_it_names_both_options(expression: str, zone: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"--cron, --timezone: .*{said}"):
        read_cron(expression, zone)
