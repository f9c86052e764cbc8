"""The calendar is what other calendar programs can read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar
from icalendar.cal import Component

from speakerbot.formats import talk_calendar
from speakerbot.talks import Talk

NOW = datetime(2026, 11, 20, 16, 5, 0, 123000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def talk(
    topic: str = "Evals", starts_at: time | None = None, day: date = date(2026, 11, 27)
) -> Talk:
    return Talk("afdcd4f7b927d4b1d7f6ce76", "1", "mira", topic, day, starts_at=starts_at)


def parsed(talk: Talk, zone: ZoneInfo = BERLIN) -> tuple[Component, Component, str]:
    text = talk_calendar.write([talk], zone, NOW)
    calendar = Calendar.from_ical(text)
    assert not calendar.errors
    [event] = calendar.walk("VEVENT")
    assert not event.errors
    return calendar, event, text


def test_a_talk_without_a_start_takes_its_day() -> None:
    _, event, text = parsed(talk())
    assert event["uid"] == "afdcd4f7b927d4b1d7f6ce76@speakerbot"
    assert event.decoded("dtstart") == date(2026, 11, 27)
    assert event.decoded("dtend") == date(2026, 11, 28)
    assert event.decoded("dtstamp") == NOW.replace(microsecond=0)
    assert "DTSTART;VALUE=DATE:20261127\r\n" in text


def test_a_start_is_in_the_communitys_zone_with_its_rules() -> None:
    """Another program must show 19:30 in Berlin right, in summer and in winter."""
    for day, offset in ((date(2026, 7, 3), 2), (date(2026, 11, 27), 1)):
        calendar, event, text = parsed(talk(starts_at=time(19, 30), day=day))
        assert "DTSTART;TZID=Europe/Berlin:" in text
        assert [zone["tzid"] for zone in calendar.walk("VTIMEZONE")] == ["Europe/Berlin"]
        start = event.decoded("dtstart")
        assert start.utcoffset() == timedelta(hours=offset)
        assert start.astimezone(UTC) == talk(starts_at=time(19, 30), day=day).start(BERLIN)


def test_in_utc_a_start_needs_no_zone() -> None:
    calendar, _, text = parsed(talk(starts_at=time(19, 30)), ZoneInfo("UTC"))
    assert "DTSTART:20261127T193000Z\r\n" in text
    assert not calendar.walk("VTIMEZONE")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_any_topic_is_escaped_and_folded(topic: str) -> None:
    """No line is longer than 75 octets, and none is broken inside a character."""
    _, event, text = parsed(talk(topic))
    assert event["summary"] == " ".join(f"mira: {topic}".split())
    assert all(len(line) <= 75 for line in text.encode().split(b"\r\n"))
    for line in text.encode().split(b"\r\n"):
        line.decode()


def test_a_topic_cannot_add_lines_of_its_own() -> None:
    _, event, _ = parsed(talk("x\r\nEND:VEVENT\r\nBEGIN:VALARM"))
    assert event["summary"] == "mira: x END:VEVENT BEGIN:VALARM"


def test_no_talks_are_an_empty_calendar() -> None:
    calendar = Calendar.from_ical(talk_calendar.write([], BERLIN, NOW))
    assert not calendar.walk("VEVENT")
