"""Runs that wait: for a message whose whole time lies between two ticks, and for the end of the
minute in which the Node bot sends its own reminders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import JOBS
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.ports.store import FlagWrite
from speakerbot.schedules.reading import read_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.testing.crash.boundaries import Reached
from speakerbot.testing.discord import Fault
from tests.integration.machine import DAY, TIMEOUT, Machine, instant


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


def test_a_store_that_is_slow_while_it_waits_makes_it_no_later(machine: Machine) -> None:
    between_ticks(machine)

    def reached(boundary: str) -> None:
        if boundary == "before occurrences.swap" and len(machine.naps) == 1:
            machine.clock.move_to(instant("23:29:50"))

    machine.reached = reached
    machine.run("23:20")
    [message] = machine.store.ledger.list()
    assert message.sent_at is not None
    assert message.sent_at < instant("23:30:10")


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


def test_run_due_waits_for_an_occurrence_only_once_all_others_are_served(
    machine: Machine, tmp_path: Path
) -> None:
    path = tmp_path / "schedules.json"
    entries = [
        {"name": name, "job": "reminders", "cron": "0 * * * *", "grace": "1h", **more}
        for name, more in (("soon", {"wait": "15m"}), ("other", {}))
    ]
    path.write_text(json.dumps({"schedules": entries}))
    machine.settings = replace(machine.settings, schedules=path)
    served: list[int] = []
    machine.meanwhile = lambda: served.append(len(machine.ends))
    machine.run_due("12:50", *read_schedules(path, JOBS))
    assert sum(machine.naps) == pytest.approx(600, abs=5)
    assert served[0] == 2, "both occurrences of noon were served before"
    for name in ("soon", "other"):
        record = machine.store.occurrences.get(name, instant("13:00"))
        assert record is not None
        assert record.standing == "finished"
    machine.naps.clear()
    machine.run_due("13:40", *read_schedules(path, JOBS))
    assert machine.naps == [], "too far ahead"


def test_what_the_node_bot_sends_in_its_minute_is_not_claimed(machine: Machine) -> None:
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


def test_what_failed_before_a_run_waited_keeps_its_occurrence_open(machine: Machine) -> None:
    """What the run does after that does not make it forget."""
    machine.settings = replace(
        machine.settings, reminder_offsets=parse_offsets("0d@16:00,5d@08:00")
    )
    machine.book(DAY, DAY + timedelta(days=5))
    machine.retry_within = timedelta()
    machine.discord.inject(Fault(kind="error", on="create_message", status=503))
    machine.run("16:01:50")
    assert machine.states == ["failed", "sent"]
    occurrence = machine.store.occurrences.get("reminders", instant("16:00"))
    assert occurrence is not None
    assert occurrence.standing == "open"
    [failed] = machine.store.ledger.list(state="failed")
    assert occurrence.retry_at == failed.retry_at


@pytest.mark.parametrize(
    "changed",
    [
        {"database_url": "sqlite:///own.db"},
        {"node_bot_coexist": False},
        {"reminder_offsets": parse_offsets("5d@12:00")},
    ],
)
def test_a_run_does_not_wait_for_what_the_node_bot_never_sends(
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
    assert machine.naps == [pytest.approx(20, abs=2), pytest.approx(120, abs=2)], (
        "at 16:00 it takes the next occurrence, too"
    )
    assert machine.states == ["sent"]
    assert machine.discord.messages


def stalled(
    machine: Machine,
    boundary: str,
    until: str,
    meanwhile: Callable[[], None] = lambda: None,
    then: Callable[[], None] = lambda: None,
) -> Reached:
    """The machine stops once, at this boundary; something happens meanwhile, and then at the next
    boundary."""
    coming = [(boundary, meanwhile), ("", then)]

    def reached(name: str) -> None:
        if coming and coming[0][0] in ("", name):
            if coming[0][0]:
                machine.clock.move_to(instant(until))
            coming.pop(0)[1]()

    return reached


@pytest.mark.parametrize("until", ["15:59:30", "16:00:05", "16:01:59", "16:02:05"])
@pytest.mark.parametrize(
    "boundary",
    [
        "before ledger.swap",
        "after ledger.swap",
        "before talks.write_flags",
        "after talks.write_flags",
    ],
)
def test_a_run_that_stalls_when_the_minute_begins_leaves_to_the_node_bot_what_it_has_read(
    machine: Machine, boundary: str, until: str
) -> None:
    """It has read the flags before they were set, and saves after that."""
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@15:30"))
    machine.book(DAY)
    sent_by_node_bot: list[datetime] = []

    def flag() -> datetime | None:
        return machine.store.talks.by_ids(["t21"])["t21"].sent_day_of_at

    def sends() -> None:
        if flag() is None and until > "16":
            sent_by_node_bot.append(datetime.now(UTC))

    def saves() -> None:
        for at in sent_by_node_bot:
            machine.store.talks.write_flags([FlagWrite("t21", "sentDayOfAt", flag(), at)])

    machine.reached = stalled(machine, boundary, until, sends, saves)
    machine.run("15:59", gated=False)
    assert len(machine.discord.messages) + len(sent_by_node_bot) == 1
    assert len(sent_by_node_bot) == (until > "16" and boundary != "after talks.write_flags")


def test_a_flag_that_was_set_too_late_is_taken_back_at_once(machine: Machine) -> None:
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@15:30"))
    machine.book(DAY)

    def nothing_is_left_of_it() -> None:
        assert list(machine.store.ledger.list()) == []
        assert machine.store.talks.by_ids(["t21"])["t21"].sent_day_of_at is None

    machine.reached = stalled(machine, "before talks.write_flags", "15:59:31")
    machine.meanwhile = nothing_is_left_of_it
    machine.run("15:59", gated=False)
    assert machine.naps == [pytest.approx(149, abs=2)]
    assert machine.states == ["sent"]
    assert machine.counts["planned"] == 1, "its second round plans it again"


def test_a_trigger_that_reaches_the_minute_holds_it_back_and_says_so(machine: Machine) -> None:
    machine.settings = replace(machine.settings, reminder_offsets=parse_offsets("0d@15:30"))
    machine.book(DAY)
    machine.reached = stalled(machine, "after ledger.swap", "15:59:31")
    end = machine.run("15:59", gated=False, may_wait=False)
    assert (machine.naps, machine.states) == ([], ["held_back"])
    assert machine.counts["skipped"] == {"node_bot_minute": 1}
    assert end.wait_until == instant("16:02")
    assert list(machine.store.ledger.list()) == []


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
