"""Processes that may be killed: forked, since starting a Python afresh takes half a second.

The parent must have no threads: a lock that one of them holds would stay locked in the child.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from select import select
from typing import TypeVar

T = TypeVar("T")
TOO_LONG = 60.0
"""Seconds after which a child hangs, for all we know. It is killed then."""
LOOK_EVERY = 0.005
CRASHED = 70
"""Exit code of a child whose code raised an uncaught exception."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. ``code`` is its exit code, minus the signal's number if one killed it."""

    code: int
    said: bytes
    hung: bool = False
    """It would not have ended."""


class Child:
    """Runs ``code`` in a forked process; ``code`` gets a file descriptor to say things to us, and
    returns the exit code. What it prints, and the traceback of what it raises, goes to ``log``."""

    def __init__(self, code: Callable[[int], int], log: Path) -> None:
        self._ear, mouth = os.pipe()
        gc.freeze()  # so that the child's collector does not touch, and copy, every page
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ear)
            _become(code, mouth, log)
        os.close(mouth)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(
        self, *, kill_when: Callable[[], bool] | None = None, too_long: float = TOO_LONG
    ) -> Ended:
        """Until it has ended; SIGKILL comes as soon as ``kill_when`` says so, which is asked every
        few milliseconds, or where it hangs."""
        hung, deadline = False, time.monotonic() + too_long
        said = bytearray()
        while True:
            if select([self._ear], [], [], LOOK_EVERY if kill_when else too_long)[0]:
                if not (piece := os.read(self._ear, 65536)):
                    break
                said += piece
            if kill_when and kill_when():
                self.kill()
                kill_when = None
            if time.monotonic() > deadline and not hung:
                self.kill()
                hung = True
        os.close(self._ear)
        _, status = os.waitpid(self.pid, 0)
        return Ended(os.waitstatus_to_exitcode(status), bytes(said), hung)


IMPORTED_BY_RUNS = (
    "aiohttp", "discord.http", "jinja2.sandbox", "humanize",
    "speakerbot.channels.discord", "speakerbot.delivery.session", "speakerbot.stores.sqlite",
    "speakerbot.runs.runner", "speakerbot.runs.occurrence_lock",
)  # fmt: skip


def warm_up(*modules: str) -> None:
    """Imports what runs import only when they need it, so that not every child has to."""
    for module in (*IMPORTED_BY_RUNS, *modules):
        import_module(module)


def call(function: Callable[[], T], log: Path) -> T:
    """What the function returns when it is called in a child of its own. Raises RuntimeError with
    the log if it raises."""

    def code(mouth: int) -> int:
        with os.fdopen(mouth, "wb", closefd=False) as out:
            pickle.dump(function(), out)
        return 0

    ended = Child(code, log).wait()
    if ended.code != 0:
        raise RuntimeError(f"exit code {ended.code}: {log.read_text(errors='replace')}")
    value: T = pickle.loads(ended.said)  # noqa: S301  # our own child wrote it
    return value


def _become(code: Callable[[int], int], mouth: int, log: Path) -> None:
    """Never returns: nothing of the parent's may be cleaned up twice."""
    status = CRASHED
    try:
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(to, 1)
        os.dup2(to, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        status = code(mouth)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
