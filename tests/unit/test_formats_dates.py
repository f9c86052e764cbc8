"""Dates and times as people write them, decided for a whole column."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.config import DateOrder
from speakerbot.formats.dates import DateColumn, read_clock, read_length

TODAY = date(2026, 11, 20)


def column(*texts: str, preferred: DateOrder | None = None) -> DateColumn:
    dates = DateColumn(TODAY, preferred)
    for line, text in enumerate(texts, 2):
        dates.add(f"line {line}", text)
    return dates


def days(*texts: str, preferred: DateOrder | None = None) -> list[date | str]:
    """The day of each cell, or what is wrong with it."""
    found = column(*texts, preferred=preferred).read().values()
    return [str(each) if isinstance(each, ValueError) else each[0] for each in found]


@pytest.mark.parametrize(
    "text",
    [
        "26/11/2026",
        "26.11.2026",
        "26-11-2026",
        "26/11/26",
        "11/26/2026",
        "2026-11-26",
        "2026/11/26",
        "2026-11-26T00:00:00.000Z",
        "2026-11-26 00:00:00",
        "26 Nov",
        "26 nov 2026",
        "26-Nov-26",
        "26 November 2026",
        "26th of November",
        "Nov 26",
        "November 26, 2026",
        "Thu 26 Nov",
        "Thursday, 26 November 2026",
        "26.11.",
        "26/11",
        " 26. Nov. 2026 ",
    ],
)
def test_a_date_is_read_however_it_is_written(text: str) -> None:
    assert days(text) == [date(2026, 11, 26)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("soon", "'soon' is not a date; write YYYY-MM-DD, 26 Nov 2026 or 26/11/2026"),
        ("46352", "it is how a spreadsheet counts days: format that column as a date"),
        ("26/11/05", "'26/11/05': write the year with four digits"),
        ("26 Foo 2026", "is not a date"),
        ("2026-11-26T19:30:00Z", "is not midnight in UTC"),
        ("26 Nov 25:00", "'25:00' is not a clock time"),
        ("٢/٣/٢٠٢٦", "is not a date"),
    ],
)
def test_what_is_not_a_date_says_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        column(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("31/02/2026", "'31/02/2026' is not a day of the calendar"),
        ("31 Feb", "'31 Feb' is not a day of the calendar"),
        ("13/13/2026", "is not a day of the calendar"),
        ("Fri 26 Nov 2026", "2026-11-26 is a Thursday, not a Friday"),
        ("26 Nov 3026", "3026-11-26 is out of range; dates go from 1970"),
    ],
)
def test_a_day_that_does_not_exist_is_refused(text: str, problem: str) -> None:
    [found] = days(text)
    assert isinstance(found, str)
    assert problem in found


def test_one_row_decides_the_order_of_the_whole_column() -> None:
    assert days("05/06/2026", "26/11/2026") == [date(2026, 6, 5), date(2026, 11, 26)]
    assert days("05/06/2026", "11/26/2026") == [date(2026, 5, 6), date(2026, 11, 26)]
    dates = column("5.6.2026", "26.11.2026")
    dates.read()
    assert dates.notes == ["dates are read with the day first, as 26.11.2026 (line 3) says"]


def test_an_order_that_nothing_decides_is_refused_row_by_row() -> None:
    assert days("05/06/2026", "07/07/2026", "1 Dec 2026") == [
        (
            "'05/06/2026' can be 5 June 2026 or 6 May 2026, and no row with a day above 12 decides "
            "it; write 2026-06-05 or 2026-05-06, or set SPEAKERBOT_DATE_ORDER=dmy or mdy"
        ),
        date(2026, 7, 7),
        date(2026, 12, 1),
    ]


def test_the_setting_decides_what_no_row_does() -> None:
    assert days("05/06/2026", preferred="dmy") == [date(2026, 6, 5)]
    assert days("05/06/2026", preferred="mdy") == [date(2026, 5, 6)]
    assert days("05/06/2026", "26/11/2026", preferred="mdy")[0] == date(2026, 6, 5)
    dates = column("05/06/2026", preferred="mdy")
    dates.read()
    assert dates.notes == ["dates are read with the month first, as SPEAKERBOT_DATE_ORDER=mdy says"]


def test_rows_that_contradict_each_other_are_refused_naming_both() -> None:
    found = days("26/11/2026", "11/27/2026", "05/06/2026", "1 Dec 2026")
    contradiction = (
        "26/11/2026 (line 2) has the day first, 11/27/2026 (line 3) the month; "
        "write YYYY-MM-DD in every row"
    )
    assert found[:3] == [
        f"'{text}': {contradiction}" for text in ("26/11/2026", "11/27/2026", "05/06/2026")
    ]
    assert found[3] == date(2026, 12, 1)


def test_a_date_without_a_year_is_the_next_one_and_said() -> None:
    dates = column("20 Nov", "19 Nov", "29 Feb")
    assert [each[0] for each in dates.read().values() if not isinstance(each, ValueError)] == [
        date(2026, 11, 20),
        date(2027, 11, 19),
        date(2028, 2, 29),
    ]
    [note] = dates.notes
    assert note == (
        "dates without a year are the next ones: 20 Nov is Fri 2026-11-20, "
        "19 Nov is Fri 2027-11-19, 29 Feb is Tue 2028-02-29"
    )
    many = column(*(f"{day} Dec" for day in range(1, 9)))
    many.read()
    assert many.notes[0].endswith("5 Dec is Sat 2026-12-05, and 3 more")


@pytest.mark.parametrize(
    "text", ["26 Nov 2026 7:30pm", "26/11/2026 19:30", "2026-11-26 19:30", "26.11.2026, 19.30"]
)
def test_a_start_may_stand_beside_the_date(text: str) -> None:
    [found] = column(text).read().values()
    assert found == (date(2026, 11, 26), time(19, 30))


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("7pm", time(19)),
        ("7 p.m.", time(19)),
        ("7:30 pm", time(19, 30)),
        ("7.30PM", time(19, 30)),
        ("12am", time(0)),
        ("12pm", time(12)),
        ("9:30", time(9, 30)),
        ("9:00", time(9)),
        ("19.30", time(19, 30)),
        ("19h30", time(19, 30)),
        ("19h", time(19)),
        ("19:30:00", time(19, 30)),
        ("19:30 Uhr", time(19, 30)),
    ],
)
def test_a_clock_time_is_read_however_it_is_written(text: str, clock: time) -> None:
    assert read_clock(text) == clock


@pytest.mark.parametrize("text", ["7", "13pm", "0pm", "24:00", "19:60", "19:30:10", "0.8125", "x"])
def test_what_is_not_a_clock_time_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is not a clock time; write HH:MM, as 19:30, or 7:30pm"):
        read_clock(text)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("45", 45), ("45m", 45), ("45 min", 45), ("45 minutes", 45), ("45'", 45), ("1h", 60),
        ("1h30", 90), ("1h 30m", 90), ("1 h 30 min", 90), ("1:30", 90), ("01:30:00", 90),
        ("0:45", 45), ("1.5h", 90), ("1,5 hours", 90),
    ],
)  # fmt: skip
def test_a_length_is_read_however_it_is_written(text: str, minutes: int) -> None:
    assert read_length(text) == minutes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("long", "write 45 (minutes), 45m"),
        ("", "is not a length"),
        ("0", "out of range"),
        ("99999", "out of range"),
    ],
)
def test_what_is_not_a_length_says_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_length(text)
    assert problem in str(refused.value)


WRITTEN = (
    "{0:%d/%m/%Y}",
    "{0.day}.{0.month}.{0.year}",
    "{0:%A, %d %B %Y}",
    "{0:%b} {0.day}, {0:%Y}",
)


@given(st.dates(date(1970, 1, 1), date(2999, 12, 31)), st.sampled_from(WRITTEN))
def test_any_date_is_read_back(day: date, form: str) -> None:
    assert days("31/12/2026", form.format(day))[1] == day


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    with suppress(ValueError):
        days(text)
    with suppress(ValueError):
        read_clock(text)
    with suppress(ValueError):
        read_length(text)
