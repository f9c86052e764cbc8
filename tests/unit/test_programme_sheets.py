"""Sheets as programmes that are read again and again."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from speakerbot.errors import InputRefused
from speakerbot.formats.programmes import read
from speakerbot.formats.sessions import Guest, Programme, Session
from speakerbot.formats.web_source import Document

SAMPLES = Path(__file__).parents[2] / "samples"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
HEAD = "ID,Speaker,Title,Date"
PUBLISHED = "https://docs.example/spreadsheets/d/e/2PACX-secret/pub"


def read_sheet(text: str | bytes, source: str | None = None, **mapped: str) -> Programme:
    data = text.encode() if isinstance(text, str) else text
    document = Document(data, "p.csv", source and source.partition("?")[0], source)
    return read([document], BERLIN, NOW, mapped=mapped)


def one(text: str) -> Session:
    [session] = read_sheet(text).sessions
    return session


def refused(text: str) -> str:
    with pytest.raises(InputRefused) as caught:
        read_sheet(text)
    return str(caught.value)


def test_the_sample_reads() -> None:
    programme = read_sheet((SAMPLES / "evenings.csv").read_bytes())
    assert programme.stable_ids
    assert programme.sessions[1] == Session(
        id="T3M8ZD",
        topic="What a queue owes its consumers",
        guests=(
            Guest("Kaz Okonkwo", "802345678901234562"),
            Guest("Liv Sandberg", "802345678901234563"),
        ),
        day=date(2026, 11, 27),
        starts_at=time(19, 30),
        length=45,
        room="Main Hall",
        link="https://programme.example/evenings/talk/T3M8ZD/",
    )
    assert programme.sessions[2].guests == (Guest("Mirela Dobrev"),)


def test_without_a_column_for_ids_a_row_is_known_by_speaker_and_title() -> None:
    text = "Speaker,Title,Date\nAda,Kites,2026-11-27\nAda,Dragons,2026-11-28\n"
    programme = read_sheet(text)
    moved = read_sheet(text.replace("2026-11-27", "2026-12-04").replace("Ada", " ada"))
    assert not programme.stable_ids
    assert [one.id for one in programme.sessions] == [one.id for one in moved.sessions]


def test_the_same_twice_without_ids_is_two_sessions() -> None:
    sessions = read_sheet("Speaker,Title,Date\nAda,K,2026-11-27\nAda,K,2026-11-28\n").sessions
    assert sessions[1].id == f"{sessions[0].id}-2"


def test_a_row_without_a_date_has_no_time_yet() -> None:
    assert one(f"{HEAD}\n1,Ada,Kites,\n").day is None


@pytest.mark.parametrize("status", ["cancelled", "Canceled", "called off"])
def test_a_status_calls_off(status: str) -> None:
    assert one(f"{HEAD},Status\n1,Ada,Kites,2026-11-27,{status}\n").cancelled


@pytest.mark.parametrize(
    ("cell", "guest"),
    [
        ("802345678901234561", Guest("Ada", "802345678901234561")),
        ("<@802345678901234561>", Guest("Ada", "802345678901234561")),
        ("@ada.codes", Guest("Ada", handle="ada.codes")),
        ("", Guest("Ada")),
    ],
)
def test_the_column_for_discord_holds_an_id_or_a_name(cell: str, guest: Guest) -> None:
    assert one(f"{HEAD},Discord\n1,Ada,Kites,2026-11-27,{cell}\n").guests == (guest,)


def test_every_bad_cell_is_named_at_once() -> None:
    said = refused(
        f"{HEAD},Start,Discord ID,Link\n"
        "1,Ada,Kites,2026-11-27,7pm,,\n"
        "2,Ada,,2026-11-28,,,\n"
        "3,Ada,Owls,soon,25:00,8.02E+17,nowhere\n"
        "4,Ada,Newts,26 Nov,,,\n"
        "5,Ada,Eels,2027-03-28,02:30,,\n"
        "1,Kaz,Bats,2026-12-01,,,\n"
    )
    assert "line 3, Title: missing" in said
    assert "line 4, Date: 'soon' is not a date" in said
    assert "line 4, Start: '25:00' is not a clock time" in said
    assert "line 4, Discord ID: '8.02E+17' was a Discord id" in said
    assert "line 4, Link: 'nowhere' is not a link" in said
    assert "line 5, Date: '26 Nov' has no year" in said
    assert "line 6, Start: 02:30 does not exist on 2027-03-28 in Europe/Berlin" in said
    assert "1: two sessions have this id: 'Bats' and 'Kites'" in said
    assert "line 2" not in said


def test_ambiguous_days_and_months_are_refused() -> None:
    assert "can be 3 December 2026 or 12 March 2026" in refused(f"{HEAD}\n1,Ada,K,03/12/2026\n")


def test_a_sheet_without_the_columns_says_which_it_needs() -> None:
    assert "Title" in refused("Who,What\nAda,Kites\n")


def test_columns_may_be_mapped() -> None:
    text = "No,Who,What,Night\n1,Ada,Kites,2026-11-27\n"
    [session] = read_sheet(
        text, No="session", Who="discordUsername", What="topic", Night="scheduledDate"
    ).sessions
    assert (session.id, session.topic) == ("1", "Kites")


def test_sheets_of_one_document_are_sources_of_their_own_and_show_no_secret() -> None:
    text = f"{HEAD}\n1,Ada,Kites,2026-11-27\n"
    first = read_sheet(text, f"{PUBLISHED}?gid=0&output=csv").source
    second = read_sheet(text, f"{PUBLISHED}?gid=7&output=csv").source
    assert first != second
    assert first.startswith("sheet:docs.example/")
    assert "2PACX" not in first
