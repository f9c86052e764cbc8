"""What has to be true of the project as a whole: its packages, its files, its pages' promises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import cli
import deploy
import jobs
import speakerbot
from cli.main import app
from jobs import JOBS
from speakerbot.config import load
from speakerbot.domain.person import OPT_OUT_KINDS
from speakerbot.runs.job import load_job
from speakerbot.schedules.reading import read_schedules
from speakerbot.schedules.schedule import Schedule

ROOT = Path(__file__).parents[2]
PACKAGES = (cli, deploy, jobs, speakerbot)
MOST_LINES = 500
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SCHEDULES = list(read_schedules(ROOT / "deploy" / "schedules.json", JOBS))


def folder_of(package: ModuleType) -> Path:
    return Path(str(package.__file__)).parent


def test_our_packages_come_from_one_place() -> None:
    """`cli` and `jobs` are generic names: another installed package must not stand in for ours."""
    assert len({folder_of(package).parent for package in PACKAGES}) == 1


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_every_schedule_names_a_job_that_exists(schedule: Schedule) -> None:
    assert load_job(JOBS[schedule.job]).name == schedule.job


def test_every_module_of_a_job_is_declared_under_its_name() -> None:
    modules = {path.stem for path in folder_of(jobs).glob("*.py")} - {"__init__"}
    assert modules == set(JOBS.names)
    assert {declared.module for declared in JOBS} == {f"jobs.{name}" for name in modules}


def test_every_kind_that_can_be_opted_out_of_is_known_by_its_stable_name() -> None:
    assert OPT_OUT_KINDS == ("reminders", "changes", "checkins", "timers", "all")
    assert {declared.opt_out for declared in JOBS} - {None} <= set(OPT_OUT_KINDS)


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    long = {
        str(path): lines
        for package in PACKAGES
        for path in folder_of(package).glob("**/*.py")
        if (lines := path.read_text("utf-8").count("\n")) > MOST_LINES
    }
    assert long == {}


class Asked(Mapping[str, str]):
    """Variables of which none is set; remembers which were asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_the_readme_lists_every_setting_there_is() -> None:
    asked = Asked()
    load(asked)
    page = (ROOT / "README.md").read_text("utf-8")
    table = page.partition("| setting |")[2].partition("\n\n")[0]
    names = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([A-Z_]+)`", row.removeprefix("|").split("|")[0])
    }
    by_another_name = {"MONGO_URI"}
    of_single_commands = {"FLY_APP", "FLY_API_TOKEN", "PORT"}
    assert names | by_another_name == asked.names | of_single_commands | {"SPEAKERBOT_ENV_FILE"}


def code_of(page: Path) -> Iterator[str]:
    """What the page shows as code: blocks line by line, and spans."""
    text = page.read_text("utf-8")
    for block in re.findall(r"```.*?\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


COMMANDS = sorted(
    {
        tuple(found.split()[1:])
        for page in PAGES
        for code in code_of(page)
        for found in re.findall(r"(?:^|/)speakerbot(?: [a-z][a-z-]*)+", code.strip())
    }
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_our_pages_show_exists(words: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "get_command"):
            return  # the rest are arguments
        command = command.get_command(typer.Context(command), word)
        assert command is not None, f"speakerbot {' '.join(words)}: there is no {word}"


def test_every_make_target_our_pages_show_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = {
        target
        for page in PAGES
        for code in code_of(page)
        for target in re.findall(r"^make ([a-z-]+)", code.strip())
    }
    assert shown <= targets
