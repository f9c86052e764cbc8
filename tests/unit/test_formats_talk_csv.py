"""Talks as CSV: from spreadsheets of any country, and safe to open in one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.domain.talk import LONGEST, Speaker, Talk
from speakerbot.formats import talk_files, talk_import
from speakerbot.formats.ids import talk_id
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Kind, Source
from speakerbot.formats.spreadsheet import guarded, unguarded

UTC_ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
HEADER = "discordUserId,discordUsername,topic,scheduledDate"
MIRA, KAZ, THREAD = "802345678901234561", "802345678901234564", "1301234567890123401"
ROW = f"{MIRA},mira,Evals,2026-11-06"


def source(text: str) -> Source:
    return Source(text, "csv", ImportProblems("talks.csv"))


def imported(text: str) -> list[Talk]:
    read = source(text)
    entries = list(talk_files.read(read, NOW.date()))
    change = talk_import.plan(entries, [], NOW, read.problems, UTC_ZONE, one_a_date=False)
    read.problems.refuse()
    return change.new


def problems(text: str) -> list[str]:
    read = source(text)
    list(talk_files.read(read, NOW.date()))
    return read.problems.found


def test_the_four_required_columns_are_enough() -> None:
    [talk] = imported(f"{HEADER}\n{ROW}\n")
    assert (talk.user_id, talk.username, talk.topic) == ("802345678901234561", "mira", "Evals")
    assert talk.date == date(2026, 11, 6)
    assert talk.booked_at == NOW
    assert len(talk.id) == 24


def test_every_column_is_read() -> None:
    [talk] = imported(
        "_id,discordUserId,discordUsername,topic,scheduledDate,starts_at,bookingTimestamp,"
        "talkCompleted,threadId,schedulerUserId,schedulerUsername,reminders.sentTminus1At,"
        "reminders.sentDayOfAt,Notes\n"
        f"ObjectId(afdcd4f7b927d4b1d7f6ce76),{MIRA},mira,Evals,2026-11-06T00:00:00.000Z,19:30,"
        f"2026-10-14T19:22:31.118Z,TRUE,{THREAD},{KAZ},kaz,2026-11-05T16:00:02.413Z,"
        "2026-11-06T16:00:01Z,bring a laptop\n"
    )
    assert talk == Talk(
        id="afdcd4f7b927d4b1d7f6ce76",
        user_id=MIRA,
        username="mira",
        topic="Evals",
        date=date(2026, 11, 6),
        booked_at=datetime(2026, 10, 14, 19, 22, 31, 118000, tzinfo=UTC),
        thread_id=THREAD,
        completed=True,
        scheduler_user_id=KAZ,
        scheduler_username="kaz",
        starts_at=time(19, 30),
        sent_tminus1_at=datetime(2026, 11, 5, 16, 0, 2, 413000, tzinfo=UTC),
        sent_day_of_at=datetime(2026, 11, 6, 16, 0, 1, tzinfo=UTC),
        extra={"Notes": "bring a laptop"},
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separators_of_all_spreadsheets_are_known(separator: str) -> None:
    text = f"{HEADER}\r\n{ROW}\r\n".replace(",", separator)
    assert [talk.topic for talk in imported(text)] == ["Evals"]


def test_a_topic_may_hold_commas_quotes_and_lines() -> None:
    [talk] = imported(f'{HEADER}\n{MIRA},mira,"Evals, ""measured""\ntwice",2026-11-06\n')
    assert talk.topic == 'Evals, "measured"\ntwice'


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (f"{MIRA},mira,,2026-11-06", "line 3, topic: missing"),
        (f"{MIRA},mira", "line 3, topic: missing"),
        ("8.02346E+17,mira,Evals,2026-11-06", "a spreadsheet turned it into a number"),
        (
            f"{MIRA},mira,Evals,some day",
            "line 3, scheduledDate: 'some day' is not a date; write YYYY-MM-DD",
        ),
        (
            f"{MIRA},mira,Evals,9999-12-31",
            "line 3, scheduledDate: 9999-12-31 is out of range; dates go",
        ),
        (f"{MIRA},mira,Evals,2026-11-06T19:30Z", "2026-11-06T19:30:00Z is not midnight in UTC"),
        (f"{MIRA},mira,Evals, measured,2026-11-06", "5 cells, but the header names 4 columns"),
        (f'{MIRA},mira,"Evals', "line 3: not CSV: unexpected end of data"),
        (f"{MIRA},mira,Ev\0als,2026-11-06", "line 3, topic: holds a zero byte"),
        (
            f"{MIRA},mira,{'x' * 200_000},2026-11-06",
            "line 3: not CSV: field larger than field limit",
        ),
    ],
)
def test_a_bad_row_is_named_with_its_line(rows: str, problem: str) -> None:
    found = problems(f"{HEADER}\n{ROW}\n{rows}\n")
    assert any(problem in one for one in found), found


def test_a_row_after_a_text_of_several_lines_is_named_by_its_own_line() -> None:
    [found] = problems(f'{HEADER}\n{MIRA},mira,"two\nlines",2026-11-06\n{MIRA},mira,Evals,never\n')
    assert found.startswith("line 4, scheduledDate")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (
            "discordUserId,discordUsername,scheduledDate",
            "line 1: no column Title; the header names discordUserId",
        ),
        (f"{HEADER},topic", "line 1: two columns are called topic"),
        ("802,mira,Evals,2026-11-06", "line 1: no column Discord ID, Speaker, Title, Date"),
    ],
)
def test_a_header_that_will_not_do_is_refused(header: str, problem: str) -> None:
    [found] = problems(f"{header}\n{ROW}\n")
    assert problem in found


def test_a_column_that_could_not_be_kept_is_refused() -> None:
    [found] = problems(f"{HEADER},reminders.sentNever\n{ROW},x\n")
    assert found.startswith("line 1: no such column as reminders.sentNever")


@pytest.mark.parametrize("topic", ['=HYPERLINK("http://x")', "+1", "-1", "@everyone", "\tx"])
def test_no_cell_begins_like_a_formula(topic: str) -> None:
    """User text must do nothing when an organiser opens the export in a spreadsheet."""
    talk = Talk("afdcd4f7b927d4b1d7f6ce76", MIRA, "=mira", topic, date(2026, 11, 6))
    text = "".join(talk_files.write_csv([talk]))
    for row in csv.reader(io.StringIO(text)):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    [back] = imported(text)
    assert (back.username, back.topic) == ("=mira", topic)


def is_talk_id(text: str) -> bool:
    try:
        return talk_id(text) == text
    except ValueError:
        return False


@given(st.text())
def test_any_cell_comes_back_from_its_guard(text: str) -> None:
    assert unguarded(guarded(text)) == text


filled = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
filled = filled.filter(str.strip)
ids = st.integers(10**16, 10**20 - 1).map(str).filter(lambda digits: not digits.endswith("000"))
instants = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
)
talks = st.builds(
    Talk,
    id=st.integers(0, 2**96 - 1).map(lambda number: f"{number:024x}") | filled.filter(is_talk_id),
    user_id=ids,
    username=filled,
    topic=filled,
    date=st.dates(date(1970, 1, 1), date(2999, 12, 31)),
    booked_at=instants,
    thread_id=st.none() | ids,
    completed=st.booleans(),
    scheduler_user_id=st.none() | ids,
    scheduler_username=st.none() | filled,
    starts_at=st.none() | st.integers(0, 1439).map(lambda m: time(m // 60, m % 60)),
    sent_tminus1_at=st.none() | instants,
    sent_day_of_at=st.none() | instants,
    length=st.none() | st.integers(1, LONGEST),
    room=st.none() | filled,
    link=st.none() | st.just("https://example.org/a?b=c,d"),
    co_speakers=st.lists(st.builds(Speaker, ids, filled), max_size=8).map(tuple),
    source_id=st.none() | filled,
)


@given(st.lists(talks, max_size=4, unique_by=lambda talk: talk.id))
def test_an_export_of_any_talks_is_unchanged_by_its_import(stored: list[Talk]) -> None:
    forms: dict[Kind, Iterable[str]] = {
        "csv": talk_files.write_csv(stored),
        "json": talk_files.write_json(stored),
    }
    for form, text in forms.items():
        read = Source("".join(text), form, ImportProblems(f"talks.{form}"))
        entries = list(talk_files.read(read, NOW.date()))
        change = talk_import.plan(
            entries, stored, NOW, read.problems, ZoneInfo("Europe/Berlin"), one_a_date=False
        )
        assert read.problems.found == []
        assert [(row.change, row.after) for row in change.rows] == [
            ("unchanged", talk) for talk in stored
        ]
