"""Starts a loopback Discord in another process, steers it, and reads what it remembers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import msgspec

from speakerbot.testing.discord.control import PREFIX, ClockAdvance, LoopbackCounts, WorldChange
from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.records import (
    DiscordMessage,
    DmOpened,
    LoopbackRecord,
    RecordedRequest,
    ScheduledEvent,
    read_lines,
)
from speakerbot.testing.discord.settings import LoopbackSettings
from speakerbot.testing.discord.world import DiscordWorld

P = ParamSpec("P")
R = TypeVar("R", bound=LoopbackRecord)


class LoopbackClient:
    """``base_url`` is the one the bot uses. Raises OSError if nobody answers there, ValueError
    with the server's words if it refuses."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._host, self._port = address.hostname or "", address.port

    def messages(self) -> list[DiscordMessage]:
        """Every message that was accepted, in order; deleted ones too."""
        return self._records("messages", DiscordMessage)

    def events(self) -> list[ScheduledEvent]:
        """Every event of the guild as it is now; also those that are over or deleted."""
        return self._records("events", ScheduledEvent)

    def requests(self) -> list[RecordedRequest]:
        return self._records("requests", RecordedRequest)

    def dms_opened(self) -> list[DmOpened]:
        return self._records("dms_opened", DmOpened)

    def counts(self) -> LoopbackCounts:
        return msgspec.json.decode(self._ask("GET", "counts"), type=LoopbackCounts)

    def settings(self) -> LoopbackSettings:
        return msgspec.json.decode(self._ask("GET", "settings"), type=LoopbackSettings)

    def use(self, settings: LoopbackSettings) -> None:
        """Replaces all settings; limits start over."""
        self._ask("PUT", "settings", settings)

    def inject(self, *faults: Fault) -> None:
        self._ask("POST", "faults", faults)

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def change(
        self,
        method: Callable[Concatenate[DiscordWorld, P], object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Calls a method of DiscordWorld over there, as in
        ``client.change(DiscordWorld.close_dms, "42")``."""
        self._ask("POST", "world", WorldChange(method.__name__, list(args), kwargs))

    def advance(self, step: timedelta) -> None:
        """Pushes its clock forward."""
        self._ask("POST", "clock", ClockAdvance(step.total_seconds()))

    def _records(self, what: str, kind: type[R]) -> list[R]:
        records = read_lines(self._ask("GET", what))
        return [record for record in records if isinstance(record, kind)]

    def _ask(self, method: str, what: str, value: Any = None) -> bytes:
        connection = HTTPConnection(self._host, self._port, timeout=60)
        try:
            connection.request(method, PREFIX + what, msgspec.json.encode(value))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise ValueError(msgspec.json.decode(body)["problem"])
        return body


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
    settings: LoopbackSettings | None = None, *, port: int = 0, record: Path | None = None
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
