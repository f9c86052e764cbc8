"""Injected faults, as data."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from speakerbot.testing.discord.routing import Operation

FaultKind = Literal["error", "html", "rate_limit", "reset", "lost_response", "hang"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with a request that the limits have let pass.

    ========================  =================================================================
    ``error``                 answers ``status`` with JSON, or with HTML if ``html`` is set
    ``html``                  answers 200 with a page, as a captive portal does
    ``rate_limit``            answers 429 with ``retry_after``; without ``Via`` if ``html`` is set
    ``reset``                 resets the connection
    ``lost_response``         takes effect, then the connection closes without an answer
    ``hang``                  never answers
    ========================  =================================================================

    The request takes no effect, except with ``lost_response``, or where ``accepted`` is set.
    """

    kind: FaultKind
    on: Operation | None = None
    """Only requests of this operation."""
    channel_id: str | None = None
    """Only requests that name this channel, guild or user first."""
    nth: int = 1
    """From the nth such request on, counted from when the fault was injected."""
    times: int | None = 1
    """How often it strikes; None: always."""
    probability: float = 1.0
    """Of striking each of them, drawn from the settings' seed."""
    accepted: bool = False
    status: int = 500
    html: bool = False
    retry_after: float = 1.0
    """Seconds."""

    @property
    def takes_effect(self) -> bool:
        return self.accepted or self.kind == "lost_response"


class Faults:
    """Those that were injected, in that order; the first that strikes wins."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - faults are to be repeatable
        self._armed: list[_Armed] = []

    def inject(self, *faults: Fault) -> None:
        self._armed += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        self._armed.clear()

    def strike(self, operation: Operation, first_id: str) -> Fault | None:
        """The fault for this request, which counts for all that match it."""
        struck: Fault | None = None
        for armed in self._armed:
            if armed.matches(operation, first_id) and struck is None:
                struck = armed.fire(self._random)
        return struck


@dataclass(slots=True)
class _Armed:
    fault: Fault
    matched: int = 0
    struck: int = 0

    def matches(self, operation: Operation, first_id: str) -> bool:
        on, channel_id = self.fault.on, self.fault.channel_id
        if on not in (None, operation) or channel_id not in (None, first_id):
            return False
        self.matched += 1
        return True

    def fire(self, random: Random) -> Fault | None:
        fault = self.fault
        over = fault.times is not None and self.struck >= fault.times
        if over or self.matched < fault.nth or random.random() >= fault.probability:
            return None
        self.struck += 1
        return fault
