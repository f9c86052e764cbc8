"""Output nobody reads holds nobody up, and what can be read arrives whole and in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from speakerbot.process import MOST_WAITING, Output

PIPE = 64 * 1024
"""Bytes a pipe holds before its writer is kept waiting; Linux' default."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])
    # The other end stays open: a writer that is still at it must not write into the pipe that would
    # be given its number next.


def read(descriptor: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(descriptor, size - len(found))
    return found


def test_what_is_written_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    lost: list[str] = []
    output = Output(pipe[1], lost=lost.append)
    texts = [f"{n} 日本語\n" * 50 for n in range(1000)]
    expected = "".join(texts).encode()
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(read(pipe[0], len(expected))))
    reader.start()
    for text in texts:
        output.write(text)
    output.patience = None
    output.drain()
    reader.join()
    assert found == [expected]
    assert lost == []


def test_a_reader_who_has_stopped_holds_nobody_up_and_is_given_up(pipe: tuple[int, int]) -> None:
    lost: list[str] = []
    output = Output(pipe[1], lost=lost.append)
    for _ in range(10):
        output.write("x" * PIPE)
    output.patience = 0.2
    output.drain()
    assert lost == ["nobody reads it"]
    output.write("more")
    output.drain()
    assert lost == ["nobody reads it"], "said once"
    read(pipe[0], PIPE)  # lets its thread end before the pipe is closed


def test_what_waits_for_a_reader_is_bounded(pipe: tuple[int, int]) -> None:
    lost: list[str] = []
    output = Output(pipe[1], lost=lost.append)
    for _ in range(MOST_WAITING // 2**20 + 2):
        output.write("x" * 2**20)
    assert lost == ["nobody reads it"]
    read(pipe[0], PIPE)


def test_a_reader_who_is_gone_is_told_once(pipe: tuple[int, int]) -> None:
    gone, end = os.pipe()
    os.close(gone)
    lost: list[str] = []
    output = Output(end, lost=lost.append)
    output.write("a")
    output.drain()
    output.write("b")
    output.drain()
    os.close(end)
    assert len(lost) == 1
    assert "Broken pipe" in lost[0]


def test_what_the_encoding_lacks_is_replaced(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], "ascii")
    output.write("é!")
    output.drain()
    assert read(pipe[0], 2) == b"?!"


def test_a_signal_that_comes_when_all_is_over_stops_nothing() -> None:
    code = (
        "import atexit, os, signal\n"
        "from speakerbot import process\n"
        "process.install_signals()\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), print('to the end')))\n"
        "process.over()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "to the end\n", "")
