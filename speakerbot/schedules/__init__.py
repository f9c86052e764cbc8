"""``schedules.json``: which job runs when, where and how. Start reading at ``reading``."""

from __future__ import annotations

from speakerbot.schedules.reading import Schedules, read_schedules
from speakerbot.schedules.schedule import Guest, Schedule

__all__ = ["Guest", "Schedule", "Schedules", "read_schedules"]
