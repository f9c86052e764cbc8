"""The occurrence ledger: what lets exactly one run serve each occurrence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding
from speakerbot.ports.store import Store

AT = datetime(2026, 11, 23, 17, tzinfo=UTC)


def _running(revision: str, at: datetime = AT) -> OccurrenceRecord:
    return OccurrenceRecord(
        at, OccurrenceStanding.RUNNING, lease_until=at + timedelta(minutes=11), revision=revision
    )


def test_an_unknown_occurrence_has_no_record(store: Store) -> None:
    assert store.occurrences.get("weekly", AT) is None


def test_the_first_to_create_wins_and_the_second_learns_it(store: Store) -> None:
    assert store.occurrences.swap("weekly", None, _running("a"))
    assert not store.occurrences.swap("weekly", None, _running("b"))
    assert store.occurrences.get("weekly", AT) == _running("a")


def test_a_step_from_a_stale_record_loses(store: Store) -> None:
    first = _running("a")
    store.occurrences.swap("weekly", None, first)
    done = OccurrenceRecord(AT, OccurrenceStanding.FINISHED, revision="a.end")
    assert store.occurrences.swap("weekly", first, done)
    assert not store.occurrences.swap("weekly", first, _running("b"))
    assert store.occurrences.get("weekly", AT) == done


def test_a_repeated_write_of_the_winner_still_says_that_it_won(store: Store) -> None:
    """After a lost answer the driver's write is repeated: it must not look lost."""
    first, second = (
        _running("a"),
        OccurrenceRecord(AT, OccurrenceStanding.OPEN, retry_at=AT, resume_at=AT, revision="a.end"),
    )
    store.occurrences.swap("weekly", None, first)
    assert store.occurrences.swap("weekly", first, second)
    assert store.occurrences.get("weekly", AT) == second


def test_schedules_do_not_see_each_other(store: Store) -> None:
    store.occurrences.swap("weekly", None, _running("a"))
    assert store.occurrences.get("digest", AT) is None
    assert store.occurrences.swap("digest", None, _running("b"))


def test_earlier_occurrences_that_were_not_finished_are_superseded(store: Store) -> None:
    times = [AT - timedelta(hours=hours) for hours in (3, 2, 1)]
    store.occurrences.swap("r", None, _running("a", times[0]))
    store.occurrences.swap(
        "r", None, OccurrenceRecord(times[1], OccurrenceStanding.OPEN, revision="b")
    )
    store.occurrences.swap(
        "r", None, OccurrenceRecord(times[2], OccurrenceStanding.FINISHED, revision="c")
    )
    store.occurrences.swap("r", None, _running("d"))
    store.occurrences.supersede("r", before=AT)
    found = [store.occurrences.get("r", at) for at in (*times, AT)]
    standings = [record.standing if record else "" for record in found]
    assert standings == ["superseded", "superseded", "finished", "running"]


def test_old_occurrences_are_forgotten_but_those_that_runs_go_on_with(store: Store) -> None:
    days = [AT + timedelta(days=number) for number in range(5)]
    standings = ("finished", "missed", "superseded", "open", "finished")
    for day, standing in zip(days, standings, strict=True):
        record = OccurrenceRecord(day, standing, revision=f"{day}")  # type: ignore[arg-type]
        assert store.occurrences.swap("weekly", None, record)
    store.occurrences.swap(
        "other", None, OccurrenceRecord(AT, OccurrenceStanding.FINISHED, revision="o")
    )
    assert store.occurrences.forget("weekly", days[4]) == 3
    left = [day for day in days if store.occurrences.get("weekly", day)]
    assert left == days[3:]
    assert store.occurrences.get("other", AT)
    assert store.occurrences.forget("weekly", days[4]) == 0
