"""Notices when going on would do harm, and stops the run: Discord bans clients that keep sending
requests it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from speakerbot.delivery.refusals import Refused, RunStopped
from speakerbot.ledger import Delivery
from speakerbot.messages import Route

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
