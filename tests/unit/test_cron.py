"""A cron expression in a time zone names instants, right across daylight saving."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerbot.clock import read_zone
from speakerbot.domain.cron import MACROS, Cron

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
ZONES = ["UTC", "America/Los_Angeles", "America/St_Johns", "Asia/Kathmandu", "Africa/Cairo"]
SPRING = datetime(2026, 3, 8, tzinfo=UTC)
AUTUMN = datetime(2026, 11, 1, tzinfo=UTC)


def local_times(expression: str, day: datetime) -> list[str]:
    """What fires on that calendar day in Los Angeles, as people there read it."""
    start = day.replace(tzinfo=LOS_ANGELES)
    cron = Cron(expression, LOS_ANGELES)
    found = cron.between(start.astimezone(UTC), (start + timedelta(days=1)).astimezone(UTC))
    return [f"{moment.astimezone(LOS_ANGELES):%H:%M %Z}" for moment in found]


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("30 2 * * *", ["03:00 PDT"]),
        ("0,30 2 * * *", ["03:00 PDT"]),
        ("0 3 * * *", ["03:00 PDT"]),
        ("0 1-4 * * *", ["01:00 PST", "03:00 PDT", "04:00 PDT"]),
        ("30 */2 * * SUN", ["00:30 PST"] + [f"{hour:02}:30 PDT" for hour in range(4, 24, 2)]),
    ],
)
def test_a_time_that_does_not_exist_moves_to_the_next_minute_and_is_one(
    expression: str, times: list[str]
) -> None:
    assert local_times(expression, SPRING) == times


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("30 1 * * *", ["01:30 PDT"]),
        ("0,30 1 * * *", ["01:00 PDT", "01:30 PDT"]),
        ("0 17 * * SUN", ["17:00 PST"]),
        ("*/30 1 * * *", ["01:00 PDT", "01:30 PDT", "01:00 PST", "01:30 PST"]),
    ],
)
def test_a_time_that_exists_twice_is_one_for_a_fixed_hour_and_two_for_a_star(
    expression: str, times: list[str]
) -> None:
    assert local_times(expression, AUTUMN) == times


def test_every_real_hour_is_an_occurrence_on_the_long_day() -> None:
    assert len(local_times("@hourly", AUTUMN)) == 25
    assert len(local_times("@hourly", SPRING)) == 23


@pytest.mark.parametrize(
    ("macro", "first"),
    [
        ("@hourly", datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ("@daily", datetime(2026, 11, 24, tzinfo=UTC)),
        ("@weekly", datetime(2026, 11, 29, tzinfo=UTC)),
        ("@monthly", datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_macros_name_what_cron_users_expect(macro: str, first: datetime) -> None:
    now = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
    assert Cron(macro, ZoneInfo("UTC")).next(now) == first


def test_latest_includes_the_instant_itself_and_next_does_not() -> None:
    cron = Cron("0 17 * * MON", LOS_ANGELES)
    monday = datetime(2026, 11, 24, 1, tzinfo=UTC)
    assert cron.latest(monday) == monday
    assert cron.latest(monday + timedelta(milliseconds=1)) == monday
    assert cron.latest(monday - timedelta(milliseconds=1)) == monday - timedelta(days=7)
    assert cron.next(monday) == monday + timedelta(days=7)
    assert cron.next(monday - timedelta(milliseconds=1)) == monday


def test_from_within_the_second_of_two_equal_hours_the_first_is_past() -> None:
    cron = Cron("30 1 * * *", LOS_ANGELES)
    second_quarter_past_one = datetime(2026, 11, 1, 9, 15, tzinfo=UTC)
    assert cron.next(second_quarter_past_one) == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    assert cron.latest(second_quarter_past_one) == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


fixed = st.builds("{} {} * * {}".format, st.integers(0, 59), st.integers(0, 4), st.just("*"))
starred = st.builds(
    "{} {} * * *".format,
    st.sampled_from(["0", "*/20", "5,35", "*"]),
    st.sampled_from(["*", "*/2", "1-3", "0,2"]),
)
days = st.sampled_from([datetime(2026, 3, 7), datetime(2026, 4, 4), datetime(2026, 10, 31)])  # noqa: DTZ001


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(fixed, starred), st.sampled_from(ZONES), days, st.integers(0, 72 * 3600 * 1000 - 1)
)
def test_latest_and_next_agree_with_the_list_of_all(
    expression: str, zone: str, day: datetime, offset: int
) -> None:
    cron = Cron(expression, ZoneInfo(zone))
    start = day.replace(tzinfo=UTC)
    now = start + timedelta(milliseconds=offset)
    listed = list(cron.between(start - timedelta(days=2), start + timedelta(days=6)))
    assert listed == sorted(set(listed))
    assert cron.latest(now) == max(moment for moment in listed if moment <= now)
    assert cron.next(now) == min(moment for moment in listed if moment > now)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), days, st.integers(0, 59))
def test_a_starred_hour_fires_whenever_the_clock_on_the_wall_shows_the_minute(
    zone: str, day: datetime, minute: int
) -> None:
    start = day.replace(tzinfo=UTC)
    wall = ZoneInfo(zone)
    minutes = (start + timedelta(minutes=m) for m in range(72 * 60))
    shown = [moment for moment in minutes if moment.astimezone(wall).minute == minute]
    cron = Cron(f"{minute} * * * *", wall)
    assert list(cron.between(start, start + timedelta(hours=72))) == shown


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 12 31 FEB *", "0 0 30-31 2 */2"]
)
def test_an_expression_that_never_fires_is_an_error(expression: str) -> None:
    with pytest.raises(ValueError, match="never fires"):
        Cron(expression, LOS_ANGELES)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "5 fields"),
        ("* * * *", "has 4 of"),
        ("0 * * * * *", "has 6 of"),
        ("61 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 32 1 *", "bad day-of-month"),
        ("0 0 30 13 *", "bad month"),
        ("0 0 * * MOO", "bad day-of-week"),
        ("@yearly", "there are @hourly, @daily, @weekly, @monthly"),
        ("1" * 5000 + " * * * *", "number too long"),
    ],
)
def test_an_unreadable_expression_says_which_field(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cron(expression, LOS_ANGELES)


@given(st.text("0123456789*/,-#LWMONFEB@ ", max_size=25))
def test_no_text_gets_anything_but_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Cron(text, LOS_ANGELES).next(AUTUMN) > AUTUMN


def test_a_leap_day_is_found_across_years() -> None:
    cron = Cron("0 0 29 2 *", ZoneInfo("UTC"))
    assert cron.latest(AUTUMN) == datetime(2024, 2, 29, tzinfo=UTC)
    assert cron.next(AUTUMN) == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "closer"),
    [("*/30 * * * *", True), ("0,30 9 1 1 *", True), ("0 * * * *", False), ("0 9 * * *", False)],
)
def test_expressions_that_outrun_an_hourly_machine_are_known(expression: str, closer: bool) -> None:
    assert Cron(expression, LOS_ANGELES).fires_within(timedelta(hours=1)) is closer


def test_only_machines_with_an_unknown_phase_need_a_grace_of_their_period() -> None:
    graces = [Cron(macro, LOS_ANGELES).least_grace.days for macro in MACROS]
    assert graces == [0, 1, 7, 31]


@pytest.mark.parametrize("name", ["", "America", "Mars/Olympus", "../etc/passwd", "é", "/UTC"])
def test_an_unknown_time_zone_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone; write"):
        read_zone(name)
