"""The two clocks, and clock times made into instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.clock import Clock, instant, parse_clock_time, real_now

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "day", "clock", "utc"),
    [
        ("UTC", "2026-11-20", "16:00", "2026-11-20 16:00"),
        ("Asia/Kathmandu", "2026-11-20", "00:00", "2026-11-19 18:15"),
        ("Europe/Berlin", "2026-03-29", "02:00", "2026-03-29 01:00"),
        ("Europe/Berlin", "2026-03-29", "02:59", "2026-03-29 01:00"),
        ("Europe/Berlin", "2026-10-25", "02:00", "2026-10-25 00:00"),
        ("America/Sao_Paulo", "2018-11-04", "00:00", "2018-11-04 03:00"),
        ("Australia/Lord_Howe", "2026-10-04", "02:10", "2026-10-03 15:30"),
        ("Pacific/Apia", "2011-12-30", "16:00", "2011-12-30 10:00"),
    ],
)
def test_a_clock_time_that_does_not_exist_is_the_next_minute_and_of_two_it_is_the_first(
    zone: str, day: str, clock: str, utc: str
) -> None:
    found = instant(date.fromisoformat(day), time.fromisoformat(clock), ZoneInfo(zone))
    assert found == datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert found.tzinfo is UTC


@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"]),
    st.dates(date(2011, 1, 1), date(2027, 1, 1)),
    st.times().map(lambda clock: clock.replace(second=0, microsecond=0, fold=0)),
)
def test_at_the_instant_clocks_show_that_time_or_have_just_jumped_over_it(
    zone: str, day: date, clock: time
) -> None:
    found = instant(day, clock, ZoneInfo(zone))
    shown = found.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    wanted = datetime.combine(day, clock)
    before = (found - timedelta(minutes=1)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown == wanted or before < wanted < shown


@pytest.mark.parametrize("text", ["19:30", " 07:05 ", "00:00"])
def test_a_clock_time_is_hours_and_minutes(text: str) -> None:
    assert parse_clock_time(text) == time.fromisoformat(text.strip())


@pytest.mark.parametrize("text", ["", "7pm", "24:00", "12:60", "19:30:15", "19:30+02:00", "midday"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write HH:MM, as 19:30"):
        parse_clock_time(text)


@time_machine.travel(NOON + timedelta(microseconds=123_456), tick=False)
def test_the_present_is_cut_to_what_every_store_keeps() -> None:
    assert real_now() == NOON + timedelta(milliseconds=123)


@time_machine.travel(NOON, tick=False)
def test_decision_time_moves_with_the_real_clock_from_where_it_was_set() -> None:
    assert Clock.at(None) == Clock()
    clock = Clock.at(NOON - 24 * HOUR)
    assert (clock.decision(), clock.real()) == (NOON - 24 * HOUR, NOON)
    with time_machine.travel(NOON + HOUR, tick=False):
        assert (clock.decision(), clock.real()) == (NOON - 23 * HOUR, NOON + HOUR)


@time_machine.travel(NOON, tick=False)
def test_a_clock_that_is_wrong_is_wrong_about_both() -> None:
    clock = Clock(skew=-HOUR)
    assert (clock.decision(), clock.real()) == (NOON - HOUR, NOON - HOUR)
