"""Runs that wait: for a message whose whole time lies between two ticks, and for the end of the
minute in which the Node bot sends its own reminders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from jobs import JOBS
from speakerbot.config import Settings
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.runs.report import MessageOutcome, RunHeader, RunSummary
from speakerbot.runs.service import RunEnd, RunRequest, RunService, Scheduling
from speakerbot.schedules.reading import read_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.stores import open_store
from speakerbot.testing.discord import LoopbackDiscord
from speakerbot.testing.trial import TOKEN

DAY = date(2026, 11, 21)
TIMEOUT = timedelta(minutes=10)


class KeptOpen:
    """A store that outlives the runs on it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def close(self) -> None:
        pass


@dataclass
class Machine:
    """Sleeps in no time: the clock moves instead."""

    store: Store
    discord: LoopbackDiscord
    clock: time_machine.Traveller
    settings: Settings
    meanwhile: Callable[[], None] = lambda: None
    """Happens while it sleeps."""
    naps: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.meanwhile()
        self.clock.shift(seconds)

    def begin(self, header: RunHeader) -> None: ...

    def add(self, outcome: MessageOutcome) -> None:
        self.states.append(outcome.state)

    def end(self, summary: RunSummary) -> None:
        self.ends.append(summary.skipped_because)

    @property
    def service(self) -> RunService:
        kept: Any = KeptOpen(self.store)
        return RunService(self.settings, JOBS, open_store=lambda *_, **__: kept, sleep=self.sleep)

    def run(
        self, at: str, *, gated: bool = True, now: datetime | None = None, **options: Any
    ) -> RunEnd:
        self.clock.move_to(instant(at))
        scheduling = Scheduling(cron="@hourly") if gated else Scheduling()
        request = RunRequest("reminders", RunOptions(**options), scheduling, now, TIMEOUT)
        return self.service.run(request, (self,))

    def run_due(self, at: str, *schedules: Schedule) -> int:
        self.clock.move_to(instant(at))
        return self.service.run_due(schedules, dry_run=False, now=None, observers=lambda: (self,))

    def book(self, *days: date, starts_at: time | None = None) -> None:
        self.store.talks.put(
            [Talk(f"t{d.day}", f"10{d.day}", "ada", "Kites", d, starts_at=starts_at) for d in days]
        )


def instant(clock_time: str, day: date = DAY) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock_time), UTC)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(instant("12:00"), tick=True) as traveller:
        yield traveller


@pytest.fixture
def machine(clock: time_machine.Traveller, discord: LoopbackDiscord) -> Iterator[Machine]:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    settings = Settings(
        database_url="mongodb://localhost/shared",
        discord_token=TOKEN,
        discord_api_base=discord.base_url,
        reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
        new_dm_every=timedelta(0),
    )
    yield Machine(store, discord, clock, settings)
    store.close()


def between_ticks(machine: Machine) -> None:
    """A reminder may go from 23:30 to midnight; machines tick at 20 past."""
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("1d@23:30"))
    machine.book(DAY + timedelta(days=1))


def test_the_run_before_it_waits_and_holds_its_occurrence(machine: Machine) -> None:
    between_ticks(machine)
    held: list[bool] = []

    def look() -> None:
        record = machine.store.occurrences.get("reminders", instant("23:00"))
        assert record
        assert record.lease_until
        covered = datetime.now(UTC) + timedelta(seconds=machine.naps[-1]) + TIMEOUT
        held.append(record.standing == "running" and record.lease_until >= covered)

    machine.meanwhile = look
    end = machine.run("23:20")
    assert sum(machine.naps) == pytest.approx(600, abs=5)
    assert max(machine.naps) <= 300, "in steps: a run that dies must not hold it for an hour"
    assert held == [True, True]
    assert machine.states == ["sent"]
    assert len(machine.discord.messages) == 1
    assert end.seconds_left > TIMEOUT.total_seconds() - 30, "waiting does not count"
    record = machine.store.occurrences.get("reminders", instant("23:00"))
    assert record
    assert record.standing == "finished"


def test_it_waits_at_most_an_hour_and_five_minutes(machine: Machine) -> None:
    between_ticks(machine)
    machine.run("22:20")
    assert machine.naps == []
    machine.run("22:56")
    assert machine.naps == [], "its occurrence is served"
    machine.run("23:05")
    assert sum(machine.naps) == pytest.approx(1500, abs=5)


def test_a_talk_that_starts_before_the_next_tick(machine: Machine) -> None:
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@18:00"))
    machine.book(DAY, starts_at=time(18, 30))
    machine.run("17:50")
    assert sum(machine.naps) == pytest.approx(600, abs=5)
    assert machine.states == ["sent"]


def test_what_is_cancelled_while_the_run_waits_is_not_sent(machine: Machine) -> None:
    between_ticks(machine)

    def cancel() -> None:
        machine.store.talks.delete("t22")

    machine.meanwhile = cancel
    machine.run("23:20")
    assert machine.naps
    assert machine.states == []


def test_a_run_outside_a_schedule_does_not_wait(machine: Machine) -> None:
    between_ticks(machine)
    machine.run("23:20", gated=False)
    assert (machine.naps, machine.states) == ([], [])


@pytest.mark.parametrize(("options", "state"), [({}, "sent"), ({"dry_run": True}, "planned")])
def test_with_another_time_and_in_dry_runs_nothing_sleeps(
    machine: Machine, options: dict[str, bool], state: str
) -> None:
    between_ticks(machine)
    machine.run("12:00", now=instant("23:20"), **options)
    assert (machine.naps, machine.states) == ([], [state])


def test_a_dry_run_of_the_present_shows_it_too(machine: Machine) -> None:
    between_ticks(machine)
    machine.run("23:20", dry_run=True)
    assert (machine.naps, machine.states) == ([], ["planned"])


@pytest.fixture
def own_schedules(machine: Machine, tmp_path: Path) -> tuple[Schedule, ...]:
    """Reminders first, then another job; both each hour."""
    path = tmp_path / "schedules.json"
    entries = [{"name": job, "job": job, "cron": "@hourly"} for job in ("reminders", "changes")]
    path.write_text(json.dumps({"schedules": entries}))
    machine.settings = replace(machine.settings, schedules=path)
    return tuple(read_schedules(path, JOBS))


def test_run_due_serves_every_schedule_first_and_then_waits(
    machine: Machine, own_schedules: tuple[Schedule, ...]
) -> None:
    between_ticks(machine)
    served: list[int] = []
    machine.meanwhile = lambda: served.append(len(machine.ends))
    assert machine.run_due("23:20", *own_schedules) == 0
    assert sum(machine.naps) == pytest.approx(600, abs=5)
    assert served[0] == 2, "both had their turn before"
    assert machine.states == ["sent"]


def test_nobody_claims_what_the_node_bot_sends_in_its_minute(machine: Machine) -> None:
    machine.book(DAY, DAY + timedelta(days=1))

    def node_bot_sends() -> None:
        at = datetime.now(UTC)
        machine.store.talks.write_flags([FlagWrite("t21", "sentDayOfAt", None, at)])
        assert list(machine.store.ledger.list()) == []
        assert machine.discord.messages == []

    machine.meanwhile = node_bot_sends
    machine.run("16:00:10", gated=False)
    assert machine.naps == [pytest.approx(110, abs=2)]
    assert sorted(machine.states) == ["already_sent", "sent"]
    assert len(machine.discord.messages) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"database_url": "sqlite:///own.db"},
        {"node_bot_coexist": False},
        {"reminder_offsets": parse_offsets("5d@12:00")},
    ],
)
def test_where_the_node_bot_sends_nothing_of_it_nobody_waits(
    machine: Machine, changed: dict[str, Any]
) -> None:
    machine.settings = replace(machine.settings, **changed)
    machine.book(DAY, DAY + timedelta(days=5))
    machine.run("16:00:10")
    assert machine.naps == []
    assert machine.states
    assert set(machine.states) == {"sent"}


def test_a_reminder_that_would_be_too_late_then_goes_at_once(machine: Machine) -> None:
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@15:00"))
    machine.book(DAY, starts_at=time(16, 1))
    machine.run("16:00:10")
    assert (machine.naps, machine.states) == ([], ["sent"])


def test_a_run_that_reaches_the_minute_goes_on_after_it(machine: Machine) -> None:
    """It begins before, and what it does first takes until then."""
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@15:30"))
    machine.book(DAY)
    read = machine.store.people.by_users

    def slow(user_ids: Any) -> Any:
        if not machine.naps:
            machine.clock.move_to(instant("15:59:40"))
        return read(user_ids)

    machine.store.people.by_users = slow  # type: ignore[method-assign]
    machine.run("15:58")
    assert machine.naps == [pytest.approx(140, abs=2)]
    assert machine.states == ["sent"]
    assert machine.discord.messages


def test_run_due_holds_it_back_serves_the_others_and_sends_it_afterwards(
    machine: Machine, own_schedules: tuple[Schedule, ...]
) -> None:
    machine.book(DAY)
    served: list[int] = []
    machine.meanwhile = lambda: served.append(len(machine.ends))
    machine.run_due("16:00:10", *own_schedules)
    assert machine.naps == [pytest.approx(110, abs=2)]
    assert served == [2]
    assert machine.states == ["held_back", "sent"]
