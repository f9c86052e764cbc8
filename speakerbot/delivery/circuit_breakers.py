"""When a channel must stop, and what must not be tried for a while.

Services ban clients that keep sending requests they refuse: :class:`Guard` watches one channel
during one run and stops it. :class:`Breakers` are kept in the store by sender, so that the next
one-shot run knows of them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from speakerbot.domain.delivery import Delivery
from speakerbot.domain.message import Route
from speakerbot.domain.run import StopReason
from speakerbot.ports.channel import RefusalClass, Refused
from speakerbot.ports.store import Breaker


class RunStopped(Exception):
    """The run must send nothing more (SIGTERM, its timeout, …): claims are given back."""

    def __init__(self, reason: StopReason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class ChannelStopped(Exception):
    """This channel must send nothing more in this run (a refused token, an outage, …)."""

    def __init__(
        self, reason: StopReason, detail: str = "", *, rest: timedelta = timedelta()
    ) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
        self.rest = rest
        """How long later runs must not try either."""

    @property
    def needs_a_person(self) -> bool:
        """It does not get better by itself: messages go by another channel where they can."""
        return self.reason in (StopReason.BOT, StopReason.TOKEN, StopReason.CONFIG)


FAILURES_IN_A_ROW = 20
FAULTY_TARGETS = 5
"""Different targets in a row with a fault of the service: then it is asked whether it works."""
INVALID_REQUESTS = 500
"""In ten minutes; Discord bans an address at 10,000."""


_STREAKS = {"recipient": StopReason.RECIPIENTS, "rejected": StopReason.CONFIG}
"""Error classes whose repetition stops a channel, and the reason it is stopped for."""


@dataclass(slots=True)
class Guard:
    """One per channel and run. ``invalid_requests`` counts what the service holds against us,
    earlier runs' too. ``halted`` is called once, when the channel stops."""

    invalid_requests: Callable[[], int]
    halted: Callable[[ChannelStopped], None]
    log: Any
    stopped: ChannelStopped | None = None
    refused_targets: dict[str, Refused] = field(default_factory=dict)
    """Targets of our own settings that refused us: nothing more is sent there by this run."""
    refused_settings: dict[str, str] = field(default_factory=dict)
    """What the service refused of what a setting names, by setting, in words for people."""
    reached: bool = False
    """The service has answered about a message: it works."""
    faulty: dict[str, None] = field(default_factory=dict)
    """Targets with a fault of the service, since one of them last was without."""
    _streak: tuple[str, int] = ("", 0)

    def halt(self, stopped: ChannelStopped) -> None:
        """The first reason stays."""
        if self.stopped is None:
            self.stopped = stopped
            self.halted(stopped)

    def target_refused(self, route: Route, refusal: Refused) -> None:
        """One loud line a target; the rest goes on."""
        if route.target not in self.refused_targets:
            self.refused_targets[route.target] = refusal
            self.log.error("channel_refused", channel=route.target, detail=refusal.detail)

    def setting_refused(self, setting: str, target: str, refusal: Refused) -> None:
        """As ``target_refused``, for something other than a message."""
        if setting not in self.refused_settings:
            self.refused_settings[setting] = f"{setting} {target}: {refusal.detail}"
            self.log.error("setting_refused", setting=setting, id=target, detail=refusal.detail)

    def service_fault(self, target: str, refusal: Refused) -> None:
        """Looks at a fault that is not the message's. A rate limit says that the service works."""
        if refusal.everywhere:
            rest = timedelta(seconds=refusal.retry_after)
            self.halt(ChannelStopped(StopReason.RATE_LIMITED, refusal.detail, rest=rest))
        elif not refusal.limited:
            self.faulty[target] = None

    @property
    def suspects_outage(self) -> bool:
        return len(self.faulty) >= FAULTY_TARGETS

    def answered(self) -> None:
        """The service has said something about a target: it works."""
        self.faulty.clear()
        self.reached = True

    def check_budget(self) -> None:
        """Stops before the service bans us for requests that it refuses."""
        if self.invalid_requests() >= INVALID_REQUESTS:
            detail = f"{INVALID_REQUESTS} requests were refused within ten minutes"
            self.halt(ChannelStopped(StopReason.INVALID_REQUESTS, detail, rest=BUDGET_WINDOW))

    def notice(self, after: Delivery) -> None:
        """Looks at one outcome."""
        self.check_budget()
        if after.error_class != RefusalClass.SERVICE:
            self.answered()
        if after.error_class not in _STREAKS:
            self._streak = ("", 0)
            return
        kind, count = self._streak
        self._streak = (after.error, count + 1 if kind == after.error else 1)
        if self._streak[1] >= FAILURES_IN_A_ROW:
            detail = f"{FAILURES_IN_A_ROW} messages in a row failed alike: {after.error}"
            self.halt(ChannelStopped(_STREAKS[after.error_class], detail))


BUDGET_WINDOW = timedelta(minutes=10)
QUARANTINE_REST = timedelta(hours=1)
LONGEST_REST = timedelta(hours=1)
"""A stored breaker that ends later was written by a clock gone wrong."""
EVERYTHING = ("bot", "rate_limit")
"""Breakers under which nothing may be sent at all, and the reason each stops a channel for."""
_REASONS = {"bot": StopReason.BOT, "rate_limit": StopReason.RATE_LIMITED}


@dataclass(frozen=True, slots=True)
class Breakers:
    """Those a run found in the store when it began; ``now`` is real time."""

    found: Mapping[str, Breaker]

    def impossible(self, now: datetime) -> dict[str, Breaker]:
        """Those that end later than any can, by name: with the longest rest there is from now."""
        last = now + LONGEST_REST
        return {
            name: replace(breaker, until=last)
            for name, breaker in self.found.items()
            if breaker.until > last
        }

    def forbids(self, now: datetime) -> ChannelStopped | None:
        """Why nothing may be sent at all; None: it may."""
        for name in EVERYTHING:
            breaker = self.found.get(name)
            if breaker is not None and breaker.until > now:
                detail = f"{breaker.reason}; nothing is tried before {breaker.until:%F %H:%M} UTC"
                return ChannelStopped(_REASONS[name], detail)
        return None

    def invalid_requests(self, now: datetime) -> int:
        """How many of earlier runs the service still holds against us."""
        breaker = self.found.get("invalid_requests")
        return breaker.count if breaker and breaker.until > now else 0


def left_by(
    stopped: ChannelStopped | None, invalid: int, now: datetime
) -> Iterator[tuple[str, Breaker]]:
    """What a run leaves to the next one, by name. A refused token leaves nothing: each run asks
    once. ``invalid``: requests refused lately, earlier runs' too."""
    reason = stopped.reason if stopped else None
    if invalid and reason != StopReason.TOKEN:
        yield "invalid_requests", Breaker(now + BUDGET_WINDOW, "refused requests", invalid)
    if stopped and reason in (StopReason.BOT, StopReason.INVALID_REQUESTS):
        yield "bot", Breaker(now + (stopped.rest or QUARANTINE_REST), stopped.detail)
    if stopped and reason == StopReason.RATE_LIMITED and stopped.rest:
        yield "rate_limit", Breaker(now + stopped.rest, stopped.detail)
