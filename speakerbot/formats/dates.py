"""Dates, clock times and lengths as people write them into sheets.

Whether ``05/06/2026`` is in June or in May is decided for a whole column, by a row like
``26/11/2026``; where no row decides it, it is refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from speakerbot.clock import around_gap
from speakerbot.config import DateOrder
from speakerbot.domain.talk import talk_day, talk_length
from speakerbot.formats.extended import iso, parse_instant

ORDERS: Mapping[DateOrder, str] = {"dmy": "day first", "mdy": "month first"}
SETTING = "SPEAKERBOT_DATE_ORDER"
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
YEARS_AROUND = 10
"""A year of two digits is one that is this near."""

_CLOCK = r"(?P<clock>\d{1,2}(?:[:.h]\d{2}(?::\d{2})?)?\s*(?:[ap]\.?m\.?)?)"
_AFTER = rf"(?:(?:\s*,\s*|\s+)(?:at\s+)?{_CLOCK})?"
_ISO = re.compile(
    rf"(?P<year>\d{{4}})([-/.])(?P<month>\d{{1,2}})\2(?P<day>\d{{1,2}}){_AFTER}", re.ASCII
)
_NUMBERS = re.compile(
    rf"(?P<first>\d{{1,2}})([-/.])\s?(?P<second>\d{{1,2}})"
    rf"(?:\2\s?(?P<year>\d{{4}}|\d{{2}})?)?{_AFTER}",
    re.ASCII,
)
_DAY_MONTH = re.compile(
    r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?[\s-]*(?:of\s+)?(?P<name>[a-z]{3,9})\.?"
    rf"(?:[\s,-]+(?P<year>\d{{4}}|'?\d{{2}}(?![\d:.hap])))?{_AFTER}",
    re.ASCII,
)
_MONTH_DAY = re.compile(
    r"(?P<name>[a-z]{3,9})\.?[\s-]*(?P<day>\d{1,2})(?:st|nd|rd|th)?(?![\d:])"
    rf"(?:[\s,-]+(?P<year>\d{{4}}|'\d{{2}}))?{_AFTER}",
    re.ASCII,
)
_WEEKDAY = re.compile(r"(?P<weekday>[a-z]{2,9})\.?,?\s+(?=\S)", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ].+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WrittenDate:
    """A date as it stands in a cell. Without ``certain`` the first number may be the day or the
    month: ``day`` holds the first then, and ``month`` the second."""

    text: str
    day: int
    month: int
    year: int | None
    certain: bool
    weekday: int | None = None
    clock: time | None = None
    """A start that stands in the same cell."""

    @property
    def order(self) -> DateOrder | None:
        """Which order this date alone proves."""
        if self.certain or self.day == self.month:
            return None
        if self.day > 12 >= self.month:
            return "dmy"
        return "mdy" if self.month > 12 >= self.day else None

    @property
    def ambiguous(self) -> bool:
        return not self.certain and self.day != self.month and max(self.day, self.month) <= 12

    def on(self, order: DateOrder | None, today: date) -> date:
        """The day it means; without a year the next such day, ``today`` included. Raises
        ValueError."""
        day, month = (self.day, self.month) if order != "mdy" else (self.month, self.day)
        found = self._next(day, month, today) if self.year is None else _day(self, day, month)
        if self.weekday is not None and found.weekday() != self.weekday:
            raise ValueError(
                f"{self.text!r}: {found} is a {found:%A}, not a {WEEKDAYS[self.weekday].title()}; "
                "correct one of the two"
            )
        return talk_day(found)

    def _next(self, day: int, month: int, today: date) -> date:
        for year in range(today.year, today.year + 9):  # 29 February may be eight years away
            try:
                found = date(year, month, day)
            except ValueError:
                continue
            if found >= today:
                return found
        raise _no_such_day(self.text)


def _day(written: WrittenDate, day: int, month: int) -> date:
    assert written.year is not None, "only called for dates with a year"  # noqa: S101
    try:
        return date(written.year, month, day)
    except ValueError as error:
        raise _no_such_day(written.text) from error


def _no_such_day(text: str) -> ValueError:
    return ValueError(f"{text!r} is not a day of the calendar")


def read_date(text: str, today: date) -> WrittenDate:
    """Raises ValueError that says what to write."""
    shown = text.strip()
    if _INSTANT.fullmatch(shown) and (found := _of_instant(shown)):
        return found
    rest, weekday = _without_weekday(shown.lower())
    for pattern in (_ISO, _NUMBERS, _DAY_MONTH, _MONTH_DAY):
        if match := pattern.fullmatch(rest):
            return _written(shown, match.groupdict(), weekday, today)
    raise _not_a_date(shown)


def _not_a_date(text: str) -> ValueError:
    hint = "write YYYY-MM-DD, 26 Nov 2026 or 26/11/2026"
    if re.fullmatch(r"[1-9]\d{4}(\.\d+)?", text):
        hint = f"it is how a spreadsheet counts days: format that column as a date, or {hint}"
    return ValueError(f"{text!r} is not a date; {hint}")


def _of_instant(text: str) -> WrittenDate | None:
    """ISO 8601 with a clock time. With an offset it is a document's date: midnight in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is not None:
        day = midnight(parse_instant(text))
        return WrittenDate(text, day.day, day.month, day.year, certain=True)
    clock = at.time() if at.time() != time() else None
    if clock is not None and (clock.second or clock.microsecond):
        raise ValueError(f"{text!r} has seconds; a start is HH:MM")
    return WrittenDate(text, at.day, at.month, at.year, certain=True, clock=clock)


def midnight(at: datetime) -> date:
    """The day of an instant that must be its begin in UTC. Raises ValueError."""
    if at != datetime.combine(at.date(), time(), UTC):
        raise ValueError(
            f"{iso(at)} is not midnight in UTC; a talk's date is a day, and its start goes into "
            "speakerbot.startsAt (a sheet's column Start time)"
        )
    return talk_day(at.date())


def _without_weekday(text: str) -> tuple[str, int | None]:
    if (match := _WEEKDAY.match(text)) and (found := _named(match["weekday"], WEEKDAYS, 2)):
        return text[match.end() :], found - 1
    return text, None


def _named(name: str, names: Sequence[str], shortest: int) -> int | None:
    """Which of the names it is, or begins, from 1."""
    word = "sep" if name == "sept" else name
    return next(
        (
            number
            for number, each in enumerate(names, 1)
            if word == each or (len(word) >= shortest and each.startswith(word))
        ),
        None,
    )


def _written(
    text: str, found: dict[str, str | None], weekday: int | None, today: date
) -> WrittenDate:
    name = found.get("name")
    day = int(found.get("day") or found["first"] or 0)
    month = _named(name, MONTHS, 3) if name else int(found.get("month") or found["second"] or 0)
    if month is None:
        raise _not_a_date(text)
    return WrittenDate(
        text=text,
        day=day,
        month=month,
        year=_year(text, found.get("year"), today),
        certain="first" not in found,
        weekday=weekday,
        clock=read_clock(clock) if (clock := found.get("clock")) else None,
    )


def _year(text: str, digits: str | None, today: date) -> int | None:
    if digits is None:
        return None
    if len(digits := digits.removeprefix("'")) == 4:
        return int(digits)
    year = today.year // 100 * 100 + int(digits)
    if abs(year - today.year) > YEARS_AROUND:
        raise ValueError(f"{text!r}: write the year with four digits")
    return year


@dataclass(slots=True)
class DateColumn:
    """A column of dates whose order is decided for all of them. Cells are added, then read."""

    today: date
    """In the community's zone."""
    preferred: DateOrder | None = None
    """The setting: for a column that does not decide it."""
    notes: list[str] = field(default_factory=list)
    """What was understood, for people."""
    _cells: dict[str, WrittenDate] = field(default_factory=dict)

    def add(self, place: str, text: str) -> None:
        """Raises ValueError where it cannot be a date in any order."""
        self._cells[place] = read_date(text, self.today)

    def read(self) -> dict[str, tuple[date, time | None] | ValueError]:
        """By place: the day, and the start where it stands in the same cell; or what is wrong."""
        order, contradiction = self._order()
        result: dict[str, tuple[date, time | None] | ValueError] = {}
        for place, written in self._cells.items():
            try:
                if contradiction and not written.certain and written.day != written.month:
                    raise ValueError(f"{written.text!r}: {contradiction}")
                if order is None and written.ambiguous:
                    raise _undecided(written, self.today)
                result[place] = (written.on(order, self.today), written.clock)
            except ValueError as problem:
                result[place] = problem
        self._note_years(result)
        return result

    def _order(self) -> tuple[DateOrder | None, str]:
        """The order of the column, and why it has none where its rows contradict each other."""
        shown: dict[DateOrder, str] = {}
        for place, written in self._cells.items():
            if written.order:
                shown.setdefault(written.order, f"{written.text} ({place})")
        if len(shown) == 2:
            return None, (
                f"{shown['dmy']} has the day first, {shown['mdy']} the month; "
                "write YYYY-MM-DD in every row"
            )
        order, why = next(iter(shown.items()), (self.preferred, f"{SETTING}={self.preferred}"))
        if order and any(written.ambiguous for written in self._cells.values()):
            self.notes.append(f"dates are read with the {ORDERS[order]}, as {why} says")
        return order, ""

    def _note_years(self, result: Mapping[str, tuple[date, time | None] | ValueError]) -> None:
        without = {
            written.text: found[0]
            for place, written in self._cells.items()
            if written.year is None and not isinstance(found := result[place], ValueError)
        }
        if without:
            self.notes.append(f"dates without a year are the next ones: {_listed(without)}")


MOST_LISTED = 5


def _listed(days: Mapping[str, date]) -> str:
    shown = [f"{text} is {day:%a %Y-%m-%d}" for text, day in days.items()]
    more = [f"and {len(shown) - MOST_LISTED:,} more"] if len(shown) > MOST_LISTED else []
    return ", ".join(shown[:MOST_LISTED] + more)


def _undecided(written: WrittenDate, today: date) -> ValueError:
    readings = []
    for order in ORDERS:
        try:
            readings.append(written.on(order, today))
        except ValueError:
            continue
    if len(readings) < 2:
        return ValueError(f"{written.text!r} is not a day of the calendar in both orders")
    either = " or ".join(f"{day.day} {day:%B %Y}" for day in readings)
    return ValueError(
        f"{written.text!r} can be {either}, and no row with a day above 12 decides it; write "
        f"{readings[0]} or {readings[1]}, or set {SETTING}=dmy or mdy"
    )


_TWELVE_HOURS = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?(?::00)?\s*([ap])\.?m\.?", re.ASCII)
_TWENTY_FOUR_HOURS = re.compile(r"(\d{1,2})(?:[:.h](\d{2})(?::00)?|h)(?:\s*uhr)?", re.ASCII)


def read_clock(text: str) -> time:
    """``19:30``, ``9:30``, ``19.30``, ``7pm``, ``7:30 pm``. Raises ValueError."""
    word = text.strip().lower()
    if match := _TWELVE_HOURS.fullmatch(word):
        hour, minute = int(match[1]), int(match[2] or 0)
        if 1 <= hour <= 12 and minute < 60:
            return time(hour % 12 + (12 if match[3] == "p" else 0), minute)
    elif match := _TWENTY_FOUR_HOURS.fullmatch(word):
        hour, minute = int(match[1]), int(match[2] or 0)
        if hour < 24 and minute < 60:
            return time(hour, minute)
    raise ValueError(f"{text.strip()!r} is not a clock time; write HH:MM, as 19:30, or 7:30pm")


_HOURS = re.compile(r"(\d{1,3})(?:[:h]\s*(\d{2}))(?::00)?(?:m|min)?", re.ASCII)
_UNITS = re.compile(
    r"(?:(?P<hours>\d{1,3}(?:[.,]5)?)\s*(?:h|hrs?|hours?))?"
    r"\s*(?:(?P<minutes>\d{1,5})\s*(?:m|mins?|minutes?|')?)?",
    re.ASCII,
)


def read_length(text: str) -> int:
    """Minutes, of ``45``, ``45 min``, ``1h``, ``1h30``, ``1:30``, ``1.5 hours``. Raises
    ValueError."""
    word = text.strip().lower()
    if match := _HOURS.fullmatch(word):
        return talk_length(int(match[1]) * 60 + int(match[2]))
    if word and (match := _UNITS.fullmatch(word)):
        hours = float((match["hours"] or "0").replace(",", "."))
        return talk_length(round(hours * 60) + int(match["minutes"] or 0))
    raise ValueError(f"{text.strip()!r} is not a length; write 45 (minutes), 45m, 1h or 1:30")


def skipped(day: date, clock: time, zone: ZoneInfo) -> str:
    """Why it is not known when that is, where clocks go forward past it; empty where it is."""
    choices = around_gap(day, clock, zone)
    if choices is None:
        return ""
    return (
        f"{clock:%H:%M} does not exist on {day} in {zone.key}, where clocks go forward; "
        f"write {choices[0]:%H:%M} or {choices[1]:%H:%M}"
    )
