"""The installed command, run as people run it: a process of its own, with its own store."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord
from tests.started_commands import run_command

SAMPLES = Path(__file__).parents[2] / "samples" / "talks.jsonl"
TOKEN = "loopback.token.of.a.bot"
COMMAND = Path(sys.executable).parent / "speakerbot"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")
"""Of our own environment: nobody's settings, store or token may get into a test."""


@dataclass
class Cli:
    """``speakerbot`` in ``folder``, with a SQLite store there."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"]

    def run(self, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end, with neither input nor output a terminal."""
        return run_command(
            "cli.main", args, fresh=[COMMAND], env={**self.env, **env}, folder=self.folder,
            stdin=stdin,
        )  # fmt: skip

    def start(self, *args: str, stdout: int = subprocess.PIPE, **env: str) -> subprocess.Popen[str]:
        """Begins it; for a ``with`` block, which waits for its end."""
        return subprocess.Popen(
            [COMMAND, *args],
            env={**self.env, **env},
            cwd=self.folder,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def out(self, *args: str, **env: str) -> str:
        """What it prints; it has to succeed."""
        done = self.run(*args, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *args: str, **env: str) -> Any:
        """The document that it prints with ``--json``; it has to succeed."""
        return json.loads(self.out(*args, "--json", **env))

    def error(self, *args: str, exit_code: int, **env: str) -> str:
        """What it says is wrong; it has to fail with this exit code and without a traceback."""
        done = self.run(*args, **env)
        assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        last = done.stderr.rstrip().rpartition("\n")[2]
        return str(json.loads(last)["error"]) if last.startswith("{") else done.stderr

    def misused(self, *args: str, **env: str) -> str:
        """What it says of a command that makes no sense, on one line and out of its box."""
        done = self.run(*args, **env)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.replace("│", " ").split())

    def on_terminal(self, *args: str, **env: str) -> str:
        """What a terminal of 80 columns shows, without its control sequences; it has to succeed."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [COMMAND, *args],
            env={**self.env, **env, "COLUMNS": "80", "TERM": "xterm"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        ) as process:
            os.close(theirs)
            shown = b"".join(_pieces(ours))
            assert process.wait(60) == 0
        os.close(ours)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")
        return "\n".join(line.rsplit("\r", 1)[-1] for line in text.split("\n"))

    def file(self, name: str, content: str | bytes) -> str:
        """Writes a file into the folder; returns its name."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        return name


def _pieces(terminal: int) -> Iterator[bytes]:
    """What is written there, until its other end is closed."""
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            yield piece


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env["SPEAKERBOT_ENV_FILE"] = ""
    env["DATABASE_URL"] = f"sqlite:///{tmp_path / 'store.db'}"
    return Cli(tmp_path, env)


@pytest.fixture
def beside_node_bot(cli: Cli) -> Iterator[Cli]:
    """``cli`` on a MongoDB that the Node bot works on too."""
    server = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
    if not server:
        pytest.skip("SPEAKERBOT_TEST_MONGODB_URI names no MongoDB server")
    name = f"speakerbot_test_{uuid4().hex}"
    cli.env["DATABASE_URL"] = urlsplit(server)._replace(path=f"/{name}").geturl()
    yield cli
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](server) as client:
        client.drop_database(name)


@pytest.fixture
def store(cli: Cli) -> Iterator[Store]:
    """The store that ``cli`` works on, opened beside it."""
    opened = open_store(cli.database_url)
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def discord(cli: Cli) -> Iterator[LoopbackDiscord]:
    """A Discord that ``cli`` sends to, without limits."""
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        cli.env |= {
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_BASE": running.base_url,
            "SPEAKERBOT_NEW_DM_EVERY": "0s",
        }
        yield running


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the sample talks, imported once by the command."""
    folder = tmp_path_factory.mktemp("imported")
    env = {"DATABASE_URL": f"sqlite:///{folder / 'store.db'}", "SPEAKERBOT_ENV_FILE": ""}
    Cli(folder, env).out("talks", "import", str(SAMPLES))
    return folder / "store.db"


@pytest.fixture
def samples(cli: Cli, imported: Path) -> Path:
    """The file of ``cli``'s store, with the sample talks in it."""
    return Path(shutil.copy(imported, cli.folder / "store.db"))


@pytest.fixture
def filled(cli: Cli, samples: Path) -> Cli:
    """``cli`` with the sample talks in its store."""
    return cli
