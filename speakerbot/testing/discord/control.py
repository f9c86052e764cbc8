"""The loopback's own paths, under ``/_loopback``: what a test in another process uses.

``GET messages``, ``events``, ``requests``, ``dms_opened``: JSON lines of :mod:`records`.
``GET counts``.
``GET`` and ``PUT settings``: a LoopbackSettings. ``POST faults``: a list of Fault; ``DELETE`` ends
them. ``POST world``: a method of DiscordWorld with its arguments. ``POST clock``:
``{"advance": seconds}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from inspect import signature
from typing import Any, get_type_hints

import msgspec
from aiohttp import web

from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.records import LoopbackRecord, lines
from speakerbot.testing.discord.service import DiscordService
from speakerbot.testing.discord.settings import LoopbackSettings
from speakerbot.testing.discord.world import DiscordWorld

PREFIX = "/_loopback/"


class WorldChange(msgspec.Struct):
    """A method of DiscordWorld to call."""

    method: str
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}


class ClockAdvance(msgspec.Struct):
    """Pushes the clock forward by this many seconds."""

    advance: float


class LoopbackCounts(msgspec.Struct, frozen=True):
    """What was answered so far."""

    by_operation: dict[str, dict[str, int]]
    """Requests by operation and status; status ``"none"`` was never answered."""
    rate_limited: int
    invalid_requests: int


class Control:
    """Answers 400 with the problem in words where a request makes no sense."""

    def __init__(self, service: DiscordService, world: DiscordWorld) -> None:
        self._service = service
        self._world = world

    def respond(self, method: str, path: str, body: bytes) -> web.Response:
        try:
            return self._respond(method, path.removeprefix(PREFIX), body)
        except (msgspec.MsgspecError, TypeError, ValueError, KeyError) as error:
            return _json({"problem": f"{method} {path}: {error}"}, 400)

    def _respond(self, method: str, what: str, body: bytes) -> web.Response:
        service = self._service
        match method, what:
            case "GET", "messages":
                return _records(service.state.messages)
            case "GET", "requests":
                return _records(service.requests)
            case "GET", "events":
                return _records(service.events())
            case "GET", "dms_opened":
                return _records(service.state.dms_opened)
            case "GET", "counts":
                return _json(self._counts())
            case "GET", "settings":
                return _json(service.settings)
            case "PUT", "settings":
                service.use(msgspec.json.decode(body, type=LoopbackSettings))
            case "POST", "faults":
                service.faults.inject(*msgspec.json.decode(body, type=list[Fault]))
            case "DELETE", "faults":
                service.faults.clear()
            case "POST", "world":
                self._change(msgspec.json.decode(body, type=WorldChange))
            case "POST", "clock":
                step = msgspec.json.decode(body, type=ClockAdvance).advance
                service.clock.advance(timedelta(seconds=step))
            case _:
                return _json({"problem": f"There is no {method} {what} here."}, 404)
        return web.Response(status=204)

    def _change(self, change: WorldChange) -> None:
        if change.method.startswith("_") or change.method not in vars(DiscordWorld):
            raise ValueError(f"DiscordWorld has no method {change.method!r}")
        method = getattr(self._world, change.method)
        bound = signature(method).bind(*change.arguments, **change.keywords)
        for name, wanted in get_type_hints(method).items():
            if name in bound.arguments:
                bound.arguments[name] = msgspec.convert(bound.arguments[name], wanted)
        method(*bound.args, **bound.kwargs)

    def _counts(self) -> LoopbackCounts:
        by_operation: dict[str, dict[str, int]] = {}
        limited = 0
        for (operation, status), count in self._service.counts.items():
            by_operation.setdefault(operation, {})[str(status or "none")] = count
            limited += count if status == 429 else 0
        return LoopbackCounts(by_operation, limited, self._service.invalid_requests())


def _records(records: Iterable[LoopbackRecord]) -> web.Response:
    return web.Response(body=lines(records), content_type="application/jsonl")


def _json(value: object, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(status=status, body=body, content_type="application/json")
