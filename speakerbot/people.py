"""A person and what they wish: opt-outs, quiet hours, the order of routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.clock import instant

OPT_OUT_KINDS = ("reminders", "changes", "engagement", "checkins", "timers", "all")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily span in the person's own zone; crosses midnight when ``start`` is after ``end``."""

    start: time
    end: time

    def until(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When the quiet span that holds ``now`` ends (aware, in ``zone``); None outside one."""
        local = now.astimezone(zone)
        clock = local.time()
        if self.start <= self.end:
            inside, days = self.start <= clock < self.end, 0
        else:
            inside = clock >= self.start or clock < self.end
            days = 1 if clock >= self.start else 0
        if not inside:
            return None
        first = instant(local.date() + timedelta(days=days), self.end, zone).astimezone(zone)
        # Where clocks go back it may be quiet again between the first such time and the second.
        return first if first > now else first.replace(fold=1)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone messages may go to. ``timezone`` is an IANA name, None for the community's."""

    id: str
    discord_user_id: str | None = None
    name: str | None = None
    timezone: str | None = None
    opted_out: frozenset[str] = frozenset()
    quiet_hours: QuietHours | None = None
    routes: tuple[str, ...] = ()
    """Preferred order of routes; empty for the community's."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What other features keep about a person (check-ins): kept as it came."""

    @property
    def zone(self) -> ZoneInfo | None:
        """Their time zone; None if they have none, or one that does not exist."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (KeyError, ValueError, OSError):
            return None

    def refuses(self, kind: str) -> bool:
        return kind in self.opted_out or "all" in self.opted_out
