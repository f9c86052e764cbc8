"""Talks as mongoexport's JSON lines: read in every form it has, written so that it round-trips."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import ObjectId, json_util
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import InputRefused
from speakerbot.formats import talk_files, talk_import
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import LONGEST_LINE, Source, read_source

SAMPLES = Path(__file__).parents[2] / "samples" / "talks.jsonl"
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
AWARE = json_util.JSONOptions(tz_aware=True, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "_id": {"$oid": "afdcd4f7b927d4b1d7f6ce76"},
    "discordUserId": "802345678901234561",
    "discordUsername": "mira",
    "topic": "Evals",
    "scheduledDate": {"$date": "2026-11-06T00:00:00Z"},
}


def source(text: str) -> Source:
    return Source(text, "json", ImportProblems("talks.jsonl"))


def parsed(line: str) -> Any:
    """What MongoDB's own reader makes of it."""
    return json_util.loads(line, json_options=AWARE)


def imported(text: str) -> list[Talk]:
    """The talks of a file, into an empty store."""
    read = source(text)
    entries = list(talk_files.read(read, NOW.date()))
    change = talk_import.plan(entries, [], NOW, read.problems, ZoneInfo("UTC"), one_a_date=False)
    read.problems.refuse()
    return change.new


def problems(*documents: dict[str, Any] | str) -> list[str]:
    read = source("\n".join(d if isinstance(d, str) else json.dumps(d) for d in documents))
    assert not [entry for entry in talk_files.read(read, NOW.date()) if entry.values == {}]
    return read.problems.found


def test_every_field_of_the_samples_comes_back_as_it_was() -> None:
    """mongoexport, import, export: the same documents, unknown fields included."""
    text = SAMPLES.read_text()
    talks = imported(text)
    back = [parsed(line) for line in talk_files.write_json(talks)]
    expected = [parsed(line) for line in text.splitlines()]
    for document, was in zip(back, expected, strict=True):
        if was.get("reminders", {}).get("sentDayOfAt", ...) is None:
            del was["reminders"]["sentDayOfAt"]  # null and missing are the same: unsent
        if "bookingTimestamp" not in was:
            assert document.pop("bookingTimestamp") == NOW
        assert document == was


def test_canonical_extended_json_is_read_too() -> None:
    document = {
        "_id": ObjectId("afdcd4f7b927d4b1d7f6ce76"),
        "discordUserId": "802345678901234561",
        "discordUsername": "mira",
        "topic": "Evals",
        "scheduledDate": datetime(2026, 11, 6, tzinfo=UTC),
        "bookingTimestamp": datetime(2026, 10, 14, 19, 22, 31, 118000, tzinfo=UTC),
        "talkCompleted": True,
        "reminders": {"sentDayOfAt": datetime(1969, 12, 31, tzinfo=UTC)},
        "rating": 5,
        "score": 4.5,
        "seen": [datetime(2026, 1, 2, tzinfo=UTC)],
        "__v": 0,
    }
    canonical = json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)
    relaxed = json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS)
    assert canonical != relaxed
    [talk] = imported(canonical)
    assert [talk] == imported(relaxed)
    assert talk.booked_at == document["bookingTimestamp"]
    assert talk.completed
    assert talk.sent_day_of_at == datetime(1969, 12, 31, tzinfo=UTC)
    assert talk.extra == {
        "rating": 5,
        "score": 4.5,
        "seen": [{"$date": "2026-01-02T00:00:00Z"}],
    }


def test_ids_that_are_longs_are_read() -> None:
    """As mongoexport --jsonFormat=canonical writes them."""
    long = {"$numberLong": GOOD["discordUserId"]}
    [talk] = imported(json.dumps(GOOD | {"discordUserId": long, "threadId": long}))
    assert talk.user_id == talk.thread_id == GOOD["discordUserId"]


@pytest.mark.parametrize("ms", ["999999999999999", "-99999999999999"])
def test_a_date_beyond_the_calendar_refuses_nothing_where_nobody_uses_it(ms: str) -> None:
    far = {"$date": {"$numberLong": ms}}
    [talk] = imported(json.dumps(GOOD | {"until": far, "note": [far, {"until": far}]}))
    assert talk.extra == {"until": far, "note": [far, {"until": far}]}
    [line] = talk_files.write_json([talk])
    assert json.loads(line)["until"] == far


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_lines_end_as_they_do_anywhere(end: str) -> None:
    other = GOOD | {"_id": "second", "topic": "Looms"}
    assert len(imported(f"{json.dumps(GOOD)}{end}{json.dumps(other)}{end}")) == 2
    [found] = problems(f"{json.dumps(GOOD)}{end}{{}}{end}nonsense")[-1:]
    assert found.startswith("line 3: not JSON")


def test_a_json_array_is_read_like_lines() -> None:
    """``mongoexport --jsonArray``, also with ``--pretty``."""
    other = GOOD | {"_id": "second", "scheduledDate": {"$date": "2026-11-07T00:00:00.000Z"}}
    lines = f"{json.dumps(GOOD)}\n{json.dumps(other)}\n"
    assert imported(json.dumps([GOOD, other])) == imported(lines)
    assert imported(json.dumps([GOOD, other], indent=2)) == imported(lines)


@pytest.mark.parametrize("value", [None, {}, {"sentDayOfAt": None}])
def test_no_reminders_in_any_form_are_no_flags(value: object) -> None:
    [talk] = imported(json.dumps(GOOD | {"reminders": value}))
    assert (talk.sent_tminus1_at, talk.sent_day_of_at) == (None, None)


def test_a_missing_booking_time_is_now() -> None:
    [talk] = imported(json.dumps(GOOD))
    assert talk.booked_at == NOW


def test_unknown_fields_inside_our_subdocuments_are_kept() -> None:
    document = GOOD | {
        "reminders": {"sentDayOfAt": {"$date": "2026-11-06T16:00:00Z"}, "sentWeekBefore": 1},
        "speakerbot": {"startsAt": "19:30", "mood": "good"},
        "__v": 3,
    }
    [talk] = imported(json.dumps(document))
    assert talk.starts_at == time(19, 30)
    [line] = talk_files.write_json([talk])
    written = json.loads(line)
    del written["bookingTimestamp"]
    assert written == document | {"talkCompleted": False}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"topic": None}, "topic: missing"),
        ({"discordUsername": ""}, "discordUsername: missing"),
        ({"topic": 5}, "topic: must be a text, not a number"),
        ({"topic": True}, "topic: must be a text, not true"),
        ({"topic": "a\0b"}, "topic: holds a zero byte"),
        ({"discordUserId": "mira"}, "discordUserId: 'mira' is not a Discord id, which has"),
        ({"discordUserId": 802345678901234561}, "written as a text, in quotes"),
        ({"threadId": "8.02345678901235E+17"}, "a spreadsheet turned it into a number"),
        ({"scheduledDate": "2026-11-06"}, 'scheduledDate: must be a date, as {"$date"'),
        ({"scheduledDate": {"$date": "2026-11-06T18:00:00Z"}}, "is not midnight in UTC"),
        ({"scheduledDate": {"$date": "2026-11-06T00:00:00+02:00"}}, "2026-11-05T22:00:00Z is not"),
        ({"scheduledDate": {"$date": "2026-02-30T00:00:00Z"}}, "is not an ISO 8601 time"),
        ({"scheduledDate": {"$date": {"$numberLong": "9" * 18}}}, "beyond the year 9999"),
        ({"scheduledDate": {"$date": "9999-12-31T00:00:00Z"}}, "9999-12-31 is out of range"),
        ({"scheduledDate": {"$date": "3000-01-01T00:00:00Z"}}, "3000-01-01 is out of range"),
        ({"scheduledDate": {"$date": {"$numberLong": "-1000"}}}, "is not midnight"),
        ({"scheduledDate": {"$date": "1969-12-31T00:00:00Z"}}, "1969-12-31 is out of range"),
        ({"bookingTimestamp": {"$date": "9999-12-31T00:00:00Z"}}, "9999-12-31 is out of range"),
        ({"reminders": {"sentDayOfAt": {"$date": "1900-01-01T00:00:00Z"}}}, "is out of range"),
        ({"talkCompleted": "no"}, "talkCompleted: must be true or false, not a text"),
        ({"reminders": {"sentDayOfAt": "soon"}}, "reminders.sentDayOfAt: must be a date"),
        ({"reminders": "none"}, "reminders.: must be a document or null"),
        ({"speakerbot": {"startsAt": "25:00"}}, "speakerbot.startsAt: '25:00' is not a clock time"),
        ({"speakerbot": {"startsAt": "19:00+02:00"}}, "is not a clock time"),
        ({"_id": {"$oid": "afd"}}, "_id: {'$oid': 'afd'} is not the id of a talk"),
        ({"_id": "2026-11-06"}, "_id: '2026-11-06' is not the id of a talk"),
        ({"discordUserId": "802"}, "discordUserId: '802' is not a Discord id, which has 17 to 20"),
        ({"_id": "a\nb"}, "_id: 'a\\nb' is not the id of a talk"),
        ({"_id": 7}, "_id: 7 is not the id of a talk"),
        ({"note": 2**70}, "note: 1180591620717411303424 is too large a number"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_its_line(change: dict[str, Any], problem: str) -> None:
    other = GOOD | {"_id": "another"}
    [found] = problems(other, GOOD | change)
    assert found.startswith("line 2, ")
    assert problem in found


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"topic": "Evals"', "line 2: not JSON: it is truncated"),
        ("topic: Evals", "line 2: not JSON: invalid"),
        ('{"a": NaN}', "line 2: not JSON: invalid character at byte 7"),
        ("[1, 2]", "line 2: not a document"),
        ('"text"', "line 2: not a document"),
        ("{", "write each document on one line"),
        ('{"topic": "\\ud83d"}', "half a character"),
        ("[" * 100_000, "line 2: not JSON: nested too deeply"),
        ('{"topic": "' + "x" * LONGEST_LINE + '"}', "line 2: longer than"),
    ],
)
def test_a_line_that_is_not_a_document_is_named(line: str, problem: str) -> None:
    [found] = problems(GOOD, line)
    assert problem in found


def test_deep_nesting_in_an_unknown_field_is_refused() -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    [found] = problems(GOOD | {"note": deep})
    assert found == "line 1, note: nested more than 100 levels deep"


def test_every_bad_line_is_named_at_once() -> None:
    read = source("\n".join(["{}", "nonsense", json.dumps(GOOD), json.dumps(GOOD | {"topic": 1})]))
    assert len(list(talk_files.read(read, NOW.date()))) == 1
    with pytest.raises(InputRefused) as refused:
        read.problems.refuse()
    places = [problem.partition(",")[0].partition(":")[0] for problem in refused.value.problems]
    assert places == ["line 1"] * 4 + ["line 2", "line 4"]


def test_a_thousand_problems_are_cut_to_fifty_and_counted() -> None:
    found = ImportProblems("talks.jsonl")
    for line in range(1000):
        found.add(f"line {line}", "missing", field="topic")
    with pytest.raises(InputRefused, match="… and 950 more"):
        found.refuse()


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"topic": "caf\xe9"}\n')
    read = read_source(file)
    [found] = read.problems.found
    assert found == "line 2: byte 0xe9 at position 15 is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b" \n\r\n", "it is empty"),
        (b"\xff\xfe{", "it is damaged UTF-16, at byte 3"),
        (b"PK\x03\x04 a zip", "it is a ZIP archive, but not an .xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "it is an .xls of before 2007, or has a password"),
        (b"\xef\xbb\xbfBEGIN:VCALENDAR\r\n", "`speakerbot talks sync` reads calendars"),
        (b"<!DOCTYPE html><title>Sign in</title>", "it is a web page; download the sheet"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "it is neither text nor .xlsx"),
    ],
)
def test_a_file_that_holds_nothing_to_read_is_refused(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    file = tmp_path / "talks.jsonl"
    file.write_bytes(data)
    with pytest.raises(InputRefused, match=problem):
        read_source(file)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert len(list(talk_files.read(read_source(file), NOW.date()))) == 1


snowflakes = st.integers(10**16, 10**20 - 1).map(str)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
filled = texts.filter(str.strip)
instants = st.integers(-(2**34), 2**44).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
names = st.text(st.characters(categories=["Ll"]), min_size=1).map(lambda name: f"x{name}")
talks = st.builds(
    Talk,
    id=st.integers(0, 2**96 - 1).map(lambda number: f"{number:024x}"),
    user_id=snowflakes,
    username=filled,
    topic=filled,
    date=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    booked_at=instants,
    thread_id=st.none() | snowflakes,
    completed=st.booleans(),
    scheduler_user_id=st.none() | snowflakes,
    scheduler_username=st.none() | filled,
    starts_at=st.none() | st.integers(0, 1439).map(lambda m: time(m // 60, m % 60)),
    sent_tminus1_at=st.none() | instants,
    sent_day_of_at=st.none() | instants,
    extra=st.dictionaries(names, plain | st.lists(plain) | st.dictionaries(names, plain)),
    length=st.none() | st.integers(1, 7 * 24 * 60),
    room=st.none() | filled,
    link=st.none() | st.integers().map(lambda number: f"https://talks.example/{number}"),
    co_speakers=st.lists(st.builds(Speaker, snowflakes, texts), max_size=3).map(tuple),
    source_id=st.none() | filled,
)


@pytest.mark.parametrize(
    ("ours", "problem"),
    [
        ({"length": 0}, r"speakerbot\.length: a length of 0 minutes is out of range"),
        ({"length": "45"}, r"speakerbot\.length: must be a whole number of minutes, not a text"),
        (
            {"link": "javascript:alert(1)"},
            r"speakerbot\.link: 'javascript:alert\(1\)' is not a link",
        ),
        ({"room": 7}, r"speakerbot\.room: must be a text, not a number"),
        ({"speakers": "2"}, r"speakerbot\.speakers: must be a list, not a text"),
        ({"speakers": [{"userId": "2"}]}, "speaker 1: must be a document with userId and username"),
        ({"speakers": [{"userId": "x", "username": "kaz"}]}, "speaker 1: 'x' is not a Discord id"),
    ],
)
def test_what_a_talk_cannot_have_beside_the_node_bots_fields_is_refused(
    ours: dict[str, Any], problem: str
) -> None:
    [found] = problems(GOOD | {"speakerbot": ours})
    assert re.search(problem, found)


@pytest.mark.parametrize("length", [45, {"$numberInt": "45"}])
def test_a_length_is_read_in_both_forms(length: Any) -> None:
    [talk] = imported(json.dumps(GOOD | {"speakerbot": {"length": length}}))
    assert (talk.length, talk.extra) == (45, {})


@given(talks)
def test_any_talk_round_trips(talk: Talk) -> None:
    [line] = talk_files.write_json([talk])
    assert line.count("\n") == 1
    assert imported(line) == [talk]


@given(talks)
def test_what_is_written_is_extended_json_to_mongodbs_own_reader(talk: Talk) -> None:
    [line] = talk_files.write_json([talk])
    document = parsed(line)
    assert document["_id"] == ObjectId(talk.id)
    assert document["scheduledDate"] == datetime.combine(talk.date, time(), UTC)
    assert document["bookingTimestamp"] == talk.booked_at
