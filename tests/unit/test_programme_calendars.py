"""Calendars as programmes: what RFC 5545 allows, and what people do with it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from speakerbot.errors import InputRefused, SourceRefused
from speakerbot.formats.calendar_file import MOST_REPEATS
from speakerbot.formats.programmes import read
from speakerbot.formats.sessions import Guest, Programme, Session
from speakerbot.formats.web_source import Document

SAMPLES = Path(__file__).parents[2] / "samples"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
START = "DTSTART:20261127T180000Z"


def read_ics(data: bytes, url: str | None = None) -> Programme:
    return read([Document(data, "p.ics", url)], BERLIN, NOW)


def calendar(*events: str, prodid: str = "-//x//EN", more: str = "") -> bytes:
    """Each event is its lines; SUMMARY and UID are added where they are missing."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:{prodid}", *more.splitlines()]
    for number, event in enumerate(events):
        lines += ["BEGIN:VEVENT", "DTSTAMP:20261101T090000Z"]
        if "UID:" not in event:
            lines.append(f"UID:e{number}")
        if "SUMMARY:" not in event:
            lines.append("SUMMARY:Kites")
        lines += [*event.splitlines(), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def sessions(*events: str, **how: str) -> list[Session]:
    return list(read_ics(calendar(*events, **how)).sessions)


def one(*events: str, **how: str) -> Session:
    [session] = sessions(*events, **how)
    return session


def refused(data: bytes) -> str:
    with pytest.raises((InputRefused, SourceRefused)) as caught:
        read_ics(data)
    return str(caught.value)


def test_the_sample_reads() -> None:
    """Folded lines, escaped commas, a zone, UTC, a duration and a whole day."""
    first, second, third = read_ics((SAMPLES / "evenings.ics").read_bytes()).sessions
    assert first == Session(
        id="kx7p2a@programme.example",
        topic="Evals that catch regressions before users do",
        guests=(Guest("Ada Ferreira", "802345678901234561"),),
        day=date(2026, 11, 27),
        starts_at=time(19, 0),
        length=30,
        room="Main Hall",
        link="https://programme.example/evenings/talk/KX7P2A/",
    )
    assert (second.starts_at, second.length) == (time(19, 30), 45)
    assert second.guests == (
        Guest("Kaz Okonkwo", "802345678901234562"),
        Guest("Liv Sandberg", "802345678901234563"),
    )
    assert (third.day, third.starts_at, third.length) == (date(2026, 11, 28), None, None)


@pytest.mark.parametrize(
    ("start", "at"),
    [
        ("DTSTART:20261127T180000Z", time(19, 0)),
        ("DTSTART:20261127T190000", time(19, 0)),  # floating: the community's
        ("DTSTART;TZID=America/New_York:20261127T130000", time(19, 0)),
        ("DTSTART;TZID=W. Europe Standard Time:20261127T190000", time(19, 0)),  # as Outlook
        ("DTSTART;VALUE=DATE:20261127", None),
    ],
)
def test_starts(start: str, at: time | None) -> None:
    session = one(start)
    assert (session.day, session.starts_at) == (date(2026, 11, 27), at)


def test_a_zone_that_the_calendar_defines_itself_counts() -> None:
    own = (
        "BEGIN:VTIMEZONE\nTZID:Club\nBEGIN:STANDARD\nDTSTART:19700101T000000\n"
        "TZOFFSETFROM:+0330\nTZOFFSETTO:+0330\nEND:STANDARD\nEND:VTIMEZONE"
    )
    assert one("DTSTART;TZID=Club:20261127T213000", more=own).starts_at == time(19, 0)


@pytest.mark.parametrize("end", ["DTEND:20261127T184500Z", "DURATION:PT45M"])
def test_lengths(end: str) -> None:
    assert one(f"{START}\n{end}").length == 45


def test_a_location_that_is_an_address_is_the_link() -> None:
    session = one(f"{START}\nLOCATION:https://meet.example/kites")
    assert (session.room, session.link) == (None, "https://meet.example/kites")


@pytest.mark.parametrize("how", [{}, {"more": "METHOD:CANCEL"}])
def test_cancelled_events_are_called_off(how: dict[str, str]) -> None:
    status = "" if how else "\nSTATUS:CANCELLED"
    assert one(START + status, **how).cancelled


def test_of_two_versions_of_an_event_the_later_one_counts() -> None:
    versions = [f"UID:a\nSEQUENCE:{n}\n{START}\nSUMMARY:v{n}" for n in (2, 0, 1)]
    assert one(*versions).topic == "v2"


@pytest.mark.parametrize(
    ("prodid", "summary", "topic", "names"),
    [
        ("-//pretalx//pretalx.com//demo", "Kites - and more - Ada, Kaz", "Kites - and more",
         ["Ada", "Kaz"]),
        ("-//speakerbot//0.1.0//EN", "Ada: Kites: a talk", "Kites: a talk", ["Ada"]),
        ("-//Google Inc//EN", "Kites - Ada", "Kites - Ada", []),
    ],
)  # fmt: skip
def test_who_speaks_stands_in_the_title_where_the_program_is_known_to_write_it(
    prodid: str, summary: str, topic: str, names: list[str]
) -> None:
    session = one(f"{START}\nSUMMARY:{summary}", prodid=prodid)
    assert (session.topic, [guest.name for guest in session.guests]) == (topic, names)


def test_a_discord_id_alone_is_somebody_too() -> None:
    session = one(f"{START}\nDESCRIPTION:Discord: <@802345678901234561>")
    assert session.guests == (Guest("802345678901234561", "802345678901234561"),)


# --- repeated events


def days(event: str) -> list[tuple[date, time | None]]:
    return [(each.day or date.min, each.starts_at) for each in sessions(event)]


def test_a_series_is_right_across_the_change_of_the_clock() -> None:
    series = "DTSTART;TZID=Europe/Berlin:20261120T190000\nRRULE:FREQ=MONTHLY;BYDAY=3FR;COUNT=6"
    found = days(series)
    assert [str(day) for day, _ in found] == [
        "2026-11-20", "2026-12-18", "2027-01-15", "2027-02-19", "2027-03-19", "2027-04-16",
    ]  # fmt: skip
    assert {at for _, at in found} == {time(19, 0)}


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;COUNT=9",
        "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=5",
        "FREQ=YEARLY;BYMONTH=1,6;BYDAY=1MO;COUNT=2",
        "FREQ=DAILY;UNTIL=20261205T180000Z",
        "FREQ=WEEKLY;UNTIL=20261218",
    ],
)
def test_series_are_what_dateutil_makes_of_them(rule: str) -> None:
    first = datetime(2026, 11, 24, 18, tzinfo=UTC)
    judge = rrulestr(rule.replace("20261218", "20261218T235959Z"), dtstart=first)
    found = days(f"DTSTART:20261124T180000Z\nRRULE:{rule}")
    assert [day for day, _ in found] == [at.date() for at in judge]


def test_one_of_a_series_moves_is_off_or_left_out() -> None:
    series = (
        "UID:s\nDTSTART:20261124T180000Z\nRRULE:FREQ=WEEKLY;COUNT=4\nEXDATE:20261201T180000Z\n"
        "RDATE:20261230T180000Z"
    )
    moved = "UID:s\nRECURRENCE-ID:20261208T180000Z\nDTSTART:20261209T190000Z\nSUMMARY:Moved"
    off = "UID:s\nRECURRENCE-ID:20261215T180000Z\nDTSTART:20261215T180000Z\nSTATUS:CANCELLED"
    found = {each.id: each for each in sessions(moved, series, off)}
    assert sorted(found) == [
        "s/20261124T1800Z", "s/20261208T1800Z", "s/20261215T1800Z", "s/20261230T1800Z",
    ]  # fmt: skip
    assert found["s/20261208T1800Z"].day == date(2026, 12, 9)
    assert found["s/20261208T1800Z"].topic == "Moved"
    assert found["s/20261215T1800Z"].cancelled


def test_a_series_of_whole_days_repeats_days() -> None:
    assert days("DTSTART;VALUE=DATE:20261128\nRRULE:FREQ=WEEKLY;COUNT=2") == [
        (date(2026, 11, 28), None),
        (date(2026, 12, 5), None),
    ]


def test_an_endless_series_is_looked_at_for_a_while() -> None:
    found = sessions("DTSTART:19900101T180000Z\nRRULE:FREQ=WEEKLY")
    assert 55 < len(found) < 65
    assert len(sessions("DTSTART:20200101T180000Z\nRRULE:FREQ=DAILY")) == MOST_REPEATS


def test_a_count_counts_from_the_first_time() -> None:
    assert sessions("DTSTART:20260901T180000Z\nRRULE:FREQ=WEEKLY;COUNT=3") == []


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=0", "FREQ=SECONDLY", "FREQ=MINUTELY", "FREQ=HOURLY;INTERVAL=5",
        "FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=1,2,3;BYSECOND=1,2,3",
    ],
)  # fmt: skip
def test_a_rule_that_would_take_for_ever_is_refused(rule: str) -> None:
    assert "event 1 (e0): it repeats" in refused(calendar(f"{START}\nRRULE:{rule}"))


def test_a_rule_that_never_happens_is_no_session() -> None:
    assert sessions(f"{START}\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30") == []


# --- bad input


def test_a_calendar_of_rules_that_never_come_true_is_given_up() -> None:
    never = f"{START}\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"
    assert "take too long" in refused(calendar(*[never] * 200))


def test_a_calendar_of_too_many_events_is_refused() -> None:
    series = f"{START}\nRRULE:FREQ=DAILY"
    assert "more than 10,000 events" in refused(calendar(*[series] * 60))


def test_every_event_that_cannot_be_read_is_named_at_once() -> None:
    said = refused(
        calendar(
            START, "UID:bad1\nSUMMARY:no start", f"UID:bad2\nSUMMARY: \n{START}",
            "UID:bad3\nDTSTART:39990101T000000Z",
        )
    )  # fmt: skip
    assert "(bad1): it has no DTSTART" in said
    assert "(bad2): it has no title" in said
    assert "(bad3): 3999-01-01 is out of range" in said
    assert "(e0)" not in said


@pytest.mark.parametrize(
    "data",
    [
        b"BEGIN:VCALENDAR\r\nno colon\r\nEND:VCALENDAR\r\n",
        b"BEGIN:VCALENDAR\r\nEND:VEVENT\r\n",
        calendar(START)[:-40],
        b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:x\r\n",
    ],
)
def test_half_a_calendar_is_refused(data: bytes) -> None:
    assert "is not a calendar that can be read" in refused(data)


def test_what_an_address_may_hold_that_is_secret_is_not_kept() -> None:
    url = "https://calendar.example/ical/private-0123456789abcdef/basic.ics"
    source = read_ics(calendar(START), url).source
    assert source.startswith("ics:calendar.example/")
    assert "0123456789abcdef" not in source
