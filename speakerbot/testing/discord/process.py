"""A loopback Discord in a process of its own: for benches and crash tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speakerbot.testing.discord.client import LoopbackClient
from speakerbot.testing.discord.settings import Settings


class LoopbackProcess:
    """``base_url`` is for the bot, ``client`` for the test."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self._process = process
        self.base_url = base_url
        self.client = LoopbackClient(base_url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL. Its record stays."""
        self._process.kill()
        self._process.wait()


@contextmanager
def loopback_process(
    settings: Settings | None = None, *, port: int = 0, record: Path | None = None
) -> Iterator[LoopbackProcess]:
    """Ready when this yields; ended with the block. Raises RuntimeError if it does not start:
    its own words are on stderr."""
    command = [sys.executable, "-m", "speakerbot.testing.discord", "--port", str(port)]
    command += [] if record is None else ["--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            base_url = process.stdout.readline().strip() if process.stdout else ""
            if not base_url:
                raise RuntimeError(f"The loopback Discord did not start: {' '.join(command)}")
            server = LoopbackProcess(process, base_url)
            if settings is not None:
                server.client.use(settings)
            yield server
        finally:
            process.terminate()
