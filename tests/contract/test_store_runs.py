"""The record of runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speakerbot.domain.run import Run, RunOutcome
from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
RUN = Run(id="r1", job="reminders", now=NOW, started_at=NOW)


def test_a_run_is_known_from_its_start_and_replaced_at_its_end(store: Store) -> None:
    store.runs.put(RUN)
    assert store.runs.get("r1") == RUN
    ended = RUN._replace(
        finished_at=NOW + timedelta(seconds=2, milliseconds=5),
        outcome=RunOutcome.DONE,
        schedule="hourly",
        occurrence=NOW,
        counts={"sent": 3, "skipped": {"opted_out": 1}, "failed": {}},
    )
    store.runs.put(ended)
    assert store.runs.get("r1") == ended
    assert list(store.runs.list()) == [ended]
    assert store.runs.get("r2") is None


def test_runs_are_listed_newest_first_by_job_and_limited(store: Store) -> None:
    for n in range(60):
        job = "weekly" if n % 3 == 0 else "reminders"
        store.runs.put(RUN._replace(id=f"r{n}", job=job, started_at=NOW + timedelta(hours=n)))
    assert [run.id for run in store.runs.list(limit=3)] == ["r59", "r58", "r57"]
    assert [run.id for run in store.runs.list(job="weekly", limit=2)] == ["r57", "r54"]
    assert len(list(store.runs.list())) == 50
    assert list(store.runs.list(job="digest")) == []


def test_old_runs_are_pruned_the_oldest_first_at_most_as_many_as_allowed(store: Store) -> None:
    for n in range(6):
        store.runs.put(RUN._replace(id=f"r{n}", started_at=NOW - timedelta(days=n)))
    before = NOW - timedelta(days=1)
    assert store.runs.prune(before, 3) == 3
    assert [run.id for run in store.runs.list()] == ["r0", "r1", "r2"]
    assert store.runs.prune(before) == 1
    assert store.runs.prune(before) == 0
    assert [run.id for run in store.runs.list()] == ["r0", "r1"]
