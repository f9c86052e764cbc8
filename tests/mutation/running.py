"""Tests run in child processes: once to see what each calls, then once for each mutant.

A child is forked from a process that has imported pytest and what the project stands on, but
nothing of the project itself: importing those would take longer than most of the tests.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.mutation.mutants import Mutant

PRELOADED = (
    "aiohttp", "discord", "hypothesis.stateful", "icalendar", "jinja2", "mongomock", "msgspec",
    "pymongo", "rich.console", "structlog.testing", "typer.testing", "time_machine",
)  # fmt: skip
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not mongodb_server",
         "-W", "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip


class Outcome(Enum):
    FAILED = "a test failed"
    HUNG = "the tests did not end"
    SURVIVED = "all tests passed"
    UNTESTED = "no test calls it"

    @property
    def noticed(self) -> bool:
        return self in (Outcome.FAILED, Outcome.HUNG)


@dataclass
class Calls:
    """Which test calls what."""

    tests: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By test and file: the first lines of the functions called."""
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Tests that call the code and fail."""

    def of(self, path: str, lines: tuple[int, int] | None) -> list[str]:
        """The tests that call a function that begins in these lines, or any in the file; the
        quickest first."""
        first, last = lines or (0, sys.maxsize)
        tests = [
            test
            for test, files in self.tests.items()
            if any(first <= line <= last for line in files.get(path, ()))
        ]
        return sorted(tests, key=lambda test: self.seconds[test])


@dataclass
class Child:
    name: str
    pid: int
    gives_up_at: float
    status: int | None = None
    hung: bool = False

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            elif time.monotonic() > self.gives_up_at:
                self.hung = True
                self.kill()
                self.status = os.waitpid(self.pid, 0)[1]
        return self.status is not None

    def kill(self) -> None:
        """And all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def outcome(self) -> Outcome:
        """Once it has ended."""
        self.kill()
        if self.hung:
            return Outcome.HUNG
        return Outcome.SURVIVED if self.status == 0 else Outcome.FAILED


def see_calls(paths: Collection[str], tests: Sequence[str]) -> Calls:
    """Raises RuntimeError if they cannot be run at all."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "calls.json"

        def run() -> int:
            recorder = Recorder(paths)
            exit_code = pytest.main([*QUIET, *tests], plugins=[recorder])
            file.write_text(json.dumps(recorder.calls.__dict__))
            return int(exit_code)

        output = Path(folder) / "output"
        child = _fork("calls", run, limit=3600, output=output)
        while not child.ended():
            time.sleep(0.05)
        child.kill()
        said = output.read_text("utf-8", "replace")
        if not file.exists():
            raise RuntimeError(said)
        calls = Calls(**json.loads(file.read_text()))
    if not calls.tests:
        raise RuntimeError(f"no test calls {', '.join(paths)}\n{said}")
    return calls


def start(path: str, mutant: Mutant, tests: Sequence[str], limit: float) -> Child:
    """Begins to run the tests, until one fails, in a process in which the module is the mutant."""

    def run() -> int:
        sys.meta_path.insert(0, MutantFinder(path, mutant))
        return int(pytest.main([*QUIET, "-x", *tests], plugins=[InThisOrder(tests)]))

    return _fork(mutant.name, run, limit)


def _fork(
    name: str, run: Callable[[], int], limit: float, output: Path = Path(os.devnull)
) -> Child:
    for module in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(module)
    if pid := os.fork():
        return Child(name, pid, time.monotonic() + limit)
    exit_code = 3
    try:
        os.setpgid(0, 0)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        exit_code = run()
    except BaseException:  # told; and it must not go on as if it were the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


class Recorder:
    """A plugin that sees which functions of these files each test calls, in any thread."""

    def __init__(self, paths: Collection[str]) -> None:
        self.calls = Calls()
        self._paths = {str(Path(path).resolve()): path for path in paths}
        self._seen: set[CodeType] = set()
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._seen = set()
        begin = time.monotonic()
        sys.setprofile(self._profile)
        threading.setprofile(self._profile)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self._keep(item.nodeid, time.monotonic() - begin)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename in self._paths:
            self._seen.add(frame.f_code)

    def _keep(self, test: str, seconds: float) -> None:
        files: dict[str, list[int]] = {}
        for code in self._seen:
            files.setdefault(self._paths[code.co_filename], []).append(code.co_firstlineno)
        if files:
            self.calls.tests[test] = files
            self.calls.seconds[test] = seconds

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.calls.failed = [test for test in self.calls.tests if test in self._failed]


class InThisOrder:
    """A plugin that runs tests in the order in which they were named."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places: Mapping[str, int] = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._places.get(item.nodeid, 0))


class MutantFinder(MetaPathFinder):
    """Imports the mutant where the module is asked for."""

    def __init__(self, path: str, mutant: Mutant) -> None:
        names = Path(path).with_suffix("").parts
        self._name = ".".join(names[:-1] if names[-1] == "__init__" else names)
        self._path = str(Path(path).resolve())
        self._mutant = mutant

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _MutantLoader(fullname, self._path)
        loader.mutant = self._mutant
        return spec_from_file_location(fullname, self._path, loader=loader)


class _MutantLoader(SourceFileLoader):
    mutant: Mutant

    def get_code(self, _: str) -> CodeType:
        return compile(self.mutant.tree, self.path, "exec", dont_inherit=True)
