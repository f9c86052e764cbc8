"""The images' own steps, taken from their Dockerfiles and performed without a Docker engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("Dockerfile", "Dockerfile.cron")


@dataclass
class Stage:
    """One stage of a Dockerfile: instructions and their arguments, in order."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]


def stages(name: str) -> list[Stage]:
    text = (ROOT / name).read_text("utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found: list[Stage] = []
    for line in filter(str.strip, lines):
        instruction, rest = line.split(None, 1)
        if instruction == "FROM":
            found.append(Stage(rest.split()[0]))
        else:
            found[-1].steps.append((instruction, rest.strip()))
    return found


def sent_to_the_engine(path: str) -> bool:
    """Whether .dockerignore lets a path of the checkout into the build."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parents = [path, *map(str, Path(path).parents)]
        if any(
            fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parents if part != "."
        ):
            kept = line.startswith("!")
        elif pattern.startswith("**/") and fnmatch.fnmatch(Path(path).name, pattern[3:]):
            kept = False
    return kept


@pytest.mark.parametrize("name", FILES)
def test_an_image_runs_as_nobody_in_particular_and_starts_one_command(name: str) -> None:
    *_, build, final = stages(name)
    assert final.all("USER") == ["10001"]
    assert final.steps.index(("USER", "10001")) > max(
        index for index, (instruction, _) in enumerate(final.steps) if instruction == "RUN"
    )
    assert [json.loads(text) for text in final.all("ENTRYPOINT")] == [["speakerbot"]]
    assert json.loads((final.all("CMD") or ["null"])[0]) == (
        ["serve"] if name == "Dockerfile" else None
    )
    for stage in (build, final):
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", stage.base)
        assert stage.all("ADD") == []
        assert not any(re.search(r"TOKEN|SECRET|PASSWORD", text) for text in stage.all("ENV"))


@pytest.mark.parametrize("name", FILES)
def test_every_install_is_locked_by_hash_and_every_copied_path_is_there(name: str) -> None:
    for stage in stages(name):
        for command in re.findall(r"\bpip\b[^&;]* install [^&;]*", " && ".join(stage.all("RUN"))):
            assert "--require-hashes" in command or "--no-deps" in command
        for text in stage.all("COPY"):
            if not text.startswith("--from="):
                for source in text.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert sent_to_the_engine(source), source


def test_nothing_private_is_sent_to_the_engine() -> None:
    for path in (".env", ".git/config", "speakerbot/.env", "cli/.env.local", "x.db", "tests/a.py"):
        assert not sent_to_the_engine(path), path


def test_fly_checks_the_health_of_the_web_process_and_builds_the_jobs_image_only() -> None:
    web = tomllib.loads((ROOT / "fly.toml").read_text("utf-8"))
    cron = tomllib.loads((ROOT / "fly.cron.toml").read_text("utf-8"))
    (check,) = web["http_service"]["checks"]
    assert (check["method"], check["path"]) == ("GET", "/health")
    assert str(web["http_service"]["internal_port"]) == web["env"]["PORT"] == "3000"
    assert web["http_service"]["min_machines_running"] == 0
    assert (web["build"]["dockerfile"], cron["build"]["dockerfile"]) == FILES
    assert set(cron) == {"build"}, "the app is named in one place"


class Folder:
    """An empty folder that stands for the image: its paths begin there."""

    def __init__(self, root: Path) -> None:
        self.root, self.cwd = root, root
        self.env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def moved(self, text: str) -> str:
        return re.sub(r"(?<![\w./-])/(app|src|tools|home)\b", rf"{self.root}/\1", text)

    def do(self, instruction: str, text: str) -> None:
        if instruction == "WORKDIR":
            self.cwd = Path(self.moved(text))
            self.cwd.mkdir(parents=True, exist_ok=True)
        elif instruction == "ENV":
            for word in text.split():
                name, _, value = word.partition("=")
                self.env[name] = self.moved(value).replace("$PATH", self.env["PATH"])
        elif instruction == "COPY" and not text.startswith("--from="):
            *sources, target = text.split()
            for source in sources:
                self.copy(source, self.cwd / target, into=target.endswith("/"))
        elif instruction == "RUN" and not text.startswith("useradd"):
            self.run(text)

    def copy(self, source: str, target: Path, *, into: bool) -> None:
        place = target / Path(source).name if into else target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.pyc", ".env*")
            shutil.copytree(ROOT / source, place, ignore=skip)
        else:
            shutil.copy(ROOT / source, place)

    def run(self, command: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", self.moved(command)],
            cwd=self.cwd, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and re.search(r"No matching distribution|Connection", done.stderr):
            pytest.skip("pip reaches no package index from here")
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow_suite
def test_the_steps_make_an_image_whose_entry_point_works(tmp_path: Path) -> None:
    name, folder = "Dockerfile.cron", Folder(tmp_path)
    for stage in stages(name):
        for step in stage.steps:
            folder.do(*step)
    sources = list((tmp_path / "app" / "lib").rglob("*.py"))
    compiled = {path.parent.parent / path.name.split(".")[0] for path in
                (tmp_path / "app" / "lib").rglob("*.pyc")}  # fmt: skip
    ours = [path for path in sources if "site-packages/speakerbot" in str(path)]
    assert ours
    assert all(path.with_suffix("") in compiled for path in ours)
    assert not list((tmp_path / "app").rglob("pip/__init__.py")), "no installer in the image"
    shutil.rmtree(tmp_path / "src")
    entry = stages(name)[-1].all("ENTRYPOINT")[0]
    env = {"PATH": str(tmp_path / "app" / "bin") + ":/usr/bin:/bin", "HOME": str(tmp_path)}

    def speakerbot(*words: str) -> str:
        done = subprocess.run(
            [shutil.which(json.loads(entry)[0], path=env["PATH"]) or "", *words],
            cwd=folder.cwd, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    assert speakerbot("--version").startswith("speakerbot ")
    assert "speakerbot run reminders" in speakerbot("cron", "export", "crontab")
