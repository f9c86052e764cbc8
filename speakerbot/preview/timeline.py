"""When the runs of some schedules will be: each occurrence, and what it leaves for later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from math import ceil

from speakerbot.domain.occurrence import Due, OccurrenceRecord
from speakerbot.ports.store import Occurrences
from speakerbot.schedules.schedule import TICKS, Schedule

_INSTANT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Tick:
    """A run to come: at which decision time, of which schedule, for which occurrence."""

    at: datetime
    place: int
    """Of its schedule among the others: of two at once, the first comes first."""
    occurrence: datetime


class Timeline:
    """The ticks from ``now`` to before ``end``, in order. Instants are decision time, in UTC;
    ``ahead`` is how far that is ahead of the real time."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        occurrences: Occurrences,
        *,
        now: datetime,
        end: datetime,
        ahead: timedelta,
    ) -> None:
        self._schedules, self._now, self._end, self._ahead = schedules, now, end, ahead
        self._waiting: list[Tick] = []
        self._current: list[datetime | None] = [None] * len(schedules)
        self._coming = [each.cron.between(now + _INSTANT, end) for each in schedules]
        for place in range(len(schedules)):
            self._take_up(place, occurrences)
            self._next(place)

    def __iter__(self) -> Iterator[Tick]:
        while self._waiting:
            tick = heappop(self._waiting)
            current = self._current[tick.place]
            if current is not None and tick.occurrence < current:
                continue  # superseded while it waited
            if current != tick.occurrence:
                self._current[tick.place] = tick.occurrence
                self._next(tick.place)
            yield tick

    def again(self, tick: Tick, wish: datetime | None) -> None:
        """Has the tick's occurrence taken up once more: by the first tick of its machine that is
        not before ``wish``, if that is within its grace."""
        if wish is None:
            return
        schedule = self._schedules[tick.place]
        spacing = TICKS[schedule.interval]
        at = tick.occurrence + ceil((wish - tick.occurrence) / spacing) * spacing
        last = tick.occurrence + schedule.rules.whole_grace
        if tick.at < at <= last and at < self._end:
            heappush(self._waiting, replace(tick, at=at))

    def go_on(self, tick: Tick, at: datetime | None) -> None:
        """Has the tick's run go on at this time, for which it waits."""
        if at is not None and at < self._end:
            heappush(self._waiting, replace(tick, at=at))

    def drop(self, tick: Tick) -> None:
        """No further ticks of its schedule: they would fail as this one did."""
        self._coming[tick.place] = iter(())
        self._waiting = [each for each in self._waiting if each.place != tick.place]
        heapify(self._waiting)

    def _next(self, place: int) -> None:
        occurrence = next(self._coming[place], None)
        if occurrence is not None:
            heappush(self._waiting, Tick(occurrence, place, occurrence))

    def _take_up(self, place: int, occurrences: Occurrences) -> None:
        """The occurrence that has come and may not be done."""
        schedule = self._schedules[place]
        occurrence = schedule.cron.latest(self._now)
        if occurrence is None:
            return
        record = occurrences.get(schedule.name, occurrence)
        rules = replace(schedule.rules, wait=timedelta())
        real = self._now - self._ahead
        tick = Tick(self._now, place, occurrence)
        if isinstance(rules.decide(occurrence, record, now=self._now, real=real), Due):
            heappush(self._waiting, tick)
        elif record is not None and record.standing in ("running", "open"):
            self.again(tick, self._rests_until(record))

    def _rests_until(self, record: OccurrenceRecord) -> datetime | None:
        real = (at + self._ahead for at in (record.lease_until, record.retry_at) if at)
        return min([*real, *([record.resume_at] if record.resume_at else [])], default=None)
