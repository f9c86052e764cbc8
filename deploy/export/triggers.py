"""When another scheduler must tick for a schedule. Pure.

Two ticks serve a schedule: one at exactly its times, and an hourly one that continues what a
crash, a refused message or quiet hours left open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from speakerbot.domain.cron import Cron
from speakerbot.schedules.schedule import Schedule

HOURLY = "0 * * * *"
LATER = timedelta(minutes=20)
_HIGHEST = (59, 23, 31, 12, 6)
"""Of minute, hour, day of month, month and weekday."""
_LONGEST_WAITING = timedelta(minutes=70)
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
    texts = schedule.cron.fields.split()
    values = (fields.minutes, fields.hours, fields.days, fields.months, fields.weekdays)
    return " ".join(
        text if _read_by_all(text, highest) else _listed(found)
        for text, found, highest in zip(texts, values, _HIGHEST, strict=True)
    )


def catch_up(schedule: Schedule) -> str | None:
    """The hourly tick beside the exact one; None where that is hourly itself.

    It also ticks in the minute that ends a gap in local time where an occurrence moves there:
    schedulers skip a local time that does not exist.
    """
    fields = portable(schedule)
    if fields is None or _is_hourly(fields):
        return None
    minute = (fields.minutes or [0])[0] + int(LATER.total_seconds() // 60)
    return f"{_listed(sorted({minute % 60, *_minutes_after_gaps(schedule.cron)}))} * * * *"


def hourly_in_utc(schedule: Schedule) -> str:
    """An hourly tick, in UTC, in each minute at which the schedule's zone can have an occurrence;
    and one for what was left open. For schedulers that have zones but fail at their changes."""
    minutes = CronSim(schedule.cron.fields, datetime(2000, 1, 1, tzinfo=UTC)).minutes
    days = (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(0, 730, 7))
    offsets = {_offset(day, schedule.cron.zone) for day in days}
    found = {
        (minute - offset // timedelta(minutes=1)) % 60
        for minute in {*minutes, *_minutes_after_gaps(schedule.cron)}
        for offset in offsets
    }
    later = (min(found) + LATER // timedelta(minutes=1)) % 60
    return f"{_listed(sorted(found | {later}))} * * * *"


def time_limit(schedule: Schedule) -> timedelta | None:
    """After how long a scheduler should take a run for stuck; None if it may stay for as long as
    there is something to stay for. Runs end by themselves before that: only waiting (for the minute
    of the Node bot, for Discord's limits) does not count towards their timeout."""
    if schedule.timed or schedule.options.horizon is not None:
        return None
    return schedule.timeout + schedule.wait + _LONGEST_WAITING


def _read_by_all(text: str, highest: int) -> bool:
    """Debian's cron refuses a step after a single number, supercronic and newer crons a step
    longer than the field; few read names, and not all a 7 for Sunday."""
    if step := re.fullmatch(r"\*/(\d+)", text):
        return int(step[1]) <= highest
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return text == "*" or (re.fullmatch(r"[\d,-]+", text) is not None and max(numbers) <= highest)


@cache
def _gap_ends(zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants, in UTC, at which the zone's clocks go forward, in years whose rules are
    known; a fixed span, so that an export does not depend on the day it is made."""
    day, found = datetime(2025, 1, 1, tzinfo=UTC), []
    while day.year < 2037:
        start, end = day, day + timedelta(days=1)
        if _offset(end, zone) > _offset(start, zone):
            while end - start > timedelta(minutes=1):
                middle = start + timedelta(minutes=(end - start) // timedelta(minutes=2))
                changed = _offset(middle, zone) > _offset(day, zone)
                start, end = (start, middle) if changed else (middle, end)
            found.append(end)
        day += timedelta(days=1)
    return tuple(found)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _minutes_after_gaps(cron: Cron) -> set[int]:
    """The local minutes, past the hour, to which gaps move occurrences of the expression."""
    return {
        end.astimezone(cron.zone).minute
        for end in _gap_ends(cron.zone)
        if any(cron.between(end, end + timedelta(minutes=1)))
    }


def _is_hourly(fields: CronFields) -> bool:
    return not any((fields.hours, fields.days, fields.months, fields.weekdays))


def _listed(values: list[int] | None) -> str:
    return "*" if values is None else ",".join(map(str, values))
