"""Plan and apply against the loopback Fly: idempotent, patient, careful, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from deploy.apply import ActionResult, ApplyEvent, ApplyReport, apply
from deploy.fly import Fly, RateLimit, connect
from deploy.machines import wanted_machines
from deploy.plan import MachinePlan, make_plan
from deploy.settings import FlyTarget, authorization
from jobs import JOBS
from speakerbot.errors import ConfigError, TokenRefused, Unreachable
from speakerbot.schedules.reading import parse_schedules
from speakerbot.testing.fly import CommandOutcome, FlyFault, FlyWorld, serve

IMAGE = "registry.fly.io/community:cron@sha256:" + "a" * 64
GOOD = "fm2_good"


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "job": "weekly", "cron": "@hourly", **more}


class Person:
    """Somebody who runs plan and apply against a world."""

    def __init__(self, world: FlyWorld, *entries: dict[str, Any], token: str = GOOD) -> None:
        self.world, self.token, self.app = world, token, world.app
        self.timeout = 20.0
        self.heard: list[ApplyEvent] = []
        self.tell: Callable[[ApplyEvent], None] = lambda _event: None
        self.report = ApplyReport(())
        self.entries = list(entries) or [entry("reminders"), entry("weekly", cron="0 17 * * MON")]

    def plan(self, **options: Any) -> MachinePlan:
        return asyncio.run(self._run(None, options))[0]

    def apply(self, wait_for_runs: float = 600, **options: Any) -> list[ActionResult]:
        return asyncio.run(self._run(wait_for_runs, options))[1]

    async def _run(
        self, wait: float | None, options: dict[str, Any]
    ) -> tuple[MachinePlan, list[ActionResult]]:
        rate_limit = RateLimit(self.world.time.now, self.world.time.sleep)
        async with serve(self.world) as base:
            target = FlyTarget(self.app, base, {}, authorization(self.token))
            async with connect(target, self.timeout, rate_limit) as fly:
                plan = await self._planned(fly, options)
                if wait is None:
                    return plan, []
                self.report = ApplyReport(plan.actions, self._hear)
                await apply(fly, self.report, wait_for_runs=wait)
                return plan, self.report.results

    def _hear(self, event: ApplyEvent) -> None:
        self.heard.append(event)
        self.tell(event)

    async def _planned(self, fly: Fly, options: dict[str, Any]) -> MachinePlan:
        schedules = parse_schedules(json.dumps({"schedules": self.entries}), "s.json", JOBS)
        wanted = list(wanted_machines(schedules, {"LLM_MODEL": "small"}))
        return make_plan(wanted, await fly.machines(), **{"image": IMAGE, **options})


def kinds(plan: MachinePlan) -> list[str]:
    return [f"{action.kind} {action.name}" for action in plan.actions]


def outcomes(results: list[ActionResult]) -> list[str]:
    return [f"{result.action.name}: {result.outcome}" for result in results]


def settled(world: FlyWorld) -> FlyWorld:
    world.pass_time(60)
    return world


def test_the_first_apply_creates_and_then_there_is_nothing_to_do() -> None:
    person = Person(FlyWorld())
    assert kinds(person.plan()) == ["create cron-reminders", "create cron-weekly"]
    assert outcomes(person.apply()) == ["cron-reminders: done", "cron-weekly: done"]
    settled(person.world)
    assert person.plan().actions == ()
    assert person.plan(image=None).actions == ()
    assert len(person.plan().unchanged) == 2


def test_a_created_machine_is_what_fly_needs_to_fire_it() -> None:
    world = FlyWorld()
    Person(world, entry("weekly", cron="0 17 * * MON", timezone="Europe/Berlin")).apply()
    config = world.named("cron-weekly").config
    assert config["schedule"] == "hourly"
    assert config["restart"] == {"policy": "no"}
    assert config["auto_destroy"] is False
    assert config["init"]["cmd"][:6] == [
        "run", "weekly", "--schedule", "weekly", "--cron", "0 17 * * MON"
    ]  # fmt: skip
    assert "services" not in config
    assert "fly_platform_version" not in config["metadata"]
    assert config["env"] == {"LLM_MODEL": "small"}
    assert not world.named("cron-weekly").silenced


def test_only_what_differs_is_updated_and_the_phase_stays() -> None:
    world = FlyWorld()
    person = Person(world)
    person.apply()
    settled(world)
    phase, made = world.named("cron-weekly").phase, world.named("cron-weekly").id
    person.entries[1] |= {"grace": "24h", "env": {"DISCORD_TOKEN": "hush"}}
    plan = person.plan()
    assert kinds(plan) == ["update cron-weekly"]
    shown = [str(change) for change in plan.actions[0].changes]
    assert shown[0].startswith("command: run weekly --schedule weekly --cron '0 17 * * MON'")
    assert shown[1:] == ["env.DISCORD_TOKEN: (none) → ********"]
    assert outcomes(person.apply()) == ["cron-weekly: done"]
    assert (world.named("cron-weekly").phase, world.named("cron-weekly").id) == (phase, made)
    assert person.plan().actions == ()


def test_a_machine_is_not_touched_while_its_job_runs() -> None:
    world = FlyWorld(run=lambda _machine, _now: CommandOutcome(seconds=300))
    person = Person(world, entry("weekly"))
    person.apply()
    person.entries[0]["grace"] = "1d"
    assert outcomes(person.apply(wait_for_runs=60)) == ["cron-weekly: skipped"]
    assert outcomes(person.apply(wait_for_runs=600)) == ["cron-weekly: done"]
    assert world.named("cron-weekly").killed == 0


class TestATimedJob:
    """Its machine may run for days: it is stopped, updated, and started again."""

    FOR_DAYS = CommandOutcome(seconds=7 * 86_400, ends_in=3)

    def person(self, outcome: CommandOutcome = FOR_DAYS, **more: Any) -> Person:
        world = FlyWorld(run=lambda _machine, _now: outcome)
        entries = [{"name": "soon", "job": "starting", "cron": "@hourly",
                    "args": ["--horizon", "75m"], **more}]  # fmt: skip
        person = Person(world, *entries)
        person.apply()
        assert world.named("cron-soon").state == "started"
        return person

    def test_is_not_waited_for(self) -> None:
        person = self.person()
        world, began = person.world, person.world.time.now()
        person.entries[0]["timeout"] = "20m"
        [result] = person.apply(wait_for_runs=0)
        assert (result.outcome, result.text) == ("done", "updated, and started again")
        machine = world.named("cron-soon")
        assert "20m" in machine.config["init"]["cmd"]
        assert (machine.state, machine.killed, machine.runs) == ("started", 0, 2)
        assert world.time.now() - began < 60
        assert person.plan().actions == ()

    def test_ends_as_it_is_asked_to_before_anything_is_changed(self) -> None:
        person = self.person()
        person.entries[0]["timeout"] = "20m"
        person.apply()
        order = [what for what in person.world.requests if what not in ("list", "get", "wait")]
        assert order == ["create", "stop", "lease", "update", "release", "start"]
        ends = [e for e in person.world.named("cron-soon").events if e["type"] == "exit"]
        assert [e["request"]["exit_event"]["requested_stop"] for e in ends] == [True]
        assert ends[0]["request"]["exit_event"]["exit_code"] == 143

    def test_that_does_not_end_in_time_is_killed_by_fly(self) -> None:
        person = self.person(CommandOutcome(seconds=7 * 86_400, ends_in=1e9))
        person.entries[0]["timeout"] = "20m"
        assert outcomes(person.apply(wait_for_runs=0)) == ["cron-soon: done"]
        [ended] = [e for e in person.world.named("cron-soon").events if e["type"] == "exit"]
        assert ended["request"]["exit_event"]["exit_code"] == 137

    def test_that_is_disabled_stays_stopped(self) -> None:
        person = self.person()
        person.entries[0]["enabled"] = False
        [result] = person.apply()
        assert (result.outcome, result.text) == ("done", "updated")
        assert person.world.named("cron-soon").state in ("stopped", "replacing")

    def test_that_nobody_wants_any_more_is_stopped_and_destroyed(self) -> None:
        person = self.person()
        person.entries = [entry("weekly")]
        results = person.apply(prune=True, wait_for_runs=0)
        assert "cron-soon: done" in outcomes(results)
        assert [machine.name for machine in person.world.living()] == ["cron-weekly"]

    def test_whose_update_is_refused_is_started_again(self) -> None:
        person = self.person()
        person.entries[0]["timeout"] = "20m"
        person.world.images = set()
        [result] = person.apply(image="registry.fly.io/community:gone")
        assert result.outcome == "failed"
        assert person.world.named("cron-soon").state == "started"

    def test_that_took_the_place_of_another_is_waited_for(self) -> None:
        """What counts is what runs now."""
        world = FlyWorld(run=lambda _machine, _now: CommandOutcome(seconds=300))
        person = Person(world, entry("soon"))
        person.apply()
        person.entries = [{"name": "soon", "job": "starting", "cron": "@hourly"}]
        assert outcomes(person.apply(wait_for_runs=60)) == ["cron-soon: skipped"]
        assert outcomes(person.apply(wait_for_runs=600)) == ["cron-soon: done"]
        assert world.named("cron-soon").killed == 0


def test_machines_at_rest_come_before_those_that_must_be_waited_for() -> None:
    world = FlyWorld()
    person = Person(world, entry("one"), entry("two"), entry("three"))
    person.apply()
    settled(world)
    world.run = lambda _machine, _now: CommandOutcome(seconds=300)
    world.start(world.named("cron-one"))
    for each in person.entries:
        each["grace"] = "1d"
    assert [r.action.name for r in person.apply()] == ["cron-two", "cron-three", "cron-one"]


def test_a_wait_names_the_version_and_where_fly_refuses_it_the_machine_is_polled() -> None:
    for refused in (False, True):
        world = FlyWorld(run=lambda _machine, _now: CommandOutcome(seconds=300))
        world.faults = [FlyFault("400", "wait", times=99)] if refused else []
        person = Person(world, entry("weekly"))
        person.apply()
        person.entries[0]["grace"] = "1d"
        began = world.time.now()
        assert outcomes(person.apply()) == ["cron-weekly: done"]
        assert 290 < world.time.now() - began < 320
        assert world.requests.count("wait") < 120
        assert world.requests.count("get") < 130
        assert world.named("cron-weekly").killed == 0
        said = [event.text for event in person.heard if event.loud and not event.result]
        assert said[0] == "waiting for its job to end, for up to 600 s"


def changed_fleet(number: int) -> Person:
    """Somebody with that many machines at rest, each of them to be updated."""
    person = Person(FlyWorld(), *[entry(f"s{n}") for n in range(number)])
    person.apply()
    settled(person.world)
    for each in person.entries:
        each["grace"] = "1d"
    person.world.requests.clear()
    person.heard.clear()
    return person


def test_fifty_unchanged_machines_are_one_request_and_fifty_changed_as_fast_as_fly_allows() -> None:
    person = changed_fleet(50)
    began = person.world.time.now()
    assert {result.outcome for result in person.apply()} == {"done"}
    burst = 3
    assert person.world.time.now() - began <= 1.1 * (50 - burst)
    assert person.world.limits.refused == 0
    settled(person.world)
    person.world.requests.clear()
    assert person.apply() == []
    assert person.world.requests == ["list"]


@pytest.mark.parametrize("kind", ["500", "unheard", "html", "408", "hang"])
def test_a_dead_host_delays_the_others_by_at_most_one_retry(kind: Any) -> None:
    def others_done(person: Person) -> float:
        began, at = person.world.time.now(), []
        person.tell = lambda event: at.append(person.world.time.now() - began) if (
            event.result and event.result.outcome == "done") else None  # fmt: skip
        results = person.apply()
        assert [r.action.name for r in results if r.outcome == "failed"] in ([], ["cron-s1"])
        return max(at)

    healthy, ill = changed_fleet(12), changed_fleet(12)
    ill.world.faults = [FlyFault(kind, machine="cron-s1", times=10**6, seconds=1)]
    ill.timeout = 0.3 if kind == "hang" else 20
    retry = 1.2 + 1  # the pause, and Fly's second for each request
    assert others_done(ill) <= others_done(healthy) + retry
    failed = ill.report.results[-1]
    assert (failed.action.name, failed.outcome) == ("cron-s1", "failed")
    assert isinstance(failed.error, Unreachable)
    retries = [e.text for e in ill.heard if e.loud and not e.result and e.action.name == "cron-s1"]
    assert "again in 1 s" in retries[0]
    assert len(retries) == 7


def test_a_dead_host_does_not_keep_unwanted_machines_alive() -> None:
    person = changed_fleet(12)
    person.world.faults = [FlyFault("500", machine="cron-s1", times=10**6)]
    person.entries.pop()
    results = person.apply(prune=True)
    assert outcomes(results)[-2:] == ["cron-s11: done", "cron-s1: failed"]


def test_where_fly_itself_is_down_apply_ends_soon_and_says_what_was_done() -> None:
    person = changed_fleet(50)
    person.world.faults = [FlyFault("503", "lease", skip=5, times=10**6),
                           FlyFault("503", "list", skip=1, times=10**6)]  # fmt: skip
    began = person.world.time.now()
    with pytest.raises(Unreachable, match="503"):
        person.apply()
    assert person.world.time.now() - began < 180
    ends = [result.outcome for result in person.report.results]
    assert (len(ends), ends.count("done"), ends.count("failed")) == (50, 5, 0)
    person.world.faults = []
    settled(person.world)
    assert {result.outcome for result in person.apply()} == {"done"}


def test_what_nobody_wants_is_destroyed_only_when_told_to_and_last() -> None:
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(8)])
    person.apply()
    settled(world)
    person.entries = [*person.entries[1:], entry("new")]
    plan = person.plan()
    assert kinds(plan) == ["create cron-new"]
    assert [note.name for note in plan.notes] == ["cron-s0"]
    assert "there is no schedule 's0'; it stays until --prune" in plan.notes[0].text
    assert kinds(person.plan(prune=True)) == ["create cron-new", "delete cron-s0"]
    person.apply(prune=True)
    assert "cron-s0" not in {machine.name for machine in world.living()}


def test_most_machines_are_never_destroyed_by_accident() -> None:
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(10)])
    person.apply()
    person.entries = person.entries[:7]
    person.plan(prune=True).refuse_mass_destruction()
    person.entries = person.entries[:6]
    with pytest.raises(ConfigError, match=r"4 of 10 machines would be destroyed.*mass-change"):
        person.plan(prune=True).refuse_mass_destruction()


def test_machines_of_others_are_left_alone_even_under_our_names() -> None:
    world = FlyWorld()
    world.create("web", "iad", {"image": "registry.fly.io/community:web"})
    world.create("cron-weekly", "iad", {"image": "x/y:z", "metadata": {"managed_by": "somebody"}})
    person = Person(world)
    before = [dict(machine.config) for machine in world.living()]
    plan = person.plan(prune=True)
    assert kinds(plan) == ["create cron-reminders"]
    assert "not ours" in plan.notes[0].text
    person.apply(prune=True)
    assert [machine.config for machine in world.living()][:2] == before


def test_duplicates_are_folded_into_the_machine_of_the_right_name() -> None:
    world = FlyWorld()
    person = Person(world)
    person.apply()
    world.create("wild-river-1", "iad", dict(world.named("cron-weekly").config))
    settled(world)
    plan = person.plan(prune=True)
    assert kinds(plan) == ["delete wild-river-1"]
    plan.refuse_mass_destruction()
    person.apply(prune=True)
    assert len(world.living()) == 2


def test_a_machine_moves_by_being_replaced_if_that_is_allowed() -> None:
    world = FlyWorld()
    person = Person(world, entry("weekly"))
    person.apply()
    settled(world)
    person.entries[0]["region"] = "ams"
    assert "region: iad → ams" in person.plan().notes[0].text
    assert kinds(person.plan(prune=True)) == ["replace cron-weekly"]
    person.apply(prune=True)
    assert world.named("cron-weekly").region == "ams"


def test_a_disabled_schedule_keeps_a_machine_that_never_fires_or_sends() -> None:
    world = FlyWorld()
    person = Person(world, entry("weekly", enabled=False))
    person.apply()
    config = world.named("cron-weekly").config
    assert "schedule" not in config
    assert config["env"]["SPEAKERBOT_ENABLED"] == "false"
    settled(world)
    person.entries[0]["enabled"] = True
    shown = [str(change) for change in person.plan().actions[0].changes]
    assert shown == ["schedule: (none) → hourly", "env.SPEAKERBOT_ENABLED: false → (none)"]


@pytest.mark.parametrize("kind", ["429", "408", "500", "503", "text", "html", "unheard", "lost"])
@pytest.mark.parametrize(
    "action", ["list", "create", "get", "update", "lease", "release", "delete"]
)
def test_a_passing_fault_of_any_request_changes_nothing_about_the_outcome(
    kind: Any, action: str
) -> None:
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(4)])
    person.apply()
    settled(world)
    person.entries = [entry("new"), *[entry(f"s{n}", grace="1d") for n in range(1, 4)]]
    world.faults = [FlyFault(kind, action, times=2)]
    assert {result.outcome for result in person.apply(prune=True)} == {"done"}
    settled(world)
    assert person.plan(prune=True).actions == ()
    names = sorted(machine.name for machine in world.living())
    assert names == ["cron-new", "cron-s1", "cron-s2", "cron-s3"]
    assert not any(machine.killed for machine in world.machines.values())


@pytest.mark.parametrize("seed", [0, 73, 93])
def test_a_lease_whose_answer_was_lost_is_waited_for(seed: int) -> None:
    """It is ours, and ends by itself. However the pauses between tries fall out."""
    random.seed(seed)
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(4)])
    person.apply()
    settled(world)
    person.entries = [entry("new"), *[entry(f"s{n}", grace="1d") for n in range(1, 4)]]
    world.faults = [FlyFault("lost", "lease", times=2)]
    assert {result.outcome for result in person.apply(prune=True)} == {"done"}


def test_no_request_is_ever_too_fast() -> None:
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(12)])
    person.apply()
    settled(world)
    for each in person.entries:
        each["grace"] = "1d"
    person.apply()
    assert world.limits.refused == 0


def test_a_lost_create_is_found_again_and_never_made_twice() -> None:
    world = FlyWorld()
    world.faults = [FlyFault("lost", "create")]
    assert outcomes(Person(world, entry("weekly")).apply()) == ["cron-weekly: done"]
    assert len(world.living()) == 1
    assert world.requests == ["list", "create", "list", "list"]  # the last: is it still there?


@pytest.mark.parametrize(
    ("seconds", "quiet"), [(0.0, False), (3.0, False), (25.0, False), (1.5, True), (2.5, True)]
)
def test_a_change_that_fly_takes_back_seconds_later_is_noticed(seconds: float, quiet: bool) -> None:
    world = FlyWorld()
    person = Person(world, entry("weekly"))
    person.apply()
    settled(world)
    person.entries[0]["grace"] = "1d"
    world.faults = [FlyFault("revert", "update", seconds=seconds, quiet=quiet)]
    (result,) = person.apply()
    assert result.outcome == "failed"
    assert "took the update back (command)" in result.text
    assert outcomes(person.apply()) == ["cron-weekly: done"]


def test_a_machine_whose_host_is_gone_is_left_and_said() -> None:
    world = FlyWorld()
    person = Person(world)
    person.apply()
    settled(world)
    world.named("cron-weekly").host_status = "unreachable"
    person.entries[1]["grace"] = "1d"
    plan = person.plan(prune=True)
    assert plan.actions == ()
    assert "its host is unreachable" in plan.notes[0].text


def test_no_room_for_one_machine_does_not_stop_the_others() -> None:
    world = FlyWorld()
    world.refused_regions = {"ams"}
    results = Person(world, entry("one", region="ams"), entry("two")).apply()
    assert outcomes(results) == ["cron-two: done", "cron-one: failed"]
    assert "no room in that region" in results[1].text


def test_an_image_that_does_not_exist_is_named_after_a_while() -> None:
    world = FlyWorld(images=["registry.fly.io/community:other"])
    (result,) = Person(world, entry("weekly")).apply()
    assert "The image does not exist" in result.text
    assert isinstance(result.error, ConfigError)


def test_an_image_just_pushed_is_waited_for() -> None:
    world = FlyWorld(images=[])
    assert world.images is not None
    images, sleep = world.images, world.time.sleep

    async def slow(seconds: float) -> None:
        images.add(IMAGE.partition("@")[0])
        await sleep(seconds)

    world.time.sleep = slow  # type: ignore[method-assign]  # the registry catches up meanwhile
    assert outcomes(Person(world, entry("weekly")).apply()) == ["cron-weekly: done"]


@pytest.mark.parametrize(
    ("token", "said"), [("fm2_bad", "not valid"), ("plain", "not valid"), ("fm2_other", "not for")]
)
def test_a_refused_token_says_which_command_makes_the_right_one(token: str, said: str) -> None:
    with pytest.raises(TokenRefused, match="fly tokens create deploy -a community") as refused:
        Person(FlyWorld(), token=token).plan()
    assert said in str(refused.value)
    assert refused.value.exit_code == 77


def test_an_app_that_does_not_exist_is_named() -> None:
    person = Person(FlyWorld())
    person.app = "comunity"
    with pytest.raises(ConfigError, match="there is no app 'comunity'"):
        person.plan()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nonsense", "'Sign in to continue' instead of JSON"),
        ("html", "502: 502"),
        ("text", "Bad Gate"),
    ],
)
def test_an_answer_that_makes_no_sense_gives_a_clear_error(kind: Any, said: str) -> None:
    world = FlyWorld()
    world.faults = [FlyFault(kind, "list", times=99)]
    with pytest.raises(Unreachable, match=said):
        Person(world).plan()


def test_pages_are_followed_to_the_end() -> None:
    world = FlyWorld()
    person = Person(world, *[entry(f"s{number}") for number in range(7)])
    person.apply()
    world.page = 3
    settled(world)
    world.requests.clear()
    assert len(person.plan().unchanged) == 7
    assert world.requests == ["list"] * 3


def test_leases_are_read_bare_or_wrapped() -> None:
    world = FlyWorld()
    world.lease_under_data = True
    person = Person(world, entry("weekly"))
    person.apply()
    settled(world)
    person.entries[0]["grace"] = "1d"
    assert outcomes(person.apply()) == ["cron-weekly: done"]
    assert world.named("cron-weekly").lease is None


def test_somebody_elses_lease_is_waited_for() -> None:
    world = FlyWorld()
    person = Person(world, entry("weekly"))
    person.apply()
    settled(world)
    person.entries[0]["grace"] = "1d"
    held = {"nonce": "theirs", "owner": "bob", "expires_at": world.time.now() + 25}
    world.named("cron-weekly").lease = dict(held)
    assert outcomes(person.apply()) == ["cron-weekly: done"]
    held["expires_at"] = world.time.now() + 3600
    world.named("cron-weekly").lease = held
    person.entries[0]["grace"] = "2d"
    (result,) = person.apply()
    assert (result.outcome, result.text[:13]) == ("skipped", "somebody else")


def test_a_refresh_updates_what_does_not_differ_for_the_sake_of_secrets() -> None:
    world = FlyWorld()
    person = Person(world)
    person.apply()
    settled(world)
    assert kinds(person.plan(refresh=True)) == ["update cron-reminders", "update cron-weekly"]
    assert outcomes(person.apply(refresh=True)) == ["cron-reminders: done", "cron-weekly: done"]


def test_a_volume_attached_by_hand_survives_an_update() -> None:
    world = FlyWorld()
    person = Person(world, entry("weekly"))
    person.apply()
    settled(world)
    world.named("cron-weekly").config["mounts"] = [{"volume": "vol_1", "path": "/data"}]
    person.entries[0]["grace"] = "1d"
    person.apply()
    assert world.named("cron-weekly").config["mounts"][0]["volume"] == "vol_1"


def test_two_people_at_once_end_with_one_set_of_machines() -> None:
    world = FlyWorld()
    first, second = Person(world), Person(world)

    async def both() -> None:
        await asyncio.gather(first._run(600, {}), second._run(600, {}))

    asyncio.run(both())
    assert sorted(machine.name for machine in world.living()) == ["cron-reminders", "cron-weekly"]
    settled(world)
    assert first.plan().actions == ()
