"""Runs a command line in a process of its own without paying for its imports each time.

Most of what a short command costs is importing typer, discord.py and PyMongo. Here a server process
of the standard library's imports them once, and forks for each command: it has its own environment,
folder, input, output and exit code. What depends on a fresh interpreter (imports, signals,
terminals, the installed script) starts one; and with SPEAKERBOT_TEST_FRESH_PROCESSES=1, as
``make test-slow`` does, so does every command.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

FRESH = os.environ.get("SPEAKERBOT_TEST_FRESH_PROCESSES") == "1"
IMPORTED_ONCE = [
    "tests.started_commands", "pytest",
    "aiohttp", "discord", "discord.http", "jinja2", "pymongo", "rich.console", "rich.table",
    "cli.main", "cli.run", "cli.talks", "cli.people", "cli.cron", "deploy.commands", "deploy.apply",
    "jobs", "speakerbot.bootstrap", "speakerbot.delivery.engine", "speakerbot.stores.sqlite",
    "speakerbot.channels.discord.channel",
]  # fmt: skip
_SECONDS = 60

_forks = get_context("forkserver")
_forks.set_forkserver_preload(IMPORTED_ONCE)


def run_command(
    module: str,
    words: Sequence[str],
    *,
    fresh: Sequence[str | Path],
    env: Mapping[str, str],
    folder: Path = Path(),
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Runs ``module``'s ``main`` to its end, with neither input nor output a terminal.

    ``fresh``: what starts the same in an interpreter of its own.
    """
    if FRESH or any(name.startswith("PYTHON") for name in env):  # settings of an interpreter
        return subprocess.run(
            [*fresh, *words], env=env, cwd=folder, input=stdin, capture_output=True,
            encoding="utf-8", timeout=_SECONDS, check=False,
        )  # fmt: skip
    with TemporaryDirectory() as kept:
        streams = [Path(kept, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin, "utf-8")
        argv = [str(fresh[-1]), *words]
        process = _forks.Process(
            target=_command, args=(module, argv, dict(env), str(folder), [*map(str, streams)])
        )
        process.start()
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(argv, _SECONDS)
        out, err = (path.read_bytes().decode("utf-8") for path in streams[1:])
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(argv, code, out, err)


def _command(
    module: str, argv: list[str], env: dict[str, str], folder: str, streams: list[str]
) -> None:
    """In the forked process: becomes what the command would find after its start."""
    for number, path in enumerate(streams):
        file = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if number else 0), 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, "rb" if number == 0 else "wb", closefd=False),  # noqa: SIM115
                         encoding="utf-8", errors=errors, line_buffering=number == 2)
        for number, errors in enumerate(("strict", "strict", "backslashreplace"))
    )  # fmt: skip
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(folder)
    sys.argv = argv
    importlib.import_module(module).main()
