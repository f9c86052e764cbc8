"""A person's quiet hours: when they hold, when they end, and in whose zone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import settings as drawing
from hypothesis import strategies as st

from speakerbot.domain.person import Person, QuietHours, parse_quiet_hours

BERLIN = "Europe/Berlin"
SAO_PAULO = "America/Sao_Paulo"
START = datetime(2011, 12, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ends(hours: str, now: str, zone: str = "UTC") -> datetime | None:
    until = parse_quiet_hours(hours).until(at(now), ZoneInfo(zone))
    return until.astimezone(UTC) if until else None


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        ("13:00-15:00", "2026-11-20 12:59", None),
        ("13:00-15:00", "2026-11-20 13:00", "2026-11-20 15:00"),
        ("13:00-15:00", "2026-11-20 14:59:59.999", "2026-11-20 15:00"),
        ("13:00-15:00", "2026-11-20 15:00", None),
        ("22:00-08:00", "2026-11-20 21:59", None),
        ("22:00-08:00", "2026-11-20 22:00", "2026-11-21 08:00"),
        ("22:00-08:00", "2026-11-21 07:59", "2026-11-21 08:00"),
        ("22:00-08:00", "2026-11-21 08:00", None),
        ("22:00-00:00", "2026-11-20 23:00", "2026-11-21 00:00"),
        ("22:00-00:00", "2026-11-21 00:00", None),
    ],
)
def test_they_begin_at_their_start_and_end_at_their_end_also_across_midnight(
    hours: str, now: str, until: str | None
) -> None:
    assert ends(hours, now) == (at(until) if until else None)


@pytest.mark.parametrize(
    ("zone", "hours", "now", "until"),
    [
        # 02:30 does not exist that night: quiet ends with the gap.
        (BERLIN, "22:00-02:30", "2026-03-28 22:00", "2026-03-29 01:00"),
        # 02:30 exists twice: quiet ends with the first, but it is quiet again before the second.
        (BERLIN, "22:00-02:30", "2026-10-24 22:00", "2026-10-25 00:30"),
        (BERLIN, "22:00-02:30", "2026-10-25 00:45", None),
        (BERLIN, "22:00-02:30", "2026-10-25 01:10", "2026-10-25 01:30"),
        # Midnight does not exist that night.
        (SAO_PAULO, "20:00-00:00", "2018-11-04 01:00", "2018-11-04 03:00"),
    ],
)
def test_on_the_night_the_clocks_change_they_end_when_clocks_show_it(
    zone: str, hours: str, now: str, until: str | None
) -> None:
    assert ends(hours, now, zone) == (at(until) if until else None)


@drawing(deadline=None)
@example(time(22), time(2, 30), BERLIN, at("2026-10-25 01:10"))
@given(
    st.times().map(lambda clock: clock.replace(second=0, microsecond=0, fold=0)),
    st.times().map(lambda clock: clock.replace(second=0, microsecond=0, fold=0)),
    st.sampled_from(["UTC", BERLIN, SAO_PAULO, "Australia/Lord_Howe", "Pacific/Apia"]),
    st.integers(0, 15 * 365 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes)),
)
def test_they_always_end_later_than_now_and_within_two_days(
    start: time, end: time, zone: str, now: datetime
) -> None:
    until = QuietHours(start, end).until(now, ZoneInfo(zone))
    assert until is None or now < until <= now + timedelta(days=2)


def test_they_are_shown_as_they_are_written() -> None:
    assert str(parse_quiet_hours("22:00-08:05")) == "22:00-08:05"


@pytest.mark.parametrize("zone", [None, "Not/AZone", "", "Europe"])
def test_a_zone_that_is_none_leaves_the_communitys(zone: str | None) -> None:
    assert Person("p", timezone=zone).zone is None
