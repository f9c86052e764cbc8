"""Tests run in child processes: once to see what each calls, then once for each mutant.

Importing the project and collecting its tests takes longer than most of the tests. So that is done
once, and a mutant is a fork of the process that has done it, in which the function's code is
another. Where the fault is outside of all functions, the child is forked from a process that has
imported what the project stands on, and imports the project with the mutant in it.
"""

from __future__ import annotations

import ast
import faulthandler
import gc
import importlib
import inspect
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.mutation.mutants import Mutant, functions

PRELOADED = (
    "aiohttp", "discord", "hypothesis.stateful", "icalendar", "jinja2", "mongomock", "msgspec",
    "pymongo", "rich.console", "structlog.testing", "typer.testing", "time_machine",
)  # fmt: skip
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         "-m", "not mongodb_server and not slow_suite",
         "-W", "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip

CORES = os.cpu_count() or 1
HANGS = 60.0
"""Seconds after which one test that does not end counts as one that fails."""
SHARES = 4 * CORES
"""Of all tests, when it is seen what they call: the longest should not be waited for alone."""


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
    """By test and file: where the functions called begin."""
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Tests that call the code and fail."""

    def add(self, more: Calls) -> None:
        self.tests |= more.tests
        self.seconds |= more.seconds
        self.failed += more.failed

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
    files = [str(file) for test in tests for file in _test_files(Path(test))]
    shares = [random.Random(0).sample(files, len(files))[start::SHARES] for start in range(SHARES)]
    waiting = [share for share in shares if share]
    running: list[tuple[Child, Path, Path]] = []
    calls, said = Calls(), ""
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < CORES:
                name = str(len(waiting))
                seen, output = Path(folder) / f"{name}.json", Path(folder) / name
                run = partial(_record, paths, waiting.pop(), seen)
                running.append((_fork(name, run, limit=3600, output=output), seen, output))
            for child, seen, output in [each for each in running if each[0].ended()]:
                running.remove((child, seen, output))
                child.kill()
                said = output.read_text("utf-8", "replace")
                if not seen.exists():
                    raise RuntimeError(said)
                calls.add(Calls(**json.loads(seen.read_text())))
            time.sleep(0.05)
    if not calls.tests:
        raise RuntimeError(f"no test calls {', '.join(paths)}\n{said}")
    return calls


def _test_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.rglob("test_*.py"))
    else:
        yield path


def _record(paths: Collection[str], tests: Sequence[str], file: Path) -> int:
    recorder = Recorder()
    for path in paths:
        tree = telling_calls(ast.parse(Path(path).read_text("utf-8")))
        called = partial(recorder.called, path)
        sys.meta_path.insert(0, TreeFinder(path, tree, {CALLED: called}))
    exit_code = pytest.main([*QUIET, *tests], plugins=[recorder])
    file.write_text(json.dumps(recorder.calls.__dict__))
    return int(exit_code)


def start(path: str, mutant: Mutant, tests: Sequence[str], limit: float) -> Child:
    """Begins to run the tests, until one fails, in a process that imports the mutant where the
    module is asked for. It must not have been imported before."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in reversed(tests)))

    def run() -> int:
        sys.meta_path.insert(0, TreeFinder(path, mutant.tree))
        # One file after another: collecting them takes longer than most of the tests.
        for file in reversed(files):
            some = [test for test in tests if test.partition("::")[0] == file]
            if exit_code := int(pytest.main([*QUIET, "-x", *some], plugins=[InThisOrder(some)])):
                return exit_code
        return 0

    return _fork(mutant.name, run, limit)


Start = Callable[[str, Mutant, Sequence[str], float], Child]


def with_collected(tests: Collection[str], work: Callable[[Start], None]) -> None:
    """Collects the tests, then does the work with a faster ``start``: for mutants of which
    ``code_of`` tells the function. Raises RuntimeError if they cannot be collected."""
    files = sorted({test.partition("::")[0] for test in tests})
    plugin = Collected(work)
    # Captured in memory: a file would be shared by all forks.
    exit_code = pytest.main([*QUIET, "-q", "--capture=sys", *files], plugins=[plugin])
    if not plugin.worked:
        raise RuntimeError(f"the tests cannot be collected: {exit_code!r}")


class Collected:
    """A plugin that does other work once all tests have been collected."""

    def __init__(self, work: Callable[[Start], None]) -> None:
        self.worked = False
        self._work = work
        self._items: dict[str, pytest.Item] = {}
        self._functions: dict[tuple[str, int], list[FunctionType]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self._see_functions()
        gc.freeze()
        self._work(self._start)
        self.worked = True
        return True

    def _see_functions(self) -> None:
        self._functions.clear()
        for function in (each for each in gc.get_objects() if isinstance(each, FunctionType)):
            place = function.__code__.co_filename, function.__code__.co_firstlineno
            self._functions.setdefault(place, []).append(function)

    def _start(self, path: str, mutant: Mutant, tests: Sequence[str], limit: float) -> Child:
        code = code_of(path, mutant)
        assert code is not None
        place = str(Path(path).resolve()), code.co_firstlineno
        if place not in self._functions:  # the tests import it when they need it
            importlib.import_module(module_of(path))
            self._see_functions()
        functions = self._functions[place]
        items = [self._items[test] for test in tests]

        def run() -> int:
            for function in functions:
                function.__code__ = code
            for item, following in zip(items, [*items[1:], None], strict=True):
                faulthandler.dump_traceback_later(HANGS, exit=True)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if item.session.testsfailed:
                    return 1
            return 0

        return _fork(mutant.name, run, limit)


def code_of(path: str, mutant: Mutant) -> CodeType | None:
    """The code of the outermost function that the mutant is in. None where it is in none, or in
    what is computed when the function is made: a default, a decorator."""
    if mutant.lines is None:
        return None
    source = Path(path).read_text("utf-8")
    before = _code_at(compile(source, Path(path).resolve(), "exec"), mutant.lines[0])
    after = _code_at(compile(mutant.tree, Path(path).resolve(), "exec"), mutant.lines[0])
    if before is None or after is None or before.co_freevars != after.co_freevars:
        return None
    return None if before == after else after


def _code_at(module: CodeType, line: int) -> CodeType | None:
    inner = [const for const in module.co_consts if isinstance(const, CodeType)]
    for code in inner:
        if code.co_firstlineno == line and code.co_flags & inspect.CO_OPTIMIZED:
            return code
    return next((found for code in inner if (found := _code_at(code, line))), None)


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


CALLED = "__called__"


def telling_calls(tree: ast.Module) -> ast.Module:
    """The tree, in which each function first tells its line. A profiler would see the same, but
    makes everything else that tests do several times slower."""
    for function in functions(tree):
        call = ast.parse(f"{CALLED}({function.lineno})").body[0]
        after_docstring = 0 if ast.get_docstring(function, clean=False) is None else 1
        function.body.insert(after_docstring, ast.copy_location(call, function))
    return ast.fix_missing_locations(tree)


class Recorder:
    """A plugin that keeps which functions each test calls, in any thread."""

    def __init__(self) -> None:
        self.calls = Calls()
        self._seen: dict[str, set[int]] = {}
        self._failed: set[str] = set()

    def called(self, path: str, line: int) -> None:
        self._seen.setdefault(path, set()).add(line)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._seen.clear()
        begin = time.monotonic()
        try:
            return (yield)
        finally:
            if self._seen:
                seen = {path: sorted(lines) for path, lines in self._seen.items()}
                self.calls.tests[item.nodeid] = seen
                self.calls.seconds[item.nodeid] = time.monotonic() - begin

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


def module_of(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class TreeFinder(MetaPathFinder):
    """Imports this tree where the module is asked for."""

    def __init__(
        self, path: str, tree: ast.Module, names: Mapping[str, object] | None = None
    ) -> None:
        self._name = module_of(path)
        self._path = str(Path(path).resolve())
        self._tree = tree
        self._names = names or {}

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _TreeLoader(fullname, self._path)
        loader.tree, loader.names = self._tree, self._names
        return spec_from_file_location(fullname, self._path, loader=loader)


class _TreeLoader(SourceFileLoader):
    tree: ast.Module
    names: Mapping[str, object]
    """What the module finds among its globals before it begins."""

    def get_code(self, _: str) -> CodeType:
        return compile(self.tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.names)
        super().exec_module(module)
