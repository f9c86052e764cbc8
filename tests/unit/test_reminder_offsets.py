"""How reminder offsets are written."""

from __future__ import annotations

from datetime import time

import pytest

from speakerbot.domain.reminder_offsets import DayOffset, HourOffset, parse_offsets


def test_days_come_with_a_clock_time_and_hours_alone_in_the_order_given() -> None:
    assert parse_offsets(" 7d@09:30, 0d@16:00 ,24h,1h") == (
        DayOffset(7, time(9, 30)),
        DayOffset(0, time(16)),
        HourOffset(24),
        HourOffset(1),
    )


def test_an_offset_is_shown_as_it_is_written() -> None:
    text = "1d@16:00,0d@07:05,24h"
    assert ",".join(map(str, parse_offsets(text))) == text


@pytest.mark.parametrize(
    "part", ["1d", "1d@9:00", "1d@24:00", "1d@12:60", "-1d@16:00", "0h", "24", "1d@16:00Z", "90m"]
)
def test_what_is_not_an_offset_is_named_with_both_ways_to_write_one(part: str) -> None:
    with pytest.raises(ValueError, match=r"is not an offset; write .*1d@16:00.*24h") as refused:
        parse_offsets(f"1d@16:00,{part}")
    assert repr(part) in str(refused.value)


@pytest.mark.parametrize("text", ["1d@16:00,1d@16:00", "24h,024h"])
def test_the_same_offset_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_offsets(text)


@pytest.mark.parametrize("text", ["", " , "])
def test_no_offset_at_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no offset"):
        parse_offsets(text)
