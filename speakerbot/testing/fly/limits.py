"""Fly's rate limits: token buckets by action, and the GET of one machine by machine."""

from __future__ import annotations

from collections.abc import Callable


class FlyLimits:
    """``allow`` says whether a request may pass at this moment."""

    def __init__(self, now: Callable[[], float], *, on: bool = True) -> None:
        self.now, self.on = now, on
        self.refused = 0
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, action: str) -> bool:
        if not self.on:
            return True
        rate, burst = (5.0, 10.0) if action == "get" else (1.0, 3.0)
        tokens, at = self._buckets.get(action, (burst, self.now()))
        tokens = min(burst, tokens + (self.now() - at) * rate)
        allowed = tokens >= 1 - 1e-9  # a wait of exactly one token's time is enough
        self.refused += not allowed
        self._buckets[action] = (tokens - allowed, self.now())
        return allowed
