"""Durations are read as people write them and written so that they can be read back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("6h", timedelta(hours=6)),
        ("14d", timedelta(days=14)),
        ("0m", timedelta()),
        (" 5 m ", timedelta(minutes=5)),
    ],
)
def test_a_number_and_a_unit_is_a_duration(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "6", "h", "-1h", "1.5h", "1h30m", "6 hours", "6H", "٣h", "9999999d", "9" * 5000 + "s"],
)
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=24), "1d"),
        (timedelta(hours=36), "36h"),
        (timedelta(seconds=1, milliseconds=900), "1s"),
    ],
)
def test_the_largest_unit_that_loses_nothing_is_written(length: timedelta, text: str) -> None:
    assert format_duration(length) == text


def test_a_negative_length_has_no_text() -> None:
    with pytest.raises(ValueError, match="never negative"):
        format_duration(timedelta(seconds=-1))


@given(st.integers(0, 3_660 * 86_400))
def test_what_is_written_is_read_back(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length
