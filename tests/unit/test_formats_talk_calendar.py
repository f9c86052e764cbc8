"""The calendar is what other calendar programs can read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.parser import isoparse
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar
from icalendar.cal import Component

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.formats import calendar_file

NOW = datetime(2026, 11, 20, 16, 5, 0, 123000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def talk(
    topic: str = "Evals", starts_at: time | None = None, day: date = date(2026, 11, 27)
) -> CalendarEntry:
    return CalendarEntry(
        "afdcd4f7b927d4b1d7f6ce76",
        0,
        day,
        starts_at,
        topic,
        "mira",
        cancelled=False,
        changed_at=NOW,
    )


def written(entries: Iterable[CalendarEntry], zone: ZoneInfo = BERLIN) -> str:
    return "".join(calendar_file.write_calendar(entries, zone))


def parsed(entry: CalendarEntry, zone: ZoneInfo = BERLIN) -> tuple[Component, Component, str]:
    text = written([entry], zone)
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


def test_a_start_is_an_instant_with_an_end() -> None:
    """No program has to know the community's time zone to show 19:30 in Berlin right."""
    for day in (date(2026, 7, 3), date(2026, 11, 27)):
        calendar, event, text = parsed(talk(starts_at=time(19, 30), day=day))
        begin = datetime(day.year, day.month, day.day, 19, 30, tzinfo=BERLIN).astimezone(UTC)
        assert f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\r\n" in text
        assert isoparse(f"{begin:%Y%m%dT%H%M%SZ}") == event.decoded("dtstart") == begin
        assert event.decoded("dtend") == begin + timedelta(hours=1)
        assert not calendar.walk("VTIMEZONE")


def test_length_room_and_link_are_shown() -> None:
    shown = replace(
        talk(starts_at=time(19, 30)), length=45, room="Hall; 2, left", link="https://x.example/?a,b"
    )
    _, event, _ = parsed(shown)
    assert event.decoded("dtend") - event.decoded("dtstart") == timedelta(minutes=45)
    assert event["location"] == "Hall; 2, left"
    assert event["url"] == "https://x.example/?a,b"


def test_a_version_has_its_sequence_and_its_time() -> None:
    _, event, text = parsed(replace(talk(), sequence=3))
    assert event["sequence"] == 3
    assert event["status"] == "CONFIRMED"
    assert event.decoded("dtstamp") == event.decoded("last-modified") == NOW.replace(microsecond=0)
    assert "METHOD" not in text


def test_a_cancelled_talk_keeps_its_id_and_says_so() -> None:
    for start in (None, time(19, 30)):
        _, event, _ = parsed(replace(talk(starts_at=start), sequence=4, cancelled=True))
        assert event["uid"] == "afdcd4f7b927d4b1d7f6ce76@speakerbot"
        assert (event["status"], event["sequence"]) == ("CANCELLED", 4)


def test_the_same_talks_are_the_same_text() -> None:
    """Whoever fetches it sees by its bytes that nothing changed."""
    entries = [talk(), replace(talk(starts_at=time(19)), talk_id="b")]
    assert written(entries) == written(iter(entries))


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


def test_control_characters_are_left_out() -> None:
    _, event, text = parsed(talk("a\x00b\x07c\x7fd\x85e"))
    assert event["summary"] == "mira: a b c d e"
    assert not {"\x00", "\x07", "\x7f", "\x85"} & set(text)


def test_no_talks_are_an_empty_calendar() -> None:
    calendar = Calendar.from_ical(written([]))
    assert not calendar.walk("VEVENT")


READERS = {
    "node-ical": """
        const events = Object.values(require('node-ical').sync.parseICS(text));
        show(events.filter(each => each.type === 'VEVENT').map(each => [
          each.uid, each.start, each.end, each.summary, each.location, each.datetype === 'date']));
    """,
    "ical.js": """
        const loaded = require('ical.js'), ical = loaded.default || loaded;
        const events = new ical.Component(ical.parse(text)).getAllSubcomponents('vevent');
        show(events.map(each => new ical.Event(each)).map(each => [
          each.uid, each.startDate.toJSDate(), each.endDate.toJSDate(), each.summary,
          each.location, each.startDate.isDate]));
    """,
}


@pytest.mark.parametrize("library", READERS)
def test_other_programs_read_the_same(library: str, tmp_path: Path) -> None:
    """In a zone of its own, which is not the community's."""
    summer = replace(
        talk("Evals; a, b — ünï 日本語 " * 5, time(19, 30), date(2026, 7, 3)), length=45
    )
    whole_day = replace(talk("Looms"), talk_id="b", room="Hall, 2")
    file = tmp_path / "talks.ics"
    file.write_bytes(written([summer, whole_day]).encode())
    assert read_by(library, file) == [
        [
            f"{summer.talk_id}@speakerbot",
            "2026-07-03T17:30:00.000Z",
            "2026-07-03T18:15:00.000Z",
            " ".join(f"mira: {summer.topic}".split()),
            None,
            False,
        ],
        [
            "b@speakerbot",
            "2026-11-27T05:00:00.000Z",  # midnight where the program is
            "2026-11-28T05:00:00.000Z",
            "mira: Looms",
            "Hall, 2",
            True,
        ],
    ]


def read_by(library: str, file: Path) -> list[list[Any]]:
    """What Node's library of that name makes of a calendar; skips where it is not installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node is not installed")
    installed = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True)
    path = os.pathsep.join((os.environ.get("NODE_PATH", ""), installed.stdout.strip()))
    script = f"""
        const text = require('fs').readFileSync({json.dumps(str(file))}, 'utf8');
        const show = events => console.log(JSON.stringify(events.map(
          event => event.map(value => value ?? null))));
        {READERS[library]}
    """
    env = {**os.environ, "NODE_PATH": path, "TZ": "America/New_York"}
    done = subprocess.run([node, "-e", script], env=env, capture_output=True, text=True)
    if "Cannot find module" in done.stderr:
        pytest.skip(f"Node's {library} is not installed")
    assert done.returncode == 0, done.stderr
    events: list[list[Any]] = json.loads(done.stdout)
    return events
