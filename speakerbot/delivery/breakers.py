"""What must not be tried for a while. Kept in the store by bot, so the next one-shot run knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from speakerbot.delivery.refusals import RunStopped
from speakerbot.ports import Breaker

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
