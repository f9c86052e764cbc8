"""The last run is read from a machine's events, in every shape Fly has given them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from deploy import render
from deploy.machines import Machine, WantedMachine, read_machine, wanted_machines
from deploy.status import LastRun, MachineStatus, judge, last_run
from jobs import JOBS
from speakerbot.schedules.reading import parse_schedules

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def start(at: datetime) -> dict[str, Any]:
    return {"type": "start", "status": "started", "timestamp": ms(at)}


def ended(at: datetime, *, under_monitor: bool = False, **more: Any) -> dict[str, Any]:
    data = {"exit_event": {"exit_code": 0, "oom_killed": False, "requested_stop": False, **more}}
    request = {"MonitorEvent": data} if under_monitor else data
    return {"type": "exit", "status": "stopped", "timestamp": ms(at), "request": request}


def test_a_run_is_the_newest_exit_and_the_start_before_it() -> None:
    hour = timedelta(hours=1)
    events = [
        ended(NOON + timedelta(seconds=9)),
        start(NOON),
        ended(NOON - hour, exit_code=1),
        start(NOON - hour - timedelta(seconds=5)),
    ]
    run = last_run(events)
    assert run == LastRun(NOON, NOON + timedelta(seconds=9), 0)
    assert run.duration == timedelta(seconds=9)
    assert last_run(reversed(events)) == run


def test_a_start_after_the_last_exit_is_a_run_going_on() -> None:
    assert last_run([start(NOON), ended(NOON - timedelta(hours=1))]) == LastRun(NOON)
    assert last_run([start(NOON)]) == LastRun(NOON)


@pytest.mark.parametrize("under_monitor", [True, False])
def test_exit_data_is_found_in_both_places(under_monitor: bool) -> None:
    at = "2026-11-23T12:00:07.5Z"
    event = ended(NOON, under_monitor=under_monitor, exit_code=137, oom_killed=True, exited_at=at)
    run = last_run([event, start(NOON)])
    assert run is not None
    assert (run.exit_code, run.oom_killed) == (137, True)
    assert run.ended_at == NOON + timedelta(seconds=7.5)


@pytest.mark.parametrize(
    "events",
    [[], [{}], [{"type": "exit"}], [{"type": "launch", "timestamp": ms(NOON)}],
     [{"type": "start", "timestamp": "yesterday"}], [{"type": "start", "timestamp": 10**30}]],
)  # fmt: skip
def test_events_that_say_nothing_are_no_run(events: list[dict[str, Any]]) -> None:
    assert last_run(events) is None


def test_an_exit_without_data_is_still_an_end() -> None:
    event = {"type": "exit", "timestamp": ms(NOON), "request": None}
    assert last_run([event]) == LastRun(None, NOON, None)


def wanted(**more: Any) -> WantedMachine:
    entry = {"name": "weekly", "job": "weekly", "cron": "@hourly", **more}
    schedules = parse_schedules(json.dumps({"schedules": [entry]}), "s.json", JOBS)
    (want,) = wanted_machines(schedules, {})
    return want.with_image("i:1")


def machine(want: WantedMachine, *events: dict[str, Any], **more: Any) -> Machine:
    raw = {
        "id": "abc", "name": want.name, "state": "stopped", "region": "iad", "version": "1",
        "created_at": "2026-11-20T00:00:00Z", "config": dict(want.config), "events": list(events),
    }  # fmt: skip
    return read_machine({**raw, **more})


def judged(
    want: WantedMachine, found: Machine | None, looked_at: datetime | None = None
) -> MachineStatus:
    looks = {want.schedule.name: looked_at} if looked_at else {}
    (status,) = judge([want], {want.name: found} if found else {}, NOON, looks)
    return status


def ran(ago: timedelta, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return ended(NOON - ago + timedelta(seconds=2), **more), start(NOON - ago)


def test_a_healthy_machine_needs_nobody() -> None:
    want = wanted()
    status = judged(want, machine(want, *ran(timedelta(minutes=50))))
    assert status.problems == ()
    assert status.next_tick == NOON + timedelta(minutes=10)
    assert status.next_occurrence == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("cron", "hours", "overdue"),
    [("@hourly", 1.4, False), ("@hourly", 1.6, True), ("0 9 * * MON", 1.6, True),
     ("@daily", 35, False), ("@daily", 37, True), ("@weekly", 10 * 24, False)],
)  # fmt: skip
def test_a_machine_is_overdue_after_one_and_a_half_intervals(
    cron: str, hours: float, overdue: bool
) -> None:
    want = wanted(cron=cron)
    status = judged(want, machine(want, *ran(timedelta(hours=hours))))
    assert status.overdue is overdue
    assert bool(status.problems) is overdue


def test_a_machine_that_never_started_is_overdue_from_its_making() -> None:
    want = wanted()
    assert judged(want, machine(want)).overdue
    assert not judged(want, machine(want, created_at="2026-11-23T11:30:00Z")).overdue


RUNS = start(NOON - timedelta(days=3))


@pytest.mark.parametrize(
    ("events", "looked", "overdue"),
    [
        ((RUNS,), None, None),
        ((RUNS,), timedelta(minutes=75), None),
        ((RUNS,), timedelta(minutes=76), "no look since 2026-11-23 10:44"),
        (ran(timedelta(minutes=74)), None, None),
        (ran(timedelta(minutes=76)), None, "no look since 2026-11-23 10:44"),
        (ran(timedelta(hours=9)), timedelta(minutes=1), None),
    ],
    ids=["it runs", "and looks", "but hangs", "it ended", "too long ago", "another one looks"],
)  # fmt: skip
def test_a_timed_job_is_judged_by_its_last_look(
    events: tuple[dict[str, Any], ...], looked: timedelta | None, overdue: str | None
) -> None:
    """Where the store cannot be asked, it looks for as long as it runs."""
    want = wanted(job="starting", args=["--horizon", "75m"])
    status = judged(want, machine(want, *events), NOON - looked if looked else None)
    assert status.overdue is (overdue is not None)
    assert [each.removeprefix("overdue: ").removesuffix(" UTC") for each in status.problems] == (
        [overdue] if overdue else []
    )
    assert status.next_occurrence is None


def test_a_disabled_schedule_is_never_overdue() -> None:
    want = wanted(enabled=False)
    status = judged(want, machine(want, *ran(timedelta(days=9))))
    assert (status.overdue, status.problems, status.next_occurrence) == (False, (), None)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"exit_code": 78}, "ended with exit code 78"),
        ({"exit_code": 137, "oom_killed": True}, "ran out of memory"),
        ({"exit_code": 143, "requested_stop": True}, None),
        ({"exit_code": 0}, None),
    ],
)
def test_a_bad_end_needs_a_person_and_a_wanted_one_does_not(
    more: dict[str, Any], problem: str | None
) -> None:
    want = wanted()
    status = judged(want, machine(want, *ran(timedelta(minutes=9), **more)))
    assert [problem in found for found in status.problems if problem] == [True] * bool(problem)
    assert len(status.problems) == bool(problem)


def test_drift_and_absence_are_named() -> None:
    want = wanted()
    assert "there is no such machine" in judged(want, None).problems[0]
    drifted = machine(wanted(grace="1d"), *ran(timedelta(minutes=9)))
    assert "differs from schedules.json (command)" in judged(want, drifted).problems[0]
    gone = machine(want, *ran(timedelta(minutes=9)), host_status="unreachable", config=None)
    assert judged(want, gone).problems == ("its host is unreachable",)
    assert judged(want, gone).state == "unreachable"
    foreign = judged(want, machine(want, config={"image": "x/y:z"}))
    assert (foreign.state, foreign.last) == ("not ours", None)
    assert "a machine of that name is not ours" in foreign.problems[0]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (200, "machine region state last run UTC took exit next tick occurrence"),
        (120, "machine region state last run UTC took exit next tick occurrence"),
        (80, "machine state last run UTC exit next tick"),
        (40, "machine state exit"),
    ],
)
def test_a_table_leaves_columns_out_before_it_breaks_a_line(width: int, columns: str) -> None:
    wants = [wanted(name=name) for name in ("a" * 22, "b-" * 10 + "b")]
    rows = [judged(want, machine(want, *ran(timedelta(minutes=9)))) for want in wants]
    screen = Console(file=StringIO(), width=width, force_terminal=True, color_system=None,
                     soft_wrap=True)  # fmt: skip
    render.status_table(rows, screen)
    assert isinstance(screen.file, StringIO)
    lines = screen.file.getvalue().splitlines()
    assert lines[0].split() == columns.split()
    assert [line.split()[0] for line in lines[1:3]] == [row.machine for row in rows]
    dropped = {"took", "region", "occurrence"} - set(columns.split())
    assert len(lines) == 3 + bool(dropped)
    assert all(len(line) <= width for line in lines[:3]) or width == 40
