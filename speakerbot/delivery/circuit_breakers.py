"""When a run must stop, and what must not be tried for a while.

Discord bans clients that keep sending requests it refuses: :class:`Guard` watches one run and stops
it. :class:`Breakers` are kept in the store by bot, so that the next one-shot run knows of them too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from speakerbot.domain.delivery import Delivery
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Refused
from speakerbot.ports.store import Breaker


class RunStopped(Exception):
    """The run must send nothing more (SIGTERM, a refused token, …): claims are given back."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class Misconfigured(Exception):
    """Only a channel of our settings was left to try, and it refuses us. Nothing is counted against
    the message: once the setting is mended, the next run sends it."""


CHANNELS_REFUSED = 3
FAILURES_IN_A_ROW = 20
INVALID_REQUESTS = 500
"""In ten minutes; Discord bans an address at 10,000."""


_STREAKS = {
    "recipient": "recipients",
    "transient": "unreachable",
    "permission": "config",
    "rejected": "config",
}
"""Error classes whose repetition stops a run, and the reason it is stopped for."""


@dataclass(slots=True)
class Guard:
    """One per run. ``invalid_requests`` counts what Discord holds against us, earlier runs' too."""

    stop: asyncio.Event
    invalid_requests: Callable[[], int]
    log: Any
    stopped: RunStopped | None = None
    refused_channels: dict[str, Refused] = field(default_factory=dict)
    """Channels of our own settings that refused us: nothing more is sent there by this run."""
    _streak: tuple[str, int] = ("", 0)

    def halt(self, stopped: RunStopped) -> None:
        """Ends the run; the first reason stays."""
        if self.stopped is None:
            self.stopped = stopped
            if not self.stop.is_set():
                self.log.error("run_stopped", reason=stopped.reason, detail=stopped.detail)
        self.stop.set()

    def channel_refused(self, route: Route, refusal: Refused) -> None:
        if route.target in self.refused_channels:
            return
        self.refused_channels[route.target] = refusal
        self.log.error("channel_refused", channel=route.target, detail=refusal.detail)
        if len(self.refused_channels) >= CHANNELS_REFUSED:
            self.halt(RunStopped("config", "three of the configured channels refused us"))

    def notice(self, after: Delivery) -> None:
        """Looks at one outcome."""
        if self.invalid_requests() >= INVALID_REQUESTS:
            detail = f"{INVALID_REQUESTS} requests were refused within ten minutes"
            self.halt(RunStopped("invalid_requests", detail))
        if after.error_class not in _STREAKS:
            self._streak = ("", 0)
            return
        kind, count = self._streak
        self._streak = (after.error, count + 1 if kind == after.error else 1)
        if self._streak[1] >= FAILURES_IN_A_ROW:
            detail = f"{FAILURES_IN_A_ROW} messages in a row failed alike: {after.error}"
            self.halt(RunStopped(_STREAKS[after.error_class], detail))


BUDGET_WINDOW = timedelta(minutes=10)
QUARANTINE_REST = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Breakers:
    """Those a run found in the store when it began; ``now`` is real time."""

    found: Mapping[str, Breaker]

    def forbids(self, now: datetime) -> RunStopped | None:
        """Why nothing may be sent at all; None: it may."""
        breaker = self.found.get("bot")
        if breaker is None or breaker.until <= now:
            return None
        detail = f"{breaker.reason}; nothing is tried before {breaker.until:%F %H:%M} UTC"
        return RunStopped("bot", detail)

    def invalid_requests(self, now: datetime) -> int:
        """How many of earlier runs Discord still holds against us."""
        breaker = self.found.get("invalid_requests")
        return breaker.count if breaker and breaker.until > now else 0

    @property
    def new_dms_until(self) -> datetime | None:
        breaker = self.found.get("new_dms")
        return breaker.until if breaker else None


def left_by(
    stopped: RunStopped | None, invalid: int, now: datetime
) -> Iterator[tuple[str, Breaker]]:
    """What a run leaves to the next one, by name. A refused token leaves nothing: each run asks
    once. ``invalid``: requests Discord refused lately, earlier runs' too."""
    reason = stopped.reason if stopped else ""
    if invalid and reason != "token":
        yield "invalid_requests", Breaker(now + BUDGET_WINDOW, "requests Discord refused", invalid)
    if stopped and reason in ("bot", "invalid_requests"):
        rest = QUARANTINE_REST if reason == "bot" else BUDGET_WINDOW
        yield "bot", Breaker(now + rest, stopped.detail)
