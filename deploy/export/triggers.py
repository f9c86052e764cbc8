"""When another scheduler must tick for a schedule. Pure.

Two ticks serve a schedule: one at exactly its times, and an hourly one that continues what a
crash, a refused message or quiet hours left open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from speakerbot.schedules.schedule import Schedule

HOURLY = "0 * * * *"
LATER = timedelta(minutes=20)
_SPECIAL = re.compile(r"#|\b\d*LW?\b")


@dataclass(frozen=True, slots=True)
class CronFields:
    """The sets of a cron expression that every scheduler can express; None means every."""

    minutes: list[int] | None
    hours: list[int] | None
    days: list[int] | None
    months: list[int] | None
    weekdays: list[int] | None
    """0 is Sunday."""

    @property
    def either_day(self) -> bool:
        """Day of month and weekday are both given: a day that matches one of them counts."""
        return self.days is not None and self.weekdays is not None


def portable(schedule: Schedule) -> CronFields | None:
    """The expression's fields; None if it uses what others lack or read differently: L, W, #, and
    a starred step in one of two day fields."""
    minute, hour, day, month, weekday = schedule.cron.fields.upper().split()
    if _SPECIAL.search(f"{day} {weekday}"):
        return None
    if day != "*" and weekday != "*" and (day[0] == "*" or weekday[0] == "*"):
        return None
    parsed = CronSim(schedule.cron.fields, datetime(2000, 1, 1, tzinfo=UTC))
    weekdays = sorted({d % 7 for d in parsed.weekdays if isinstance(d, int)})
    return CronFields(
        minutes=None if minute == "*" else sorted(parsed.minutes),
        hours=None if hour == "*" else sorted(parsed.hours),
        days=None if day == "*" else sorted(parsed.days),
        months=None if month == "*" else sorted(parsed.months),
        weekdays=None if weekday == "*" else weekdays,
    )


def exact(schedule: Schedule) -> str:
    """The cron expression to tick at, in the schedule's zone, in numbers every cron reads."""
    fields = portable(schedule)
    if fields is None:
        return HOURLY
    minute, hour, day, month, weekday = schedule.cron.fields.split()
    names = any(sign.isalpha() for sign in month + weekday)
    return " ".join([
        minute, hour, day,
        _listed(fields.months) if names else month,
        _listed(fields.weekdays) if names or "7" in weekday else weekday,
    ])  # fmt: skip


def catch_up(schedule: Schedule) -> str | None:
    """The hourly tick beside the exact one; None where that is hourly itself."""
    fields = portable(schedule)
    if fields is None or _is_hourly(fields):
        return None
    minute = (fields.minutes or [0])[0] + int(LATER.total_seconds() // 60)
    return f"{minute % 60} * * * *"


def _is_hourly(fields: CronFields) -> bool:
    return not any((fields.hours, fields.days, fields.months, fields.weekdays))


def _listed(values: list[int] | None) -> str:
    return "*" if values is None else ",".join(map(str, values))
