"""``--horizon``: a run that stays sends at the instant, sees what changes meanwhile, and ends when
nothing more is due."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import JOBS
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.schedules.reading import read_schedules
from speakerbot.stores import open_store
from speakerbot.testing.discord import Fault
from tests.integration.machine import DAY, Machine, instant

HORIZON = timedelta(minutes=75)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def timed(machine: Machine) -> Machine:
    """Each speaker is told of their talk an hour before."""
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("1h"))
    return machine


def book(machine: Machine, reminded_at: str, days: int = 0) -> None:
    """A talk whose reminder falls due at this clock time, so many days from DAY on."""
    starts = instant(reminded_at) + timedelta(hours=1)
    machine.book(DAY + timedelta(days=days), starts_at=starts.time())


def sent_at(machine: Machine) -> list[datetime]:
    """When answers arrived, in order."""
    found = [each.sent_at for each in machine.store.ledger.list() if each.sent_at]
    assert len(found) == len(machine.discord.messages)
    return sorted(found)


def after_naps(machine: Machine, naps: int, what: Callable[[], None]) -> None:
    """Has something happen while the run waits for the nth second."""

    def meanwhile() -> None:
        if len(machine.naps) == naps:
            what()

    machine.meanwhile = meanwhile


def stay(machine: Machine, at: str, **options: Any) -> None:
    machine.run(at, gated=False, horizon=HORIZON, **options)


def test_a_message_goes_at_its_instant_and_never_early(timed: Machine) -> None:
    book(timed, "15:00")
    stay(timed, "14:59:57")
    [at] = sent_at(timed)
    assert instant("15:00") <= at <= instant("15:00") + 300 * MILLISECOND
    assert timed.naps == [pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.2)]


def test_channels_stay_open_for_what_follows_closely(timed: Machine) -> None:
    book(timed, "15:00")
    book(timed, "15:00", days=1)
    timed.settings = replace(timed.settings, reminder_offsets=parse_offsets("1h,25h"))
    stay(timed, "14:59:58")
    at_once, first, second = sent_at(timed)
    assert at_once < instant("14:59:59")
    assert instant("15:00") <= first <= second <= instant("15:00") + 300 * MILLISECOND
    assert timed.naps == [], "they were never closed"


def test_what_is_further_off_is_waited_for_looking_every_second(timed: Machine) -> None:
    book(timed, "15:40")
    stay(timed, "15:00")
    [at] = sent_at(timed)
    assert instant("15:40") <= at <= instant("15:40") + 300 * MILLISECOND
    assert sum(timed.naps) == pytest.approx(2399, abs=2)
    assert max(timed.naps) <= 1


def test_a_run_ends_when_nothing_is_due_within_its_horizon(timed: Machine) -> None:
    book(timed, "16:16")
    began = time.monotonic()
    stay(timed, "15:00")
    assert (timed.naps, timed.discord.messages) == ([], [])
    assert time.monotonic() - began < 1


def test_the_horizon_is_counted_from_each_moment(timed: Machine) -> None:
    """An hour after the first one, the second is within it."""
    book(timed, "15:40")
    book(timed, "16:40", days=1)
    timed.settings = replace(timed.settings, reminder_offsets=parse_offsets("1h,25h"))
    stay(timed, "15:00")
    assert len(timed.discord.messages) == 3
    assert sent_at(timed)[-1] >= instant("16:40")


def test_without_a_horizon_nothing_is_waited_for(timed: Machine) -> None:
    book(timed, "15:01")
    timed.run("15:00", gated=False)
    assert (timed.naps, timed.discord.messages) == ([], [])


def test_a_booking_whose_reminder_is_due_already_goes_within_a_second(timed: Machine) -> None:
    book(timed, "15:40")
    after_naps(timed, 5, lambda: book(timed, "14:50", days=1))
    timed.settings = replace(timed.settings, reminder_offsets=parse_offsets("1h,25h"))
    stay(timed, "15:00")
    _, late, planned = sent_at(timed)
    assert instant("15:00:05") <= late <= instant("15:00:08")
    assert instant("15:40") <= planned


def test_a_talk_that_is_moved_nearer_meanwhile_is_waited_for(timed: Machine) -> None:
    book(timed, "15:40")
    after_naps(timed, 5, lambda: book(timed, "15:10"))
    stay(timed, "15:00")
    [at] = sent_at(timed)
    assert instant("15:10") <= at <= instant("15:10") + 300 * MILLISECOND


def test_with_a_talk_cancelled_meanwhile_there_is_nothing_to_wait_for(timed: Machine) -> None:
    def cancel() -> None:
        timed.store.talks.delete("t21")

    book(timed, "15:40")
    after_naps(timed, 5, cancel)
    stay(timed, "15:00")
    assert timed.discord.messages == []
    assert len(timed.naps) <= 6


def test_quiet_hours_that_end_within_the_horizon_are_waited_for(machine: Machine) -> None:
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@16:00"))
    machine.book(DAY)
    quiet = QuietHours(instant("14:00").time(), instant("17:00").time())
    machine.store.people.put([Person("p", discord_user_id="1021", quiet_hours=quiet)])
    stay(machine, "16:30")
    [at] = sent_at(machine)
    assert instant("17:00") <= at <= instant("17:00") + 300 * MILLISECOND


def test_a_failed_message_is_tried_again_when_its_time_comes(timed: Machine) -> None:
    book(timed, "15:00")
    timed.retry_within = timedelta()
    timed.discord.inject(Fault(kind="error", status=503, on="create_message"))
    stay(timed, "14:59:58")
    assert len(timed.discord.messages) == 1
    assert timed.states == ["failed", "sent"]


def test_a_timed_run_takes_its_schedules_next_occurrence_too(timed: Machine) -> None:
    book(timed, "16:05")
    timed.run("15:05", horizon=HORIZON)
    assert len(timed.discord.messages) == 1
    records = [timed.store.occurrences.get("reminders", instant(hour)) for hour in ("15", "16")]
    assert [record.standing for record in records if record] == ["finished", "finished"]


def test_another_runs_next_occurrence_is_left_to_it(timed: Machine) -> None:
    book(timed, "16:05")

    def other_machine() -> None:
        other = Machine(timed.store, timed.discord, timed.clock, timed.settings)
        other.run("16:00:01", horizon=None)

    after_naps(timed, 3298, other_machine)
    timed.run("15:05", horizon=HORIZON)
    assert timed.ends == [None]


class Watched:
    """A store that notes each question about what is due; where it cannot tell whether it was
    written to, as MongoDB."""

    def __init__(self, store: Store, *, tells: bool) -> None:
        self._store = store
        self._tells = tells
        self.questions = 0
        self.talks = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def version(self) -> object:
        return self._store.version() if self._tells else None

    def between(self, first: date, last: date) -> Iterator[Talk]:
        self.questions += 1
        return self._store.talks.between(first, last)

    def by_ids(self, ids: list[str]) -> dict[str, Talk]:
        return self._store.talks.by_ids(ids)


@pytest.mark.parametrize(("tells", "at_most"), [(True, 10), (False, 2400 + 10)])
def test_waiting_asks_once_a_second_at_most_and_not_where_nothing_was_written(
    timed: Machine, tells: bool, at_most: int
) -> None:
    book(timed, "15:40")
    store: Any = Watched(timed.store, tells=tells)
    timed.store = store
    stay(timed, "15:00")
    assert len(timed.discord.messages) == 1
    assert store.questions <= at_most


def test_what_another_process_books_is_seen(timed: Machine, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'store.db'}"
    own, others = open_store(address), open_store(address)
    own.prepare()
    timed.store = own
    book(timed, "15:40")
    starts = instant("16:20").time()
    talk = Talk("t22", "1022", "bob", "Boats", DAY, starts_at=starts)
    after_naps(timed, 5, lambda: others.talks.put([replace(talk, date=DAY + timedelta(days=1))]))
    timed.settings = replace(timed.settings, reminder_offsets=parse_offsets("1h,25h"))
    stay(timed, "15:00")
    _, theirs, _ = sent_at(timed)
    assert instant("15:20") <= theirs <= instant("15:20") + 300 * MILLISECOND
    own.close()
    others.close()


def test_waiting_does_not_count_as_the_runs_time(timed: Machine) -> None:
    """Its timeout is ten minutes, and it waits for forty."""
    book(timed, "15:40")
    end = timed.run("15:00", gated=False, horizon=HORIZON)
    assert (end.stopped, len(timed.discord.messages)) == (None, 1)
    assert end.seconds_left > 500


class TestNothingSleeps:
    def test_in_a_dry_run_which_shows_what_would_go_and_when(self, timed: Machine) -> None:
        book(timed, "15:40")
        stay(timed, "15:00", dry_run=True)
        assert (timed.naps, timed.discord.messages, timed.states) == ([], [], ["planned"])

    def test_and_what_is_shown_is_shown_once(self, timed: Machine) -> None:
        book(timed, "15:00")
        book(timed, "15:40", days=1)
        timed.settings = replace(timed.settings, reminder_offsets=parse_offsets("1h,25h"))
        stay(timed, "15:01", dry_run=True)
        assert timed.states == ["planned", "planned"]

    def test_at_another_decision_time(self, timed: Machine) -> None:
        book(timed, "15:40")
        stay(timed, "12:00", now=instant("15:00"))
        assert (timed.naps, timed.states) == ([], ["sent"])
        assert "in 1 hour" in timed.discord.messages[0].content


def test_run_due_ignores_the_horizon(timed: Machine, tmp_path: Path) -> None:
    path = tmp_path / "schedules.json"
    schedule = {
        "name": "r", "job": "reminders", "cron": "0 * * * *", "args": ["--horizon", "75m"],
    }  # fmt: skip
    path.write_text(json.dumps({"schedules": [schedule]}), "utf-8")
    book(timed, "15:40")
    timed.run_due("15:00", *read_schedules(path, JOBS))
    assert (timed.naps, timed.discord.messages) == ([], [])
