"""Programmes of others as sessions: pretalx's export and API."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from speakerbot.errors import InputRefused, SourceRefused, Unreachable
from speakerbot.formats.programmes import read
from speakerbot.formats.sessions import Guest, Programme, Session
from speakerbot.formats.web_source import Document

SAMPLES = Path(__file__).parents[2] / "samples"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
API = "https://programme.example/api/events/evenings/submissions/"


def read_json(document: Any, url: str | None = None, zone: ZoneInfo = BERLIN) -> Programme:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read([Document(data, "p.json", url)], zone, NOW)


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text())


def export(*events: dict[str, Any], **conference: Any) -> dict[str, Any]:
    """An export with one day and one room."""
    day = {"index": 1, "date": "2026-11-27", "rooms": {"Main Hall": list(events)}}
    return {
        "schedule": {
            "base_url": "https://programme.example",
            "conference": {"acronym": "evenings", "days": [day], **conference},
        }
    }


def event(**fields: Any) -> dict[str, Any]:
    return {
        "code": "KX7P2A", "title": "Kites", "date": "2026-11-27T19:00:00+01:00",
        "duration": "00:30", "persons": [{"code": "ADA9QX", "name": "Ada"}], **fields,
    }  # fmt: skip


def submission(**fields: Any) -> dict[str, Any]:
    slot = {"start": "2026-11-27T19:00:00+01:00", "room": {"name": {"en": "Main Hall"}}}
    return {
        "code": "KX7P2A", "title": "Kites", "state": "confirmed", "duration": 30,
        "speakers": [{"code": "ADA9QX", "name": "Ada", "answers": []}], "slots": [slot], **fields,
    }  # fmt: skip


def one(document: Any, **how: Any) -> Session:
    [session] = read_json(document, **how).sessions
    return session


def refused(document: Any) -> str:
    with pytest.raises((InputRefused, SourceRefused)) as caught:
        read_json(document)
    return str(caught.value)


# --- the export


def test_the_sample_of_an_export_reads() -> None:
    programme = read_json(sample("evenings.schedule.json"))
    assert programme.source == "pretalx:programme.example/evenings:"
    assert programme.sessions[1] == Session(
        id="T3M8ZD",
        topic="What a queue owes its consumers",
        guests=(Guest("Kaz Okonkwo", key="KAZ4WB"), Guest("Liv Sandberg", key="LIV2RN")),
        day=date(2026, 11, 27),
        starts_at=time(19, 30),
        length=45,
        room="Main Hall",
        link="https://programme.example/evenings/talk/T3M8ZD/",
        series="T3M8ZD",
    )


def test_day_and_start_are_the_communitys() -> None:
    session = one(export(event()), zone=ZoneInfo("Asia/Tokyo"))
    assert (session.day, session.starts_at) == (date(2026, 11, 28), time(3, 0))


def test_a_time_without_an_offset_is_in_the_conferences_zone() -> None:
    there = export(event(date="2026-11-27T19:00:00"), time_zone_name="America/New_York")
    assert one(there).starts_at == time(1, 0)


def test_where_it_was_fetched_names_the_host_whatever_the_export_claims() -> None:
    programme = read_json(export(event()), url="https://evil.example/schedule.json")
    assert programme.source == "pretalx:evil.example/evenings:"


@pytest.mark.parametrize(
    ("duration", "minutes"),
    [("00:30", 30), ("1:05", 65), ("1:00:00", 24 * 60), (45, 45), ("soon", None), ("00:00", None),
     ("9999:00", None), ("99:99:99:99", None)],
)  # fmt: skip
def test_durations(duration: Any, minutes: int | None) -> None:
    assert one(export(event(duration=duration))).length == minutes


def test_old_exports_have_the_code_in_the_address_of_the_page() -> None:
    old = event(url="https://pretalx.com/democon/talk/G9JGWY/", guid="8079583e")
    del old["code"]
    assert one(export(old)).id == "G9JGWY"


def test_exports_of_others_are_known_by_their_guid() -> None:
    other = event(guid="8079583e-8321-506c-95af-fd2903a5f075")
    del other["code"]
    assert one(export(other)).id == "8079583e-8321-506c-95af-fd2903a5f075"


def test_a_talk_given_twice_is_two_sessions_in_the_order_of_their_times() -> None:
    later = event(date="2026-11-28T10:00:00+01:00")
    sessions = read_json(export(later, event())).sessions
    assert [(each.id, each.day) for each in sessions] == [
        ("KX7P2A", date(2026, 11, 27)),
        ("KX7P2A-2", date(2026, 11, 28)),
    ]


def test_the_old_name_of_a_persons_name_is_read() -> None:
    assert one(export(event(persons=[{"id": 7, "public_name": "Ada"}]))).guests == (Guest("Ada"),)


def test_what_is_written_there_is_cut_and_made_plain() -> None:
    wild = event(title="Kites\n\x1b[31m" + "x" * 9000, url="javascript:alert(1)", room="R" * 900)
    session = one(export(wild))
    assert session.topic.startswith("Kites [31mxx")
    assert len(session.topic) == 500
    assert session.link is None
    assert len(session.room or "") == 100


# --- the API


def test_the_sample_of_the_api_reads() -> None:
    programme = read_json(sample("evenings.submissions.json"), url=API)
    assert programme.source == "pretalx:programme.example/evenings:"
    panel = programme.sessions[3]
    assert (panel.id, panel.day) == ("Q9D5LV", None)
    ids = [[guest.user_id for guest in session.guests] for session in programme.sessions[:3]]
    assert ids == [["802345678901234561"], ["802345678901234562", "802345678901234563"], [None]]


def test_export_and_api_of_one_event_know_a_session_by_the_same_id() -> None:
    exported = read_json(
        sample("evenings.schedule.json"), url="https://programme.example/schedule.json"
    )
    listed = read_json(sample("evenings.submissions.json"), url=API)
    ids = [programme.id_of(programme.sessions[0]) for programme in (exported, listed)]
    assert ids == ["pretalx:programme.example/evenings:KX7P2A"] * 2
    assert exported.sessions[0].link == listed.sessions[0].link


def test_several_pages_are_one_programme() -> None:
    pages = [
        Document(json.dumps({"results": [submission(code=code)]}).encode(), "p", API)
        for code in ("A1B2", "C3D4")
    ]
    assert [session.id for session in read(pages, BERLIN, NOW).sessions] == ["A1B2", "C3D4"]


@pytest.mark.parametrize("state", ["submitted", "rejected", "draft", "deleted"])
def test_what_is_not_accepted_is_nobodys_business(state: str) -> None:
    assert read_json({"results": [submission(state=state)]}).sessions == ()


@pytest.mark.parametrize("state", ["canceled", "withdrawn"])
def test_what_is_called_off_says_so(state: str) -> None:
    assert one({"results": [submission(state=state)]}).cancelled


def test_a_slot_that_is_not_released_yet_is_no_time() -> None:
    hidden = {"start": "2026-11-27T19:00:00+01:00", "room": None, "is_visible": False}
    assert one({"results": [submission(slots=[hidden])]}).day is None


def test_slots_are_read_and_breaks_left_out() -> None:
    """As …/slots/ lists them."""
    slot = {
        "id": 5, "start": "2026-11-27T19:00:00+01:00", "end": "2026-11-27T19:40:00+01:00",
        "room": {"name": "Main Hall"},
        "submission": {"code": "KX7P2A", "title": "Kites", "speakers": [{"name": "Ada"}]},
    }  # fmt: skip
    pause = {"id": 6, "start": slot["start"], "submission": None, "description": {"en": "Break"}}
    session = one({"results": [slot, pause]})
    assert (session.id, session.length, session.room) == ("KX7P2A", 40, "Main Hall")


def test_the_lists_of_older_versions_read() -> None:
    old = submission(
        slots=None, slot={"start": "2026-11-27T19:00:00+01:00", "room": {"en": "Main Hall"}}
    )
    assert one({"results": [old]}).room == "Main Hall"


@pytest.mark.parametrize(
    ("answer", "user_id", "handle"),
    [
        ("802345678901234561", "802345678901234561", None),
        (" <@!802345678901234561> ", "802345678901234561", None),
        ("@ada", None, "ada"),
        ("123", None, "123"),
    ],
)
@pytest.mark.parametrize(
    "question",
    [
        {"identifier": "DISCORD_ID", "question": {"en": "How do we reach you?"}},
        {"identifier": "A7", "question": {"en": "Your Discord name", "de": "Dein Name"}},
        {"question": "discord?"},
    ],
)
def test_an_answer_about_discord_is_who_they_are_there(
    question: Any, answer: str, user_id: str | None, handle: str | None
) -> None:
    answers = [
        {"answer": "999999999999999999", "question": {"question": {"en": "Your phone number"}}},
        {"answer": answer, "question": question},
    ]
    row = submission(speakers=[{"name": "Ada", "code": "A", "answers": answers}])
    assert one({"results": [row]}).guests == (Guest("Ada", user_id, handle, "A"),)


def test_an_answer_about_the_session_is_its_only_speakers() -> None:
    answers = [{"answer": "802345678901234561", "question": {"identifier": "discord"}}]
    assert one({"results": [submission(answers=answers)]}).guests[0].user_id is not None
    two = submission(answers=answers, speakers=[{"name": "Ada"}, {"name": "Kaz"}])
    assert [guest.user_id for guest in one({"results": [two]}).guests] == [None, None]


# --- bad input


def test_a_list_that_changed_while_it_was_read_is_asked_for_again() -> None:
    """A row that moved from the second page to the first, in between, came on neither."""
    pages = [
        Document(json.dumps({"count": 3, "results": [submission(code=code)]}).encode(), "p", API)
        for code in ("A1B2", "C3D4")
    ]
    with pytest.raises(Unreachable, match="2 of 3 rows came"):
        read(pages, BERLIN, NOW)


def test_one_saved_page_of_several_is_not_the_whole_programme() -> None:
    assert "holds 1 of 120 rows" in refused({"count": 120, "results": [submission()]})


def test_a_name_of_an_event_cannot_be_mistaken_for_another_source() -> None:
    programme = read_json(export(event(), acronym="a:b/c"), url="https://x.example/s.json")
    assert programme.source == "pretalx:x.example/a_b_c:"


def test_a_zone_that_does_not_exist_matters_only_where_a_time_has_no_offset() -> None:
    programme = read_json(export(event(), time_zone_name="Mars/Base"))
    assert programme.sessions[0].starts_at == time(19)
    assert "Mars/Base" in programme.notes[0]


def test_every_session_that_cannot_be_read_is_named_at_once() -> None:
    rows = [
        submission(code="A1B2"),
        submission(code="BAD1", title=" "),
        submission(code="BAD2", slots=[{"start": "tomorrow"}]),
        {"title": "no code"},
        submission(code="BAD3", slots=[{"start": "3999-01-01T00:00:00Z"}]),
        submission(code="BAD4", speakers=["ADA9QX"]),
    ]
    said = refused({"results": rows})
    assert "row 2: it has no title" in said
    assert "row 3: Invalid RFC3339 encoded datetime - at `$.slots[0].start`" in said
    assert "row 4: Object missing required field `code`" in said
    assert "row 5: 3999-01-01 is out of range" in said
    assert "row 6: speaker ADA9QX is only named; add ?expand=" in said
    assert "row 1" not in said


def test_in_an_export_the_place_is_day_room_and_number() -> None:
    said = refused(export(event(), event(code="X", date=None), event(code="Y", title=None)))
    assert "day 1, Main Hall, session 2: it has no date" in said
    assert "day 1, Main Hall, session 3: it has no title" in said


@pytest.mark.parametrize(
    "html", ["<!DOCTYPE html><html>", "  \n<html lang=en>", "\ufeff<!doctype html>"]
)
def test_a_web_page_is_said_to_be_one(html: str) -> None:
    assert "is a web page, not a programme" in refused(html.encode())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x00\xff", "it is neither text nor .xlsx"),
        (b"<?xml version='1.0'?><schedule/>", "is XML; pretalx writes the same as JSON"),
        (b"{}", "neither an export of pretalx"),
        (b'{"schedule": []}', "is not JSON as pretalx writes it"),
        (b'{"schedule": {"conference"', "is not JSON"),
        (b'{"results": {}}', "is not JSON as pretalx writes it"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"results": [' + b"[" * 100_000, "is not JSON"),
        (b'{"results": [{"code": "\xff\xfe"}]}', "row 1: "),
        (b"[1, 2]", "row 1: Expected `object`"),
    ],
)
def test_what_is_not_a_programme_is_refused(document: bytes, why: str) -> None:
    assert why in refused(document)
