"""Whole processes, as the operating system accounts for them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """One process that ran to its end."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    document: dict[str, Any]
    """The JSON on the last line of its stdout, if it printed one."""


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> Finished:
    """Raises RuntimeError with the process's own words if it fails."""
    return wait(start(command, env))


@dataclass(slots=True)
class Started:
    process: subprocess.Popen[bytes]
    began: float
    out: Any
    err: Any


def start(command: Sequence[str], env: Mapping[str, str] | None = None) -> Started:
    out, err = TemporaryFile(), TemporaryFile()  # noqa: SIM115  # closed when it has ended
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(env or {}), stdout=out, stderr=err
    )
    return Started(process, began, out, err)


def wait(started: Started) -> Finished:
    _, status, usage = os.wait4(started.process.pid, 0)
    seconds = time.perf_counter() - started.began
    started.process.returncode = os.waitstatus_to_exitcode(status)
    with started.out as out, started.err as err:
        out.seek(0)
        err.seek(0)
        lines, words = out.read().decode().strip().splitlines(), err.read().decode()
    if started.process.returncode:
        raise RuntimeError(f"{started.process.args!r} failed:\n{words}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Finished(seconds, cpu_seconds, usage.ru_maxrss / 1024, _document(lines))


def _document(lines: list[str]) -> dict[str, Any]:
    if not lines or not lines[-1].startswith("{"):
        return {}
    read: dict[str, Any] = json.loads(lines[-1])
    return read


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's but what a process needs to start."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    return {**kept, "SPEAKERBOT_ENV_FILE": "", **more}


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def alternately(
    commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], runs: int
) -> dict[str, Finished]:
    """The median of each, taken in turn so that a drifting machine hurts all alike. One run of
    each is a warm-up: it compiles bytecode."""
    taken: dict[str, list[Finished]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, (command, env) in commands.items():
            finished = run(command, env)
            if number:
                taken[name].append(finished)
    return {
        name: Finished(
            statistics.median(f.seconds for f in each),
            statistics.median(f.cpu_seconds for f in each),
            statistics.median(f.peak_mb for f in each),
            {},
        )
        for name, each in taken.items()
    }
