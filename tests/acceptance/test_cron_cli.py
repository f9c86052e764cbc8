"""The cron commands as people run them: a process each, against a loopback Fly."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import deploy.deploy_cron
from deploy.machines import wanted_machines
from jobs import JOBS
from speakerbot.schedules.reading import read_schedules
from speakerbot.stores import open_store
from speakerbot.testing.fly import CommandOutcome, FlyFault, FlyMachine, FlyWorld
from speakerbot.testing.fly.machine import digest_of
from tests.acceptance.loopback_fly import serving
from tests.started_commands import run_command

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

SCRIPT = deploy.deploy_cron.__file__
COMMAND = Path(sys.executable).parent / "speakerbot"
IMAGE = "registry.fly.io/community:cron"


class Desk:
    """A person's shell: a folder with schedules.json, and an environment that leads to Fly."""

    def __init__(self, folder: Path, world: FlyWorld, base: str) -> None:
        self.folder, self.world = folder, world
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "FLY_FLAPS_BASE_URL": base,
            "FLY_API_TOKEN": "fm2_good", "SPEAKERBOT_SCHEDULES": "s.json", "FLY_APP": world.app,
        }  # fmt: skip
        self.write({"name": "reminders", "job": "reminders", "cron": "@hourly"})

    def write(self, *entries: dict[str, Any]) -> None:
        (self.folder / "s.json").write_text(json.dumps({"schedules": entries}))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_command(
            "deploy.deploy_cron", words, fresh=[sys.executable, SCRIPT], env=self.env,
            folder=self.folder,
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command, as somebody who may press Ctrl-C sees it."""
        return subprocess.Popen(
            [sys.executable, SCRIPT, *words], cwd=self.folder, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def fails(self, code: int, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Serves a world from a thread while the test runs commands."""
    world = FlyWorld(limited=False)
    with serving(world) as base:
        yield Desk(tmp_path, world, base)


def test_plan_apply_plan(desk: Desk) -> None:
    planned = desk.run("plan", "--image", IMAGE, "--detailed-exitcode")
    assert planned.returncode == 2
    assert "+ create cron-reminders: in iad, hourly" in planned.stdout
    assert planned.stdout.splitlines()[-1] == "Plan: 1 to create, 0 unchanged."
    applied = desk.run("apply", "--image", IMAGE)
    assert applied.returncode == 0
    assert "[1/1] cron-reminders: created as" in applied.stdout
    assert applied.stdout.splitlines()[-1] == "Applied: 1 done, 0 skipped, 0 failed."
    desk.world.pass_time(60)
    again = desk.run("plan", "--detailed-exitcode")
    assert (again.returncode, again.stdout.splitlines()[-1][:11]) == (0, "No changes:")


def test_cron_alone_shows_its_commands() -> None:
    for words in ([SCRIPT], ["-m", "cli.main", "cron"]):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "Usage: " in done.stdout
        assert "  apply " in done.stdout


@pytest.mark.parametrize("name", [".env", "other.env"])
def test_settings_of_fly_and_schedules_are_read_from_the_file_of_settings(
    desk: Desk, name: str
) -> None:
    moved = ("FLY_API_TOKEN", "FLY_APP", "FLY_FLAPS_BASE_URL", "SPEAKERBOT_SCHEDULES")
    lines = [f"{variable}={desk.env.pop(variable)}\n" for variable in moved]
    (desk.folder / name).write_text("".join(lines))
    if name != ".env":
        assert "deploy/schedules.json" in desk.fails(78, "plan")
        desk.env["SPEAKERBOT_ENV_FILE"] = name
    assert "create cron-reminders" in desk.run("plan", "--image", IMAGE).stdout
    assert "speakerbot run reminders" in desk.run("export", "crontab").stdout
    desk.env["FLY_APP"] = "not-there"  # the environment wins
    assert "there is no app 'not-there'" in desk.fails(78, "plan", "--image", IMAGE)


def test_a_plan_shows_whose_image_a_new_machine_gets(desk: Desk) -> None:
    desk.world.create("web", "iad", {"image": "registry.fly.io/community:web"})
    planned = desk.run("plan").stdout
    assert "! web: new machines get its image, though speakerbot does not manage it: " in planned
    assert "registry.fly.io/community:web" in planned
    assert "new machines get its image" not in desk.run("plan", "--image", IMAGE).stdout
    desk.run("apply")
    assert "new machines get its image" not in desk.run("plan").stdout


def test_a_dry_run_changes_nothing(desk: Desk) -> None:
    assert desk.run("apply", "--dry-run", "--image", IMAGE).returncode == 0
    assert desk.world.requests == ["list"]


def test_an_update_shows_each_field_and_no_secret(desk: Desk) -> None:
    desk.run("apply", "--image", IMAGE)
    secret = {"DISCORD_TOKEN": "hush-hush", "DATABASE_URL": "mongodb://me:hush-hush@db/x"}
    desk.write({"name": "reminders", "job": "reminders", "cron": "@daily", "env": secret})
    done = desk.run("plan", "--image", f"{IMAGE}2")
    assert "      schedule: hourly → daily\n" in done.stdout
    assert f"      image: {IMAGE}@sha256" in done.stdout
    assert "      env.DATABASE_URL: (none) → ********\n" in done.stdout
    assert "hush" not in done.stdout + done.stderr
    assert "warning: s.json" in done.stderr
    assert "hush" not in desk.run("plan", "--json").stdout


def test_an_image_is_reconciled_to_by_its_digest(desk: Desk) -> None:
    image = f"{desk.env['FLY_FLAPS_BASE_URL'].removeprefix('http://')}/community:v1"
    words = ("apply", "--by-digest", "--image")
    assert desk.run(*words, image).returncode == 0
    assert desk.world.named("cron-reminders").config["image"] == f"{image}@{digest_of(image)}"
    desk.world.images = set()
    assert "does not exist" in desk.fails(78, *words, image)
    assert "write the digest" in desk.fails(2, *words, "docker.io/library/x:1")
    assert "fly tokens create" in desk.fails(77, *words, image, "--access-token", "fm2_bad")


def test_json_is_the_only_thing_on_stdout(desk: Desk) -> None:
    plan = json.loads(desk.run("plan", "--json", "--image", IMAGE).stdout)
    assert plan["counts"] == {
        "create": 1, "update": 0, "replace": 0, "delete": 0, "unchanged": 0, "left": 0
    }  # fmt: skip
    applied = json.loads(desk.run("apply", "--json", "--image", IMAGE).stdout)
    assert applied["results"][0]["outcome"] == "done"
    status = json.loads(desk.run("status", "--json").stdout)
    assert status["machines"][0]["last_run"]["exit_code"] in (None, 0)


def test_a_pipe_gets_no_colour_and_whole_lines(desk: Desk) -> None:
    desk.write(
        {"name": "a" * 32, "job": "weekly", "cron": "0 17 * * MON", "args": ["--only", "1" * 300]}
    )
    desk.run("apply", "--image", IMAGE)
    desk.write({"name": "a" * 32, "job": "weekly", "cron": "0 17 * * MON"})
    output = desk.run("plan").stdout
    assert "\x1b" not in output
    assert any("1" * 300 in line for line in output.splitlines())
    assert "a" * 32 in desk.run("status").stdout.splitlines()[1]


def always(outcome: CommandOutcome) -> Callable[[FlyMachine, float], CommandOutcome]:
    return lambda _machine, _now: outcome


def test_status_asks_for_a_person_when_one_is_needed(desk: Desk) -> None:
    missing = desk.run("status")
    assert missing.returncode == 2
    assert "there is no such machine: `cron apply` creates it" in missing.stdout
    desk.world.time.seconds = time.time() - 2.5 * 3600
    desk.run("apply", "--image", IMAGE)
    desk.world.living()
    desk.world.time.seconds = time.time()  # no tick came in two and a half hours
    assert "overdue: no start since" in desk.run("status").stdout
    for outcome, code, said in (
        (CommandOutcome(exit_code=137, oom_killed=True), 2, "ran out of memory"),
        (CommandOutcome(exit_code=78), 2, "ended with exit code 78"),
        (CommandOutcome(), 0, "Nothing needs a person."),
    ):
        desk.world.run = always(outcome)
        desk.world.start(desk.world.named("cron-reminders"))
        desk.world.pass_time(10, fuzz=0)
        status = desk.run("status")
        assert (status.returncode, said in status.stdout) == (code, True)


def test_run_says_what_will_happen_and_starts_the_machine(desk: Desk) -> None:
    desk.write({"name": "weekly", "job": "weekly", "cron": "0 0 29 2 *"})
    assert "`cron apply` creates it" in desk.fails(78, "run", "weekly")
    desk.run("apply", "--image", IMAGE)
    desk.world.pass_time(60)
    done = desk.run("run", "weekly")
    assert done.returncode == 0
    assert "no occurrence is open" in done.stdout
    assert "fly logs --app community --machine" in done.stdout
    assert desk.world.named("cron-weekly").runs == 2
    assert "is running already" in desk.fails(78, "run", "weekly")
    assert "there is no schedule 'x'" in desk.fails(78, "run", "x")


SOON = {"name": "soon", "job": "starting", "cron": "@hourly", "args": ["--horizon", "75m"]}
FOR_DAYS = CommandOutcome(seconds=7 * 86_400)


class TestATimedJob:
    @pytest.fixture
    def stays(self, desk: Desk) -> Desk:
        """Its machine has been running for two days."""
        desk.world.run = always(FOR_DAYS)
        desk.write(SOON)
        desk.world.time.seconds = time.time() - 2 * 86_400
        assert desk.run("apply", "--image", IMAGE).returncode == 0
        desk.world.time.seconds = time.time()
        return desk

    def test_is_stopped_updated_and_started_again(self, stays: Desk) -> None:
        stays.write({**SOON, "timeout": "20m"})
        done = stays.run("apply", "--wait-for-runs", "0s", "--detailed-exitcode")
        assert done.returncode == 0
        assert "cron-soon: updated, and started again" in done.stdout
        assert stays.world.named("cron-soon").state == "started"

    def test_is_not_overdue_while_it_stays(self, stays: Desk) -> None:
        status = stays.run("status")
        assert (status.returncode, "Nothing needs a person." in status.stdout) == (0, True)
        assert "starting" not in status.stderr

    def test_is_started_by_hand_to_look(self, desk: Desk) -> None:
        desk.write(SOON)
        desk.run("apply", "--image", IMAGE)
        desk.world.pass_time(60)
        assert "the run looks what is due" in desk.run("run", "soon").stdout

    def test_is_told_of_once_its_horizon_is_too_short(self, desk: Desk) -> None:
        desk.write({**SOON, "args": ["--horizon", "1h"]})
        done = desk.run("plan", "--image", IMAGE)
        assert done.returncode == 0
        assert "write at least --horizon 75m" in done.stderr


class TestTheLastLook:
    """Only ``speakerbot cron`` can ask the store for it."""

    def status(self, desk: Desk, url: str) -> subprocess.CompletedProcess[str]:
        desk.write(SOON)
        desk.world.run = always(FOR_DAYS)
        desk.run("apply", "--image", IMAGE)
        return run_command(
            "cli.main", ("cron", "status"), fresh=[COMMAND], folder=desk.folder,
            env={**desk.env, "DATABASE_URL": url, "SPEAKERBOT_ENV_FILE": ""},
        )  # fmt: skip

    def test_of_a_store_that_does_not_answer_is_unknown(self, desk: Desk) -> None:
        status = self.status(desk, "mongodb://127.0.0.1:1/x?timeoutMS=200")
        assert (status.returncode, "looks_unknown" in status.stderr) == (0, True)

    def test_is_not_looked_for_in_a_file_of_this_machine(self, desk: Desk) -> None:
        url = f"sqlite:///{desk.folder}/store.db"
        store = open_store(url)
        store.prepare()
        store.marks.put("look soon", "2026-01-01T00:00:00Z")
        store.close()
        assert self.status(desk, url).returncode == 0

    @pytest.mark.mongodb_server
    def test_decides_where_the_store_knows_it(self, desk: Desk, beside_node_bot: Cli) -> None:
        url = beside_node_bot.database_url
        store = open_store(url)
        store.prepare()
        store.marks.put("look soon", "2026-01-01T00:00:00Z")
        status = self.status(desk, url)
        assert status.returncode == 2
        assert "overdue: no look since 2026-01-01 00:00 UTC" in status.stdout
        store.marks.put("look soon", datetime.now(UTC).isoformat())
        store.close()
        assert self.status(desk, url).returncode == 0


def test_logs_names_the_command(desk: Desk) -> None:
    desk.run("apply", "--image", IMAGE)
    machine = desk.world.named("cron-reminders").id
    done = desk.run("logs", "reminders")
    assert done.stdout == f"fly logs --app community --machine {machine}\n"


@pytest.mark.parametrize("text", ["", '{"schedules": [{"na', '{"schedules": []}'])
def test_a_broken_file_is_refused_before_fly_is_asked(desk: Desk, text: str) -> None:
    (desk.folder / "s.json").write_text(text)
    for command in ("plan", "apply", "status"):
        assert "s.json" in desk.fails(78, command)
    assert desk.world.requests == []


def test_mass_destruction_needs_its_flag(desk: Desk) -> None:
    entries = [{"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(4)]
    desk.write(*entries)
    desk.run("apply", "--image", IMAGE)
    desk.world.pass_time(60)
    desk.write(entries[0])
    refused = "3 of 4 machines would be destroyed"
    for command in ("plan", "apply"):
        assert refused in desk.fails(78, command, "--prune")
    assert desk.run("plan", "--prune", "--allow-mass-change").returncode == 0
    assert len(desk.world.living()) == 4
    assert desk.run("apply", "--prune", "--allow-mass-change").returncode == 0
    assert len(desk.world.living()) == 1


def test_every_kind_of_failure_has_its_exit_code_and_its_advice(desk: Desk) -> None:
    assert "no image is known" in desk.fails(78, "plan")
    assert "is not a duration" in desk.fails(2, "apply", "--wait-for-runs", "soon")
    assert "fly tokens create" in desk.fails(77, "plan", "--access-token", "fm2_bad")
    assert "there is no app 'x'" in desk.fails(78, "plan", "--app", "x")
    del desk.env["FLY_API_TOKEN"]
    assert "there is no Fly token" in desk.fails(77, "plan")
    del desk.env["FLY_APP"]
    assert "which app?" in desk.fails(78, "plan")


def test_failures_of_single_machines_make_the_exit_code(desk: Desk) -> None:
    desk.world.faults = [FlyFault("revert", "update")]
    desk.run("apply", "--image", IMAGE)
    desk.world.pass_time(60)
    done = desk.run("apply", "--image", f"{IMAGE}2")
    assert done.returncode == 69
    assert "Run apply again to finish." in done.stdout


def test_differences_that_a_plan_cannot_remove_are_not_no_changes(desk: Desk) -> None:
    names = ("moved", "held", "dark", "removed", "fine")
    entries = [{"name": name, "job": "weekly", "cron": "@hourly"} for name in names]
    desk.write(*(entry for entry in entries if entry["name"] != "held"))
    desk.run("apply", "--image", IMAGE)
    desk.world.pass_time(60)
    desk.world.create("cron-held", "iad", {"image": "x/y:z"})
    desk.world.named("cron-dark").host_status = "unreachable"
    entries[0]["region"] = "ams"
    desk.write(*(entry for entry in entries if entry["name"] != "removed"))
    left = "4 differences that this plan cannot remove"
    for command in ("plan", "apply"):
        done = desk.run(command)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == f"Nothing to do, but {left}; 1 unchanged."
        assert desk.run(command, "--detailed-exitcode").returncode == 2
    document = json.loads(desk.run("plan", "--json").stdout)
    assert (document["counts"]["left"], document["counts"]["unchanged"]) == (4, 1)
    assert [note["left"] for note in document["notes"]] == [True] * 4
    desk.write(*(entry for entry in entries if entry["name"] != "removed"),
               {"name": "new", "job": "weekly", "cron": "@hourly"})  # fmt: skip
    assert f"Plan: 1 to create, 1 unchanged. {left}." in desk.run("plan").stdout


def test_an_image_is_written_out_once(desk: Desk) -> None:
    old, new = (f"{IMAGE}@sha256:{letter * 64}" for letter in "ab")
    desk.write(*({"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(3)))
    planned = desk.run("plan", "--image", old).stdout
    assert f"image of 3 machines: {old}\n" in planned
    desk.run("apply", "--image", old)
    desk.world.pass_time(60)
    planned = desk.run("plan", "--image", new).stdout
    assert planned.count("b" * 64) == 1
    assert "a" * 64 not in planned
    assert f"image: {IMAGE}@sha256:{'a' * 12}… → {IMAGE}@sha256:{'b' * 12}…\n" in planned


def test_ctrl_c_ends_an_apply_with_what_was_done(desk: Desk) -> None:
    desk.write(*({"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(16)))
    for words, number, code in (((), signal.SIGINT, 130), (("--json",), signal.SIGTERM, 143)):
        process = desk.start("apply", "--image", IMAGE, *words)
        created = len(desk.world.living())
        while len(desk.world.living()) < created + 2:
            time.sleep(0.02)
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
        assert process.returncode == code
        assert "Traceback" not in out + errors
        if words:
            document = json.loads(out)
            assert (document["exit_code"], document["error"]) == (143, "stopped by SIGTERM")
            outcomes = [result["outcome"] for result in document["results"]]
            assert len(outcomes) == len(document["actions"])
            assert {"done", "not_started"} <= set(outcomes)
            assert document["progress"]
        else:
            assert "interrupted while creating it; `cron plan` shows whether" in out
            counts = r"Applied: \d+ done, 0 skipped, 0 failed, \d+ interrupted, \d+ not started\."
            assert re.fullmatch(f"{counts} Run apply again to finish.", out.splitlines()[-1])
    assert desk.run("apply", "--image", IMAGE).returncode == 0
    assert len(desk.world.living()) == 16


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_an_apply_whose_reader_has_gone_is_finished(desk: Desk, words: tuple[str, ...]) -> None:
    desk.write(*({"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(6)))
    with desk.start("apply", "--image", IMAGE, *words) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
    assert len(desk.world.living()) == 6


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        ("schedules", 78, "s.json"),
        ("token", 77, "The token is not valid"),
        ("midway", 77, "The token is not valid"),
        ("mass", 78, "would be destroyed"),
    ],
)
def test_an_apply_that_fails_still_writes_one_document(
    desk: Desk, trouble: str, code: int, said: str
) -> None:
    entries = [{"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(4)]
    desk.write(*entries)
    words = ["apply", "--json", "--prune", "--image", IMAGE]
    if trouble == "schedules":
        (desk.folder / "s.json").write_text("{")
    elif trouble == "token":
        words += ["--access-token", "fm2_bad"]
    elif trouble == "midway":
        desk.world.faults = [FlyFault("401", "create", skip=2, times=99)]
    else:
        desk.run("apply", "--image", IMAGE)
        desk.write(entries[0])
    done = desk.run(*words)
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"]) == (code, code)
    assert said in document["error"]
    assert said in done.stderr
    outcomes = [result["outcome"] for result in document["results"]]
    assert len(outcomes) == len(document["actions"])
    if trouble == "midway":
        assert outcomes.count("done") == 2
        desk.world.faults = [FlyFault("401", "create", skip=1, times=99)]
        done = desk.run("apply", "--image", IMAGE)
        assert "Applied: 1 done" in done.stdout


def test_retries_are_said_while_they_happen(desk: Desk) -> None:
    desk.world.faults = [FlyFault("503", "list"), FlyFault("500", "create")]
    assert "503: upstream connect error" in desk.run("plan", "--image", IMAGE).stderr
    desk.world.faults = [FlyFault("500", "create")]
    done = desk.run("apply", "--image", IMAGE)
    assert re.search(r"… cron-reminders: Fly answered .* with 500: .*; again in 1 s", done.stdout)


def test_a_machine_being_replaced_is_not_called_running(desk: Desk) -> None:
    desk.write({"name": "weekly", "job": "weekly", "cron": "0 0 29 2 *"})
    desk.run("apply", "--image", IMAGE)
    desk.world.pass_time(60)
    machine = desk.world.named("cron-weekly")
    machine.state, machine.replaced_at = "replacing", desk.world.time.now() + 5
    process = desk.start("run", "weekly")
    time.sleep(2)
    desk.world.pass_time(10, fuzz=0)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, "started cron-weekly" in out) == (0, True), errors
    desk.world.pass_time(60)
    machine.host_status = "unreachable"
    assert "its host is unreachable" in desk.fails(69, "run", "weekly")


def test_status_tells_unreachable_and_foreign_from_missing(desk: Desk) -> None:
    desk.write(*({"name": name, "job": "weekly", "cron": "@hourly"} for name in ("a", "b")))
    desk.run("apply", "--image", IMAGE)
    desk.world.named("cron-a").host_status = "unreachable"
    desk.world.named("cron-b").config.pop("metadata")
    done = desk.run("status")
    assert "missing" not in done.stdout
    assert "! cron-a: its host is unreachable" in done.stdout
    assert "! cron-b: a machine of that name is not ours" in done.stdout


def test_a_skipped_machine_is_said_and_counts_as_a_change_left(desk: Desk) -> None:
    desk.world.run = lambda _machine, _now: CommandOutcome(seconds=10_000)
    desk.run("apply", "--image", IMAGE)
    words = ("apply", "--image", f"{IMAGE}2", "--wait-for-runs", "0s")
    assert desk.run(*words).returncode == 0
    done = desk.run(*words, "--detailed-exitcode")
    assert done.returncode == 2
    assert "SKIPPED: its job is still running" in done.stdout


@pytest.mark.slow
def test_help_costs_little_more_than_typer_itself() -> None:
    def cost(*words: str) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    assert cost(SCRIPT, "--help") <= 2.5 * cost("-c", "import typer")


@pytest.mark.slow
def test_fifty_schedules_are_one_request(desk: Desk) -> None:
    desk.write(*({"name": f"s{n}", "job": "weekly", "cron": "@hourly"} for n in range(50)))
    for want in wanted_machines(read_schedules(desk.folder / "s.json", JOBS), {}):
        desk.world.create(want.name, want.region, dict(want.with_image(IMAGE).config))
    began = time.perf_counter()
    assert "50 machines are as" in desk.run("plan").stdout
    assert time.perf_counter() - began < 3  # 0.7 s on an idle machine
    assert desk.world.requests == ["list"]
