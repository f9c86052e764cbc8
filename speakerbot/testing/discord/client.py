"""Steers a loopback Discord that runs in another process, and reads what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import msgspec

from speakerbot.testing.discord.control import PREFIX, Advance, Change, Counts
from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.record_file import read_lines
from speakerbot.testing.discord.records import DmOpened, Message, Record, Request
from speakerbot.testing.discord.settings import Settings
from speakerbot.testing.discord.world import World

P = ParamSpec("P")
R = TypeVar("R", bound=Record)


class LoopbackClient:
    """``base_url`` is the one the bot uses. Raises OSError if nobody answers there, ValueError
    with the server's words if it refuses."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._host, self._port = address.hostname or "", address.port

    def messages(self) -> list[Message]:
        """Every message that was accepted, in order; deleted ones too."""
        return self._records("messages", Message)

    def requests(self) -> list[Request]:
        return self._records("requests", Request)

    def dms_opened(self) -> list[DmOpened]:
        return self._records("dms_opened", DmOpened)

    def counts(self) -> Counts:
        return msgspec.json.decode(self._ask("GET", "counts"), type=Counts)

    def settings(self) -> Settings:
        return msgspec.json.decode(self._ask("GET", "settings"), type=Settings)

    def use(self, settings: Settings) -> None:
        """Replaces all settings; limits begin afresh."""
        self._ask("PUT", "settings", settings)

    def inject(self, *faults: Fault) -> None:
        self._ask("POST", "faults", faults)

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def change(
        self, method: Callable[Concatenate[World, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Calls a method of World over there: ``client.change(World.close_dms, "42")``."""
        self._ask("POST", "world", Change(method.__name__, list(args), kwargs))

    def advance(self, step: timedelta) -> None:
        """Pushes its clock forward."""
        self._ask("POST", "clock", Advance(step.total_seconds()))

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
