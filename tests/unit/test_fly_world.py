"""The loopback Fly behaves as Fly was measured to: also where that is odd."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from speakerbot.testing.fly import CommandOutcome, FakeTime, FlyFault, FlyMachine, FlyWorld, serve
from speakerbot.testing.fly.commands import RealCommand
from speakerbot.testing.fly.limits import FlyLimits
from speakerbot.testing.fly.world import FlyRefusal

HOUR, DAY = 3600.0, 86_400.0


def world_with(schedule: str | None = "hourly", **more: Any) -> tuple[FlyWorld, FlyMachine]:
    world = FlyWorld(**more)
    config = {"image": "i:1", **({"schedule": schedule} if schedule else {})}
    return world, world.create("m", "iad", config)


def test_creating_launches_and_the_schedule_keeps_that_phase() -> None:
    started: list[float] = []

    def run(_machine: FlyMachine, now: float) -> CommandOutcome:
        started.append(now)
        return CommandOutcome()

    world, machine = world_with(run=run)
    made = world.time.now()
    world.pass_time(3 * HOUR + 1, fuzz=0)
    assert started == [made, made + HOUR, made + 2 * HOUR, made + 3 * HOUR]
    assert machine.state == "stopped" or machine.runs == 4


def test_time_may_pass_in_small_steps() -> None:
    world, machine = world_with()
    for _ in range(7 * 60):
        world.pass_time(60, fuzz=0)
    assert machine.runs == 8


@pytest.mark.parametrize(("schedule", "runs"), [("daily", 31), ("weekly", 5), (None, 1)])
def test_each_interval_fires_as_often_as_it_says(schedule: str | None, runs: int) -> None:
    world, machine = world_with(schedule)
    world.pass_time(30 * DAY, fuzz=0)
    assert machine.runs == runs


def test_ticks_may_be_late_or_missed_and_nothing_catches_up() -> None:
    world, machine = world_with(seed=3)
    world.pass_time(100 * HOUR, fuzz=600, missed=0.3)
    assert 50 < machine.runs < 90


def test_a_running_machine_is_not_started_again() -> None:
    world, machine = world_with(run=lambda _machine, _now: CommandOutcome(seconds=2.5 * HOUR))
    world.pass_time(2 * HOUR, fuzz=0)
    assert machine.runs == 1


def test_skip_launch_silences_a_schedule_for_good() -> None:
    world = FlyWorld()
    config = {"image": "i:1", "schedule": "hourly"}
    born = world.create("born", "iad", dict(config), skip_launch=True)
    later = world.create("later", "iad", dict(config))
    world.pass_time(60)
    world.update(later, dict(config), skip_launch=True)
    world.pass_time(DAY, fuzz=0)
    assert (born.runs, later.runs) == (0, 1)


def test_an_update_replaces_the_whole_config_and_kills_what_runs() -> None:
    world, machine = world_with(run=lambda _machine, _now: CommandOutcome(seconds=100))
    world.update(machine, {"image": "i:2"}, skip_launch=False)
    assert machine.killed == 1
    assert machine.config == {"image": "i:2"}
    world.pass_time(DAY)
    assert machine.runs == 2
    exits = [event["request"]["exit_event"] for event in machine.events if event["type"] == "exit"]
    assert [(e["exit_code"], e["requested_stop"]) for e in exits] == [(0, False), (143, True)]


async def ask(world: FlyWorld, method: str, path: str, **query: str) -> tuple[int, Any]:
    async with (
        serve(world) as base,
        aiohttp.ClientSession(headers={"Authorization": "FlyV1 fm2_good"}) as session,
        session.request(
            method, f"{base}/v1/apps/community/machines/{path}", params=query
        ) as response,
    ):
        return response.status, await response.json()


def test_waiting_for_stopped_needs_the_present_version() -> None:
    world, machine = world_with(run=lambda _machine, _now: CommandOutcome(seconds=20))

    def wait(**query: str) -> int:
        return asyncio.run(ask(world, "GET", f"{machine.id}/wait", **query))[0]

    assert wait(state="stopped") == 400
    assert wait(state="stopped", instance_id="01HOLD") == 404
    began = world.time.now()
    assert wait(state="stopped", instance_id=machine.version, timeout="5") == 408
    assert world.time.now() == began + 5
    assert wait(state="stopped", instance_id=machine.version) == 200
    assert world.time.now() == began + 20


@pytest.mark.parametrize(
    ("ends_in", "seconds", "exit_code"), [(3, 3, 143), (300, 30, 137)], ids=["ends", "is killed"]
)
def test_a_job_that_is_asked_to_end_has_the_time_of_its_stop_config(
    ends_in: float, seconds: float, exit_code: int
) -> None:
    outcome = CommandOutcome(seconds=7 * 86_400, ends_in=ends_in)
    world, machine = world_with(run=lambda _machine, _now: outcome)
    machine.config["stop_config"] = {"signal": "SIGTERM", "timeout": "30s"}
    world.stop(machine)
    assert machine.state == "stopping"
    with pytest.raises(FlyRefusal, match="still stopping"):
        world.start(machine)
    world.pass_time(seconds - 1)
    assert machine.state == "stopping"
    world.pass_time(1)
    assert (machine.state, machine.killed) == ("stopped", 0)
    [ended] = [event for event in machine.events if event["type"] == "exit"]
    found = ended["request"]["exit_event"]
    assert (found["exit_code"], found["requested_stop"]) == (exit_code, True)


def test_an_update_takes_a_moment_in_which_the_machine_is_replacing() -> None:
    world, machine = world_with()
    world.pass_time(60)
    world.update(machine, {"image": "i:2"}, skip_launch=False)
    assert machine.state == "replacing"
    with pytest.raises(FlyRefusal, match="being replaced"):
        world.start(machine)
    world.pass_time(2)
    assert (machine.state, machine.config["image"]) == ("stopped", "i:2")


@pytest.mark.parametrize(("quiet", "meanwhile"), [(False, "replacing"), (True, "stopped")])
def test_an_update_may_be_taken_back_seconds_later(quiet: bool, meanwhile: str) -> None:
    world, machine = world_with(None)
    world.pass_time(60)
    before, version = machine.config, machine.version
    world.update(machine, {"image": "i:2"}, skip_launch=False)
    world.take_back(machine, before, version, seconds=3, quiet=quiet)
    world.pass_time(2)
    assert (machine.state, machine.config["image"]) == (meanwhile, "i:2")
    world.pass_time(2)
    assert (machine.state, machine.config["image"]) == ("stopped", "i:1")
    assert machine.version == version


@pytest.mark.parametrize(
    ("kind", "cpus", "sold"),
    [("shared", 3, False), ("shared", 16, False), ("performance", 5, False), ("shared", 6, True),
     ("performance", 10, True)],
)  # fmt: skip
def test_only_guests_that_fly_sells_are_made(kind: str, cpus: int, sold: bool) -> None:
    guest = {"cpu_kind": kind, "cpus": cpus, "memory_mb": 2048 * cpus}
    world = FlyWorld()
    if sold:
        world.create("m", "iad", {"image": "i:1", "guest": guest})
    else:
        with pytest.raises(FlyRefusal, match=f"no {cpus} CPUs"):
            world.create("m", "iad", {"image": "i:1", "guest": guest})


def test_a_broken_host_answers_only_for_its_own_machine() -> None:
    world, machine = world_with()
    other = world.create("other", "iad", {"image": "i:1"})
    world.faults = [FlyFault("500", machine="m", times=99)]
    assert asyncio.run(ask(world, "GET", machine.id))[0] == 500
    assert asyncio.run(ask(world, "GET", other.id))[0] == 200


def test_an_unreachable_machine_is_listed_without_its_config() -> None:
    _world, machine = world_with()
    machine.host_status = "unreachable"
    assert not {"config", "incomplete_config"} & machine.document().keys()
    machine.host_status = "unknown"
    assert "incomplete_config" in machine.document()


def test_two_who_sleep_side_by_side_take_as_long_as_one() -> None:
    time, woken = FakeTime(), []

    async def sleep(seconds: float) -> None:
        await time.sleep(seconds)
        woken.append(seconds)

    async def both() -> None:
        await asyncio.gather(sleep(10), sleep(3), sleep(7))

    began = time.now()
    asyncio.run(both())
    assert (time.now() - began, woken) == (10, [3, 7, 10])


def test_names_are_unique_among_the_living() -> None:
    world, machine = world_with()
    with pytest.raises(FlyRefusal) as refused:
        world.create("m", "iad", {"image": "i:1"})
    assert (refused.value.status, refused.value.code) == (409, "name_taken")
    world.delete(machine, force=True)
    assert world.create("m", "iad", {"image": "i:1"}).id != machine.id


def test_only_a_stopped_machine_is_destroyed_without_force() -> None:
    world, machine = world_with(run=lambda _machine, _now: CommandOutcome(seconds=100))
    with pytest.raises(FlyRefusal, match="not currently stopped"):
        world.delete(machine, force=False)
    world.pass_time(200)
    world.delete(machine, force=False)
    assert world.living() == []


def test_limits_allow_a_burst_and_then_a_rate() -> None:
    now = 0.0
    limits = FlyLimits(lambda: now)
    assert [limits.allow("create") for _ in range(5)] == [True, True, True, False, False]
    now = 1.0
    assert [limits.allow("create") for _ in range(2)] == [True, False]
    assert [limits.allow("get") for _ in range(11)].count(True) == 10


def test_filters_and_pages_work_as_fly_documents_them() -> None:
    world = FlyWorld(limited=False)
    for number in range(5):
        owner = "us" if number % 2 else "them"
        world.create(f"m{number}", "iad", {"image": "i:1", "metadata": {"owner": owner}})

    async def names(**query: str) -> tuple[list[str], str | None]:
        async with (
            serve(world) as base,
            aiohttp.ClientSession(headers={"Authorization": "FlyV1 fm2_good"}) as session,
            session.get(f"{base}/v1/apps/community/machines", params=query) as response,
        ):
            found = [machine["name"] for machine in await response.json()]
            return found, response.headers.get("fly-next-cursor")

    assert asyncio.run(names(**{"metadata.owner": "us"})) == (["m1", "m3"], None)
    assert asyncio.run(names(limit="2")) == (["m0", "m1"], "2")
    assert asyncio.run(names(limit="2", cursor="4")) == (["m4"], None)
    assert asyncio.run(names(state="stopped,suspended")) == ([], None)


def test_the_real_command_runs_with_the_machines_arguments_and_environment(tmp_path: Path) -> None:
    code = (
        "import json, os, sys; env = os.environ; "
        f"open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps([sys.argv[1:], "
        "env['FLY_MACHINE_ID'], env['A'], env['S']])); sys.exit(3)"
    )
    runner = RealCommand([sys.executable, "-c", code], env={"S": "secret", "A": "0"})
    world = FlyWorld(run=runner)
    config = {"image": "i:1", "init": {"cmd": ["run", "weekly"]}, "env": {"A": "1"}}
    machine = world.create("m", "iad", config)
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen == [["run", "weekly"], machine.id, "1", "secret"]
    world.pass_time(60)
    assert machine.events[0]["request"]["exit_event"]["exit_code"] == 3


def test_a_command_that_hangs_is_killed() -> None:
    runner = RealCommand([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.2)
    outcome = FlyWorld(run=runner).run(FlyMachine("a", "m", "iad", {}, "1", 0, 0), 0.0)
    assert outcome.exit_code == 137


@pytest.mark.slow
def test_it_can_be_served_by_itself() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "speakerbot.testing.fly", "--speed", "3600", "--app", "mine"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = dict(process.stdout.readline().split()[1].split("=", 1) for _ in range(3))

        async def machines() -> Any:
            headers = {"Authorization": f"Bearer {lines['FLY_API_TOKEN']}"}
            url = f"{lines['FLY_FLAPS_BASE_URL']}/v1/apps/{lines['FLY_APP']}/machines"
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(url) as response,
            ):
                return await response.json()

        assert [machine["name"] for machine in asyncio.run(machines())] == ["web"]
    finally:
        process.terminate()
        process.communicate()


def test_times_are_shown_as_fly_shows_them() -> None:
    world, machine = world_with()
    shown = machine.document()
    made = datetime.fromisoformat(shown["created_at"])
    assert (made, made.tzinfo) == (world.time.moment(), UTC)
    assert shown["config"]["restart"] == {"policy": "on-failure", "max_retries": 10}
