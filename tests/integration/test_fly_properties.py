"""From any set of machines, killed at any request, apply ends with the wanted set; and a month of
fuzzy, missed ticks runs every occurrence once."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.apply import ApplyReport, apply
from deploy.fly import RateLimit, connect
from deploy.machines import WantedMachine, wanted_machines
from deploy.plan import MachinePlan, make_plan
from deploy.settings import FlyTarget, authorization
from jobs import JOBS
from speakerbot.clock import Clock, read_zone
from speakerbot.domain.cron import Cron
from speakerbot.domain.occurrence import OccurrenceRules
from speakerbot.domain.run import Run, new_run
from speakerbot.durations import parse_duration
from speakerbot.ports.store import Store
from speakerbot.runs.occurrence_lock import LockedSchedule, OccurrenceLock
from speakerbot.runs.report import Waits
from speakerbot.schedules.reading import parse_schedules
from speakerbot.stores import open_store
from speakerbot.testing.fly import CommandOutcome, FakeTime, FlyFault, FlyMachine, FlyWorld, serve

IMAGE = "registry.fly.io/community:cron@sha256:" + "a" * 64
OLD = "registry.fly.io/community:cron@sha256:" + "b" * 64
NAMES = ("alpha", "beta", "gamma", "delta")
STATES = ("missing", "right", "drifted", "silent", "moved", "running", "duplicated", "orphaned")


def wanted() -> list[WantedMachine]:
    entries = [
        {"name": name, "job": "weekly", "cron": "@hourly", "machines": 1 + (name == "delta")}
        for name in NAMES
    ]
    schedules = parse_schedules(json.dumps({"schedules": entries}), "s.json", JOBS)
    return [want.with_image(IMAGE) for want in wanted_machines(schedules, {})]


def make(world: FlyWorld, want: WantedMachine, state: str) -> None:
    """Puts a machine of that state where ``want`` belongs."""
    if state == "missing":
        return
    config = copy.deepcopy(dict(want.config))
    region = "ams" if state == "moved" else want.region
    name = want.name
    if state == "drifted":
        config |= {"image": OLD, "env": {"A": "1"}, "restart": {"policy": "always"}}
    elif state == "silent":
        del config["schedule"]
    elif state == "orphaned":
        name, config["metadata"] = f"{name}-x", {**config["metadata"], "speakerbot_schedule": "x"}
    world.run = lambda _machine, _now: CommandOutcome(seconds=200 if state == "running" else 2)
    world.create(name, region, config)
    if state == "duplicated":
        world.create("", region, copy.deepcopy(config))


def make_foreign(world: FlyWorld) -> list[FlyMachine]:
    web = {"image": OLD, "metadata": {"fly_platform_version": "v2", "fly_process_group": "app"}}
    sly = {"image": OLD, "schedule": "daily", "metadata": {"speakerbot_schedule": "alpha"}}
    return [world.create(f"foreign-{i}", "iad", c) for i, c in enumerate((web, sly))]


async def run_once(world: FlyWorld) -> MachinePlan:
    """Plan and apply, as a process that may be killed at any request."""
    async with serve(world) as base:
        client = asyncio.create_task(_client(world, base))
        world.on_crash = client.cancel
        try:
            return await client
        finally:
            world.on_crash = lambda: None
            world.revive()


async def _client(world: FlyWorld, base: str) -> MachinePlan:
    rate_limit = RateLimit(world.time.now, world.time.sleep)
    target = FlyTarget(world.app, base, {}, authorization("fm2_good"))
    async with connect(target, 20, rate_limit) as fly:
        plan = make_plan(wanted(), await fly.machines(), image=IMAGE, prune=True)
        await apply(fly, ApplyReport(plan.actions), wait_for_runs=600)
        return plan


ANYTHING = given(
    states=st.lists(st.sampled_from(STATES), min_size=5, max_size=5),
    kills=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=4),
    seed=st.integers(0, 10),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@ANYTHING
def test_from_anything_killed_anywhere_apply_ends_with_the_wanted_set(
    states: list[str], kills: list[tuple[int, bool]], seed: int
) -> None:
    ends_with_the_wanted_set(states, kills, seed)


@pytest.mark.slow_suite
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@ANYTHING
def test_from_a_larger_sample_of_anything_apply_ends_with_the_wanted_set(
    states: list[str], kills: list[tuple[int, bool]], seed: int
) -> None:
    ends_with_the_wanted_set(states, kills, seed)


def ends_with_the_wanted_set(states: list[str], kills: list[tuple[int, bool]], seed: int) -> None:
    world = FlyWorld(seed=seed)
    foreign = make_foreign(world)
    for want, state in zip(wanted(), states, strict=True):
        make(world, want, state)
    world.run = lambda _machine, _now: CommandOutcome(seconds=2)
    untouched = [(machine.version, copy.deepcopy(machine.config)) for machine in foreign]
    for skip, before in kills:
        world.faults = [FlyFault("crash", skip=skip, before=before)]
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run_once(world))
        world.pass_time(7)
    world.faults = []
    asyncio.run(run_once(world))
    world.pass_time(60)
    requests = len(world.requests)
    assert asyncio.run(run_once(world)).actions == ()
    assert world.requests[requests:] == ["list"]
    assert [(machine.version, machine.config) for machine in foreign] == untouched
    ours = {machine.name: machine for machine in world.living() if machine not in foreign}
    assert set(ours) == {want.name for want in wanted()}
    assert all(ours[want.name].config == want.config for want in wanted())
    assert not any(m.killed or m.silenced for m in world.machines.values())


@dataclass
class Runs:
    """Stands in for the process: the real lock over a real store, at the machine's own time,
    with the machine's own arguments; what it would send is left out."""

    store: Store
    served: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def __call__(self, machine: FlyMachine, seconds: float) -> CommandOutcome:
        now = datetime.fromtimestamp(seconds, UTC)
        clock = Clock(skew=now - Clock().real())
        command = machine.config["init"]["cmd"]
        options = dict(zip(command[2::2], command[3::2], strict=False))
        gate = OccurrenceRules(
            Cron(options["--cron"], read_zone(options["--timezone"])),
            grace=parse_duration(options["--grace"]),
            wait=parse_duration(options["--wait"]),
        )
        timeout = parse_duration(options["--timeout"])
        schedule = LockedSchedule(options["--schedule"], gate, timeout, enabled=True)
        slept = 0.0

        def sleep(seconds: float) -> None:
            nonlocal slept
            slept += seconds
            object.__setattr__(clock, "skew", clock.skew + timedelta(seconds=seconds))

        def work(run: Run) -> Waits:
            assert run.occurrence is not None
            self.served.append((schedule.name, run.occurrence, clock.decision()))
            return Waits()

        log = structlog.get_logger()
        lock = OccurrenceLock(schedule, self.store, clock, dry_run=False, log=log, sleep=sleep)
        lock.serve(new_run(machine.config["init"]["cmd"][1], clock), work)
        return CommandOutcome(seconds=2 + slept)


@pytest.mark.slow
@pytest.mark.parametrize("month", [3, 11])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow_suite) for seed in range(1, 5))]
)
def test_a_month_with_daylight_saving_runs_every_occurrence_once(month: int, seed: int) -> None:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    runs = Runs(store)
    start = datetime(2026, month, 1, 3, 17, tzinfo=UTC)
    world = FlyWorld(run=runs, time=FakeTime(start), seed=seed)
    zone: dict[str, Any] = {"timezone": "America/Los_Angeles", "job": "weekly"}
    entries = [
        {**zone, "name": "weekly", "cron": "0 17 * * MON", "grace": "6h", "wait": "60m"},
        {**zone, "name": "gap", "cron": "30 2 * * *", "grace": "6h", "machines": 2},
        {**zone, "name": "fold", "cron": "30 1 * * *", "grace": "6h"},
        {**zone, "name": "thrice", "cron": "0 */8 * * *", "grace": "6h"},
    ]
    schedules = parse_schedules(json.dumps({"schedules": entries}), "s.json", JOBS)
    for want in wanted_machines(schedules, {}):
        world.create(want.name, want.region, {"image": IMAGE, **want.config})
    for _ in range(30):
        world.pass_time(86_400, fuzz=900, missed=0.25)
    missed = [run.occurrence for run in store.runs.list(limit=10_000) if run.occurrence]
    for schedule in schedules:
        expected = list(schedule.cron.between(start, world.time.moment() - schedule.grace))
        served = [at for name, at, _ in runs.served if name == schedule.name and at >= start]
        assert len(served) == len(set(served))
        assert set(expected) - set(missed) <= set(served)
    assert all(timedelta() <= at - occurrence <= timedelta(hours=6)
               for _, occurrence, at in runs.served)  # fmt: skip
    # Those of before the machines existed; in a grace of six hours some tick always comes.
    assert all(occurrence < start for occurrence in missed)
