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
from speakerbot.ports.store import Occurrences, Store
from speakerbot.runs.occurrence_lock import MARGIN, HeldOccurrence, LockedSchedule, OccurrenceLock
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
    served: list[Run] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)

    def lock(self) -> OccurrenceLock:
        cron = Cron("0 17 * * MON", read_zone("UTC"))
        rules = OccurrenceRules(cron, grace=24 * HOUR, wait=self.wait, share=self.share)
        schedule = LockedSchedule(NAME, rules, TIMEOUT)
        log = structlog.get_logger()
        return OccurrenceLock(schedule, self.store, self.clock, self.dry_run, log, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
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
    assert machine.standing() == "open"
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

    def __init__(self, behind: Occurrences, meanwhile: Callable[[], object]) -> None:
        self.behind = behind
        self.meanwhile = [meanwhile]

    def get(self, schedule: str, occurrence: datetime) -> OccurrenceRecord | None:
        found = self.behind.get(schedule, occurrence)
        if self.meanwhile:
            self.meanwhile.pop()()
        return found

    def swap(self, schedule: str, before: OccurrenceRecord | None, after: OccurrenceRecord) -> bool:
        return self.behind.swap(schedule, before, after)

    def supersede(self, schedule: str, before: datetime) -> None:
        self.behind.supersede(schedule, before)

    def forget(self, schedule: str, before: datetime) -> int:
        return self.behind.forget(schedule, before)


def contested(store: Store, meanwhile: Callable[[], object]) -> Store:
    """The same store, but for its occurrences."""
    changed = copy(store)
    changed.occurrences = Contested(store.occurrences, meanwhile)
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
    assert [line["log_level"] for line in corrected] == ["warning"]
    assert corrected[0]["schedule"] == NAME
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
    assert [(line["event"], line["log_level"], line.get("seconds")) for line in lines] == [
        ("clock_differs", "error", -31)
    ]


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
