"""Ticks become runs: each occurrence once, within its grace, resumed while messages wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.clock import LONGEST_WAIT
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
from speakerbot.domain.run import RunSkipReason

ZONE = ZoneInfo("America/Los_Angeles")
MONDAY = datetime(2026, 11, 24, 1, tzinfo=UTC)  # Monday 17:00 in Los Angeles
HOUR = timedelta(hours=1)
WEEKLY = OccurrenceRules(Cron("0 17 * * MON", ZONE), grace=24 * HOUR)


def tick(
    now: datetime,
    record: OccurrenceRecord | None = None,
    gate: OccurrenceRules = WEEKLY,
    real: datetime | None = None,
) -> Due | NotDue | Missed:
    return gate.decide(gate.occurrence(now), record, now=now, real=real or now)


def test_an_occurrence_is_due_from_its_instant_to_the_end_of_its_grace() -> None:
    assert tick(MONDAY) == Due(MONDAY)
    assert tick(MONDAY + 24 * HOUR) == Due(MONDAY)


def test_of_a_schedule_that_has_had_no_occurrence_the_first_is_waited_for() -> None:
    answer = WEEKLY.decide(None, None, now=MONDAY - HOUR, real=MONDAY - HOUR)
    assert answer == NotDue(RunSkipReason.NOT_DUE, None, MONDAY)


def test_past_its_grace_it_is_missed_and_says_how_late() -> None:
    late = 24 * HOUR + timedelta(seconds=1)
    assert tick(MONDAY + late) == Missed(MONDAY, late, begun=False)


def test_one_that_was_begun_but_never_finished_is_missed_as_begun() -> None:
    dead = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, lease_until=MONDAY + HOUR)
    assert tick(MONDAY + 25 * HOUR, dead) == Missed(MONDAY, 25 * HOUR, begun=True)


def test_a_recorded_miss_is_not_reported_again() -> None:
    answer = tick(MONDAY + 30 * HOUR, OccurrenceRecord(MONDAY, OccurrenceStanding.MISSED))
    assert answer == NotDue(RunSkipReason.MISSED, MONDAY, MONDAY + timedelta(days=7))


@pytest.mark.parametrize("standing", ["finished", "superseded"])
def test_a_settled_occurrence_is_done(standing: OccurrenceStanding) -> None:
    answer = tick(MONDAY + HOUR, OccurrenceRecord(MONDAY, standing))
    assert answer == NotDue(RunSkipReason.ALREADY_DONE, MONDAY, MONDAY + timedelta(days=7))


def test_an_occurrence_another_run_holds_is_left_to_it_until_its_lease_is_over() -> None:
    held = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, lease_until=MONDAY + HOUR)
    assert tick(MONDAY, held) == NotDue(RunSkipReason.ALREADY_RUNNING, MONDAY, MONDAY + HOUR)
    assert tick(MONDAY + HOUR, held) == Due(MONDAY, resumed=True)


def test_a_shared_occurrence_is_worked_on_by_all() -> None:
    gate = OccurrenceRules(WEEKLY.cron, grace=24 * HOUR, share=True)
    held = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, lease_until=MONDAY + HOUR)
    assert tick(MONDAY, held, gate) == Due(MONDAY, resumed=True)
    assert (
        tick(MONDAY, OccurrenceRecord(MONDAY, OccurrenceStanding.FINISHED), gate).__class__
        is NotDue
    )


def test_an_open_occurrence_rests_until_going_on_makes_sense() -> None:
    waiting = OccurrenceRecord(
        MONDAY, OccurrenceStanding.OPEN, retry_at=MONDAY + 2 * HOUR, resume_at=MONDAY + 3 * HOUR
    )
    assert tick(MONDAY + HOUR, waiting) == NotDue(RunSkipReason.NOT_DUE, MONDAY, MONDAY + 2 * HOUR)
    assert tick(MONDAY + 2 * HOUR, waiting) == Due(MONDAY, resumed=True)
    assert tick(MONDAY + 2 * HOUR, OccurrenceRecord(MONDAY, OccurrenceStanding.OPEN)) == Due(
        MONDAY, resumed=True
    )


def test_retries_and_leases_follow_the_real_clock_and_deferrals_the_decision_clock() -> None:
    real = MONDAY + timedelta(days=90)
    retry = OccurrenceRecord(MONDAY, OccurrenceStanding.OPEN, retry_at=real + HOUR)
    assert tick(MONDAY + 9 * HOUR, retry, real=real) == NotDue(
        RunSkipReason.NOT_DUE, MONDAY, real + HOUR
    )
    deferred = OccurrenceRecord(MONDAY, OccurrenceStanding.OPEN, resume_at=MONDAY + 8 * HOUR)
    assert tick(MONDAY + 9 * HOUR, deferred, real=real) == Due(MONDAY, resumed=True)
    dead = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, lease_until=real - HOUR)
    assert tick(MONDAY, dead, real=real) == Due(MONDAY, resumed=True)


def test_wait_makes_an_early_tick_sleep_to_the_minute() -> None:
    gate = OccurrenceRules(WEEKLY.cron, grace=24 * HOUR, wait=HOUR)
    early = MONDAY - timedelta(minutes=40)
    answer = tick(early, gate=gate)
    assert answer == Due(MONDAY)
    assert isinstance(answer, Due)
    assert answer.sleep(early) == timedelta(minutes=40)
    assert answer.sleep(MONDAY + HOUR) == timedelta()


def test_a_tick_earlier_than_the_wait_is_about_last_week() -> None:
    gate = OccurrenceRules(WEEKLY.cron, grace=24 * HOUR, wait=HOUR)
    last = MONDAY - timedelta(days=7)
    answer = tick(MONDAY - 2 * HOUR, OccurrenceRecord(last, OccurrenceStanding.FINISHED), gate)
    assert answer == NotDue(RunSkipReason.ALREADY_DONE, last, MONDAY - HOUR)


def test_a_machine_of_unknown_phase_never_misses_within_its_period() -> None:
    daily = OccurrenceRules(Cron("@daily", ZoneInfo("UTC")), grace=6 * HOUR)
    assert isinstance(tick(datetime(2026, 11, 23, 23, 59, tzinfo=UTC), gate=daily), Due)


@given(st.lists(st.integers(1, 240), min_size=1, max_size=60), st.integers(0, 90))
def test_whatever_the_ticks_each_occurrence_is_run_at_most_once_and_in_its_grace(
    gaps: list[int], wait: int
) -> None:
    """Every tick that is due runs to its end; what the hour's last tick leaves is the next's."""
    gate = OccurrenceRules(
        Cron("0 */3 * * *", ZONE), grace=timedelta(minutes=50), wait=timedelta(minutes=wait)
    )
    now, records = datetime(2026, 10, 31, 20, tzinfo=UTC), dict[datetime, OccurrenceRecord]()
    for gap in gaps:
        now += timedelta(minutes=gap)
        occurrence = gate.occurrence(now)
        assert occurrence is not None
        answer = gate.decide(occurrence, records.get(occurrence), now=now, real=now)
        if isinstance(answer, Due):
            assert occurrence not in records
            assert now + answer.sleep(now) - occurrence <= gate.grace
            records[occurrence] = OccurrenceRecord(occurrence, OccurrenceStanding.FINISHED)
        elif isinstance(answer, Missed):
            assert now - occurrence > gate.grace
            records[occurrence] = OccurrenceRecord(occurrence, OccurrenceStanding.MISSED)
        else:
            assert occurrence in records


def test_what_only_a_wrong_clock_can_have_written_is_cut() -> None:
    now, year = MONDAY, MONDAY + 365 * 24 * HOUR
    running = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING, lease_until=now + LONGEST_WAIT)
    assert within_reason(running, now, HOUR) is running
    assert within_reason(running._replace(lease_until=year), now, HOUR) == running
    longer = now + 2 * LONGEST_WAIT
    cut = within_reason(running._replace(lease_until=year), now, 2 * LONGEST_WAIT)
    assert cut.lease_until == longer
    waiting = OccurrenceRecord(
        MONDAY, OccurrenceStanding.OPEN, retry_at=now + LONGEST_WAIT, resume_at=year
    )
    assert within_reason(waiting, now, HOUR) is waiting
    assert within_reason(waiting._replace(retry_at=year), now, HOUR) == waiting


def test_a_claim_without_a_lease_needs_no_cut() -> None:
    record = OccurrenceRecord(MONDAY, OccurrenceStanding.RUNNING)
    assert within_reason(record, MONDAY, HOUR) is record


def test_standings_are_stored_under_their_names() -> None:
    assert {str(standing) for standing in OccurrenceStanding} == {
        "running", "open", "finished", "missed", "superseded",
    }  # fmt: skip


@pytest.mark.parametrize("standing", ["finished", "missed", "superseded"])
def test_what_is_over_needs_no_cut(standing: OccurrenceStanding) -> None:
    """The store leaves both to an occurrence that a later one supersedes."""
    year = MONDAY + 365 * 24 * HOUR
    record = OccurrenceRecord(MONDAY, standing, lease_until=year, retry_at=year)
    assert within_reason(record, MONDAY, HOUR) is record
