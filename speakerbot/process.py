"""What a process owes whoever started it: it ends soon after it is asked to, and it never hangs
because nobody reads what it writes.

SIGTERM and Ctrl-C become :class:`Interrupted`, raised in the main thread. A run holds them off
while it writes, lets them in where it waits or decides, and hands them to the event loop while it
sends. Whatever blocks then, the process is gone ``ENDS_WITHIN`` seconds after the first signal.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType
    from typing import TextIO

    Stop = Callable[[str], None]
    Lost = Callable[[str], None]

ENDS_WITHIN = 9.0
"""Seconds. What is under way when the signal comes has 8 of them (``delivery.engine``)."""
EXIT_CODES = {"sigterm": 143, "sigint": 130, "timeout": 0}
_REASONS = {signal.SIGTERM: "sigterm", signal.SIGINT: "sigint", signal.SIGALRM: "timeout"}


class Interrupted(SystemExit):
    """The process was asked to stop, or what it does took too long; with the exit code of that."""

    def __init__(self, reason: str) -> None:
        super().__init__(EXIT_CODES[reason])
        self.reason = reason


@dataclass
class _Signals:
    """Those of this process. Python calls handlers in the main thread only."""

    installed: bool = False
    asked: str = ""
    """Why the process must end, once it has been asked to."""
    held_off: bool = False
    on_stop: Stop | None = None

    @property
    def ours(self) -> bool:
        return self.installed and threading.current_thread() is threading.main_thread()

    def arrived(self, number: int, _frame: FrameType | None) -> None:
        reason = _REASONS[signal.Signals(number)]
        if reason != "timeout":
            self.asked = self.asked or reason
            if self.on_stop:
                self.on_stop(reason)
        if not self.held_off:
            self.held_off = True  # what is wound up now must not be cut off by the next one
            raise Interrupted(reason)

    def check(self) -> None:
        if self.asked:
            self.held_off = True
            raise Interrupted(self.asked)


_signals = _Signals()


def install_signals() -> None:
    """From now on SIGTERM and Ctrl-C raise :class:`Interrupted`. For the main thread."""
    for number in _REASONS:
        signal.signal(number, _signals.arrived)
    # A handler waits while the main thread is inside C, as when SQLite waits for a lock. This pipe
    # is written to at once.
    alarm, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(alarm,), name="end in time", daemon=True).start()
    _signals.installed = True


def over() -> None:
    """All is done and only the interpreter's own end is left: a signal has nothing more to stop,
    and would interrupt what libraries do then."""
    if _signals.ours:
        for number in _REASONS:
            signal.signal(number, signal.SIG_IGN)


def _end_in_time(alarm: int) -> None:
    while received := os.read(alarm, 1):
        reason = _REASONS.get(signal.Signals(received[0]), "timeout")
        if reason != "timeout":
            time.sleep(ENDS_WITHIN)
            os._exit(EXIT_CODES[reason])


@contextmanager
def held_off() -> Iterator[None]:
    """A signal that comes inside is raised at the end, or at the next :func:`let_in`."""
    if not _signals.ours:
        yield
        return
    before, _signals.held_off = _signals.held_off, True
    try:
        yield
    finally:
        _signals.held_off = before
    if not before:
        _signals.check()


@contextmanager
def let_in(until: float | None = None) -> Iterator[None]:
    """Where nothing is written: a signal is raised at once, also one that was held off before, and
    so is ``timeout`` at ``until`` (of ``time.monotonic``)."""
    if not _signals.ours:
        yield
        return
    _signals.check()
    before = _signals.held_off
    try:
        _signals.held_off = False
        if until is not None:
            signal.setitimer(signal.ITIMER_REAL, max(until - time.monotonic(), 0.001))
        yield
    finally:
        _signals.held_off = before
        signal.setitimer(signal.ITIMER_REAL, 0)


def asked_to_end() -> bool:
    """Whether a signal has come that asks for it."""
    return bool(_signals.asked)


def check(until: float | None = None) -> None:
    """Raises :class:`Interrupted` where :func:`let_in` would: for a moment between two writes."""
    if not _signals.ours:
        return
    _signals.check()
    if until is not None and time.monotonic() >= until:
        raise Interrupted("timeout")


@contextmanager
def passed_to(stop: Stop) -> Iterator[None]:
    """Signals inside call ``stop`` with their reason, in the main thread; one that has come before
    does so at once."""
    if not _signals.ours:
        yield
        return
    _signals.on_stop = stop
    try:
        if _signals.asked:
            stop(_signals.asked)
        yield
    finally:
        _signals.on_stop = None


def sleep(seconds: float) -> None:
    """Ends early, with :class:`Interrupted`, if the process is asked to."""
    with let_in():
        time.sleep(seconds)


MOST_WAITING = 32 * 1024 * 1024
"""Bytes that may wait for a reader."""
STALLED = 1.0
"""Seconds to wait for a reader once the process must end."""


class Output:
    """Text for a stream, written by a thread of its own: a reader who has stopped reading does
    not hold the run up. What cannot be written any more is dropped, and ``lost`` is called
    with why, once.

    Stands in for a text stream where only ``write``, ``flush`` and ``isatty`` matter."""

    def __init__(self, descriptor: int, encoding: str = "utf-8", lost: Lost | None = None) -> None:
        self._descriptor, self.encoding = descriptor, encoding
        self.patience: float | None = STALLED
        """Seconds that the end of the process waits for the reader; None: as long as it takes, and
        a reader who is far behind is waited for before that, too."""
        self._lost, self._is_lost = lost, False
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, stream: TextIO, lost: Lost | None = None) -> Output:
        """Instead of ``stream``, which must not be written to any more."""
        stream.flush()
        return cls(stream.fileno(), stream.encoding, lost)

    def write(self, text: str) -> int:
        data = text.encode(self.encoding, "replace")
        with self._changed:
            while self._must_wait():
                self._changed.wait(0.5)
            behind = self._size > MOST_WAITING
            if data and not behind and not self._is_lost:
                self._waiting.append(data)
                self._size += len(data)
                self._start()
                self._changed.notify_all()
        if behind:
            self._give_up("nobody reads it")
        return len(text)

    def _must_wait(self) -> bool:
        if self.patience is not None or self._is_lost or _signals.asked:
            return False
        return self._size > MOST_WAITING

    def flush(self) -> None:
        """Nothing: the thread writes as fast as it can."""

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def drain(self) -> None:
        """Waits until all is written, as long as ``patience`` says and the process is not asked to
        end. What is left then is lost."""
        patience = STALLED if _signals.asked else self.patience
        end = None if patience is None else time.monotonic() + patience
        try:
            with self._changed:
                while self._size and not self._is_lost:
                    left = 0.5 if end is None else end - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(min(left, 0.5))
                left_over = self._size and not self._is_lost
        except Interrupted:
            self._give_up("nobody reads it")
            raise
        if left_over:
            self._give_up("nobody reads it")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
            self._thread.start()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                data = self._waiting.popleft()
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                self._give_up(str(error))
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()

    def _give_up(self, why: str) -> None:
        with self._changed:
            if self._is_lost:
                return
            self._is_lost = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._lost:
            self._lost(why)
