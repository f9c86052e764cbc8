"""The recipes of our pages, run as a reader runs them: each fenced block is copied into a shell in
a fresh clone, with its placeholders filled in, against the loopback Discord and Fly.

A new block is run without further ado. What cannot be run is named here with its reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord
from speakerbot.testing.fly import CommandOutcome, FlyMachine, FlyWorld
from speakerbot.testing.fly.clock import FakeTime
from speakerbot.testing.fly.commands import RealCommand
from tests.acceptance.conftest import COMMAND, SAMPLES, TOKEN
from tests.acceptance.fly_stub import FlyStub, on_path
from tests.acceptance.loopback_fly import serving

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")])
SHELL = {"", "sh", "shell", "bash"}
"""What a fence says of a recipe. Every other language has to be listed in NOT_SHELL."""
NOT_SHELL: set[str] = set()

NOT_RUN = {
    "make test": "it would run this test",
    "make test-slow": "it would run the tests",
    "make check": "it would run the tests",
    "make mutants": "an hour",
    "make bench": "minutes, and it measures the machine",
}
"""Lines that stay out, with the reason."""

MONGODB = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
KEPT_DISK = Path("/dev/shm")  # noqa: S108 - it is the folder in it that is used
"""A mount of its own: to a machine, a volume."""
NAME = f"recipes_{uuid.uuid4().hex[:8]}"
DATABASE = (
    f"{MONGODB}/{NAME}?retryWrites=false&w=1" if MONGODB else f"sqlite:///{KEPT_DISK}/{NAME}.db"
)
FILLED_IN = {
    "python3 -m venv .venv && .venv/bin/pip install . &&": "",  # the tests run what is installed
    "DISCORD_TOKEN='…'": f"DISCORD_TOKEN='{TOKEN}'",
    "DISCORD_TOKEN=…": f"DISCORD_TOKEN={TOKEN}",
    "DISCORD_GUILD_ID=…": "DISCORD_GUILD_ID=1201234567890123400",
    "MONGO_URI=mongodb://…": "DATABASE_URL=sqlite:///store.db",
    "DATABASE_URL='mongodb+srv://…'": f"DATABASE_URL='{DATABASE}'",
    "SEEDS=10000": "SEEDS=1",
}
"""What a reader writes in place of what is there."""


@dataclass(frozen=True)
class Recipe:
    """A block as it stands in its page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its lines without comments at their ends."""
        return [re.sub(r"\s+# .*", "", line) for line in self.text.splitlines()]

    @property
    def filled_in(self) -> str:
        text = "\n".join(
            line
            for line, command in zip(self.text.splitlines(), self.commands, strict=True)
            if command not in NOT_RUN
        )
        for placeholder, value in FILLED_IN.items():
            text = text.replace(placeholder, value)
        return text


def recipes(page: Path) -> Iterator[Recipe]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 1
        yield Recipe(page, line, found[2].strip(), textwrap.dedent(found[3]))


RECIPES = {page: list(recipes(page)) for page in PAGES}
ALL = [recipe for found in RECIPES.values() for recipe in found]


@dataclass
class Desk:
    """A fresh clone and a shell in it, whose Discord and Fly are loopback ones."""

    folder: Path
    fly: FlyStub
    env: dict[str, str]
    runs: list[tuple[str, int | None]] = field(default_factory=list)
    """Every run of a machine: its name, and the exit code of its command."""

    def paste(self, text: str) -> subprocess.CompletedProcess[str]:
        """Ends when the shell does: then also what it left in the background."""
        with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            shell = subprocess.Popen(
                ["/bin/bash", "-e", "-c", text],
                cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip
            try:
                code = shell.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(text, code, stdout.read(), stderr.read())

    def run(self, machine: FlyMachine, now: float) -> CommandOutcome:
        """The machine's command, for real."""
        env = {**self.fly.secrets, "SPEAKERBOT_ENV_FILE": "",
               "DISCORD_API_BASE": self.env["DISCORD_API_BASE"]}  # fmt: skip
        outcome = RealCommand([str(COMMAND)], env, app=self.fly.world.app)(machine, now)
        self.runs.append((machine.name, outcome.exit_code))
        return outcome


def clone(folder: Path) -> None:
    """What a clone holds but the code, which is installed, and its tests."""
    for name in ("Makefile", "Dockerfile", "Dockerfile.cron", "fly.toml", "fly.cron.toml",
                 "pyproject.toml"):  # fmt: skip
        shutil.copy(ROOT / name, folder)
    for name in ("requirements", "samples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "deploy").mkdir()
    for path in (ROOT / "deploy").glob("*.json"):
        shutil.copy(path, folder / "deploy")
    (folder / "tests").symlink_to(ROOT / "tests")
    shutil.copy(SAMPLES, folder / "talks.jsonl")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, command in {"python": sys.executable, "speakerbot": COMMAND}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    for stamp in ("runtime", "dev"):
        (folder / ".venv" / stamp).touch()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder, programs = tmp_path / "clone", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    clone(folder)
    world = FlyWorld(app="", time=FakeTime(datetime.now(UTC)), images=(), limited=False)
    with ExitStack() as stack:
        discord = stack.enter_context(LoopbackDiscord(NO_LIMITS).running_in_thread())
        base = stack.enter_context(serving(world))
        registry = base.removeprefix("http://")
        desk = Desk(folder, FlyStub(world, registry), {
            "PATH": f"{folder / '.venv' / 'bin'}:{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8",
            "DISCORD_API_BASE": discord.base_url, "SPEAKERBOT_NEW_DM_EVERY": "0s",
            "FLY_FLAPS_BASE_URL": base, "FLY_REGISTRY_HOST": registry,
        })  # fmt: skip
        stack.enter_context(on_path(desk.fly, programs))
        world.run = desk.run
        yield desk
        for file in KEPT_DISK.glob(f"{NAME}.db*"):
            file.unlink()


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_every_block_is_a_recipe_or_says_what_else_it_is(recipe: Recipe) -> None:
    assert recipe.language in SHELL | NOT_SHELL, (
        f"{recipe}: {recipe.language!r} is not run. Is it shell? Else add it to NOT_SHELL"
    )
    if recipe.language in SHELL:
        assert "…" not in recipe.filled_in, f"{recipe}: FILLED_IN lacks what a reader writes there"


def test_nothing_is_excepted_that_no_page_says() -> None:
    lines = {line for recipe in ALL for line in recipe.commands}
    assert set(NOT_RUN) <= lines
    whole = "\n".join(recipe.text for recipe in ALL)
    assert [text for text in FILLED_IN if text not in whole] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if RECIPES[page]], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_recipes_of_a_page_work_as_written(desk: Desk, page: Path) -> None:
    for recipe in RECIPES[page]:
        if recipe.language in SHELL:
            done = desk.paste(recipe.filled_in)
            assert done.returncode == 0, f"{recipe}\n{done.stdout}\n{done.stderr}"


def under(heading: str) -> Recipe:
    """The first block of the runbook below a heading."""
    page = ROOT / "docs" / "operations.md"
    line = page.read_text("utf-8").splitlines().index(heading) + 1
    return next(recipe for recipe in RECIPES[page] if recipe.line > line)


def test_a_first_deploy_is_six_commands_of_the_runbook(desk: Desk) -> None:
    commands = [line for line in under("### First time").filled_in.splitlines() if line]
    assert len(commands) <= 6
    assert commands[0].startswith("fly apps create ")
    done = desk.paste("\n".join(commands))
    assert done.returncode == 0, done.stderr
    world = desk.fly.world
    machine = world.named("cron-reminders")
    assert world.images is not None
    (image,) = world.images
    assert world.app == "my-speakerbot"
    assert machine.config["image"].startswith(f"{image}@sha256:")
    assert machine.config["schedule"] == "hourly"
    assert ("cron-reminders", 0) in desk.runs
    assert set(desk.fly.secrets) == {"DISCORD_TOKEN", "DATABASE_URL"}
    assert "Nothing needs a person." in done.stdout


@pytest.mark.parametrize("starts", [True, False])
def test_trying_it_without_fly_asks_no_other_host(desk: Desk, *, starts: bool) -> None:
    """Here the test's Fly is the one that must not be asked, as the real one is elsewhere."""
    base = desk.env["FLY_FLAPS_BASE_URL"]
    desk.fly.world.app = "theirs"
    (desk.folder / "fly.env").write_text(f"export FLY_FLAPS_BASE_URL={base}\n")  # an earlier one
    desk.env |= {"FLY_APP": "theirs", "FLY_ACCESS_TOKEN": "fm2_good"}
    text = under("### Trying it without Fly").filled_in
    if not starts:
        taken = base.rpartition(":")[2]
        text = "set +e\n" + text.replace("--speed 3600", f"--speed 3600 --port {taken}")
    done = desk.paste(text)
    assert ("0 skipped, 0 failed." in done.stdout) is starts, done.stderr
    assert done.returncode == (0 if starts else 1)
    assert desk.fly.world.requests == []
    assert desk.fly.calls == []


def deploy(desk: Desk, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    desk.fly.world.app = "community"
    desk.fly.world.tokens["fm2_t"] = "community"
    desk.env |= {"FLY_API_TOKEN": "fm2_t", **env}
    return desk.paste("make cron-deploy")


@pytest.mark.parametrize(
    ("toml", "env"),
    [
        ('app = "community" # ours, not "another"', {}),
        ('app = "another"', {"dotenv": "FLY_APP=community"}),
        pytest.param("app = 'community'", {}, marks=pytest.mark.slow_suite),
        pytest.param(
            '[env]\napp = "another"', {"FLY_APP": "community"}, marks=pytest.mark.slow_suite
        ),
        pytest.param('app = "another"', {"FLY_APP": "community"}, marks=pytest.mark.slow_suite),
    ],
)
def test_cron_deploy_finds_the_app_however_it_is_written(
    desk: Desk, toml: str, env: dict[str, str]
) -> None:
    (desk.folder / "fly.toml").write_text(toml)
    (desk.folder / ".env").write_text(env.pop("dotenv", ""))
    done = deploy(desk, env)
    assert done.returncode == 0, done.stderr
    (call,) = desk.fly.calls
    assert call[:5] == ["deploy", "-c", "fly.cron.toml", "--app", "community"]
    assert desk.fly.world.named("cron-reminders")


def test_cron_deploy_without_fly_says_what_to_install(desk: Desk) -> None:
    (desk.folder.parent / "programs" / "fly").unlink()
    without = [
        path for path in desk.env["PATH"].split(":")
        if not any((Path(path) / name).exists() for name in ("fly", "flyctl"))
    ]  # fmt: skip
    done = deploy(desk, {"FLY_APP": "community", "PATH": ":".join(without)})
    assert done.returncode == 2  # make's
    assert "https://fly.io/docs/flyctl/install/" in done.stderr
    assert desk.fly.world.requests == []


def test_a_build_that_failed_touches_no_machine(desk: Desk) -> None:
    desk.fly.fails = "Error: the builder has no space left"
    done = deploy(desk, {"FLY_APP": "community"})
    assert done.returncode == 2
    assert "no space left" in done.stderr
    assert "no machine was touched" in done.stderr
    assert desk.fly.world.requests == []


def test_what_is_wrong_with_the_schedules_is_said_before_anything_is_built(desk: Desk) -> None:
    (desk.folder / "deploy" / "schedules.json").write_text('{"schedules": []}')
    assert "schedules.json" in deploy(desk, {"FLY_APP": "community"}).stderr
    assert desk.fly.calls == []
