"""What an import changes: all or nothing, one talk a date, and nothing is ever taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from speakerbot.domain.talk import Talk
from speakerbot.formats import talk_import
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.talk_fields import TalkEntry
from speakerbot.formats.talk_import import TalkImport, differences
from speakerbot.ports.store import FlagWrite

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DAY, NEXT_DAY = date(2026, 11, 27), date(2026, 11, 28)
STORED = Talk(
    id="stored",
    user_id="1",
    username="mira",
    topic="Evals",
    date=DAY,
    booked_at=datetime(2026, 10, 1, tzinfo=UTC),
    thread_id="9",
    starts_at=time(19, 30),
    sent_tminus1_at=datetime(2026, 11, 26, 16, 0, tzinfo=UTC),
    extra={"note": 1, "speakerbot": {"sequence": 2}},
)
OTHER = Talk(id="other", user_id="2", username="kaz", topic="Agents", date=NEXT_DAY, booked_at=NOW)


def entry(place: str = "line 1", extra: dict[str, Any] | None = None, **values: Any) -> TalkEntry:
    given = {"user_id": "1", "username": "mira", "topic": "Evals", "date": DAY} | values
    return TalkEntry(place, given, extra or {})


def planned(
    *entries: TalkEntry, stored: list[Talk] | None = None, one_a_date: bool = True
) -> TalkImport:
    problems = ImportProblems("talks.jsonl")
    change = talk_import.plan(entries, stored or [], NOW, problems, BERLIN, one_a_date=one_a_date)
    problems.refuse()
    return change


def problems(
    *entries: TalkEntry, stored: list[Talk] | None = None, one_a_date: bool = True
) -> list[str]:
    found = ImportProblems("talks.jsonl")
    talk_import.plan(entries, stored or [], NOW, found, BERLIN, one_a_date=one_a_date)
    return found.found


def test_a_known_id_is_unchanged_or_updated() -> None:
    assert planned(entry(id="stored"), stored=[STORED]).unchanged == 1
    change = planned(entry(id="stored", topic="Evals, again"), stored=[STORED])
    assert (change.new, change.updated) == ([], [replace(STORED, topic="Evals, again")])


def test_without_an_id_date_and_speaker_tell_a_talk() -> None:
    assert planned(entry(), stored=[STORED]).unchanged == 1
    [found] = problems(entry(user_id="2"), stored=[STORED])
    assert (
        found == "line 1, scheduledDate: 2026-11-27 is taken by mira (talk stored); one talk a date"
    )


def test_what_the_file_leaves_out_stays() -> None:
    given = entry(id="stored", date=NEXT_DAY, extra={"note": 2, "speakerbot": {"mood": "good"}})
    [talk] = planned(given, stored=[STORED]).updated
    extra = {"note": 2, "speakerbot": {"sequence": 2, "mood": "good"}}
    assert talk == replace(STORED, date=NEXT_DAY, extra=extra)


def test_an_old_export_never_takes_a_sent_flag_back() -> None:
    older = datetime(2026, 11, 1, tzinfo=UTC)
    newer = datetime(2026, 11, 26, 17, 0, tzinfo=UTC)
    assert planned(entry(id="stored", sent_tminus1_at=older), stored=[STORED]).unchanged == 1
    change = planned(entry(id="stored", sent_tminus1_at=newer), stored=[STORED])
    assert change.updated == [replace(STORED, sent_tminus1_at=newer)]
    seen = STORED.sent_tminus1_at
    assert change.flags == [FlagWrite("stored", "sentTminus1At", seen, newer)]
    assert planned(entry(id="stored", topic="Looms"), stored=[STORED]).flags == []


def test_a_date_that_another_talk_has_is_refused() -> None:
    found = problems(entry(id="mine", date=NEXT_DAY), stored=[STORED, OTHER])
    assert found == [
        "line 1, scheduledDate: 2026-11-28 is taken by kaz (talk other); one talk a date"
    ]


def test_talks_may_change_dates_with_one_another() -> None:
    change = planned(
        entry(id="stored", date=NEXT_DAY),
        entry("line 2", id="other", user_id="2", username="kaz", topic="Agents", date=DAY),
        stored=[STORED, OTHER],
    )
    assert [(talk.id, talk.date) for talk in change.updated] == [
        ("stored", NEXT_DAY),
        ("other", DAY),
    ]


def test_a_date_that_a_talk_of_the_file_leaves_is_free() -> None:
    change = planned(
        entry(id="stored", date=date(2026, 12, 1)),
        entry("line 2", id="mine", date=DAY, topic="Looms"),
        stored=[STORED],
    )
    assert (len(change.new), len(change.updated)) == (1, 1)


def test_the_same_date_or_id_twice_is_refused() -> None:
    assert problems(entry("line 1", id="a"), entry("line 4", id="b", topic="Looms")) == [
        "line 4, scheduledDate: 2026-11-27 is also the date of line 1; one talk a date"
    ]
    assert problems(entry("line 1", id="a"), entry("line 4", id="a", date=NEXT_DAY)) == [
        "line 4, _id: a is also the id of line 1"
    ]


def moves(*entries: TalkEntry, stored: list[Talk]) -> dict[str, tuple[str, str | None]]:
    """What each row is: a change, and the id of the talk it was."""
    change = planned(*entries, stored=stored, one_a_date=False)
    return {row.place: (row.change, row.before.id if row.before else None) for row in change.rows}


LATER = date(2026, 12, 11)
AGAIN = replace(STORED, id="again", date=date(2026, 12, 4), extra={})


def test_a_talk_that_moved_in_the_sheet_moves_and_is_not_booked_twice() -> None:
    change = planned(entry(date=LATER), stored=[STORED, OTHER])
    assert change.updated == [replace(STORED, date=LATER)]
    assert list(differences(change.rows[0])) == [("date", "2026-11-27", "2026-12-11")]
    again = planned(entry(date=LATER), stored=change.updated)
    assert (again.unchanged, len(again.rows)) == (1, 1)


def test_topics_are_the_same_whatever_their_case_and_spaces() -> None:
    assert moves(entry(topic=" evals ", date=LATER), stored=[STORED]) == {
        "line 1": ("changed", "stored")
    }


def test_a_series_moves_only_the_talk_that_is_not_in_the_sheet() -> None:
    stored = [STORED, AGAIN]
    same, moved = entry("line 1"), entry("line 2", date=LATER)
    assert moves(same, moved, stored=stored) == {
        "line 1": ("unchanged", "stored"),
        "line 2": ("changed", "again"),
    }
    more = entry("line 3", date=AGAIN.date)
    assert moves(same, moved, more, stored=stored)["line 2"] == ("new", None)


def test_past_and_completed_talks_are_not_moved() -> None:
    past = replace(STORED, date=date(2026, 11, 6))
    assert moves(entry(date=LATER), stored=[past])["line 1"] == ("new", None)
    done = replace(STORED, completed=True)
    assert moves(entry(date=LATER), stored=[done])["line 1"] == ("new", None)
    assert moves(entry(date=past.date), stored=[STORED])["line 1"] == ("new", None)
    assert moves(entry(date=past.date), stored=[past])["line 1"] == ("unchanged", "stored")


def test_two_talks_of_a_speaker_on_one_date_are_told_by_topic_then_start() -> None:
    second = replace(STORED, id="second", topic="Looms", starts_at=time(20, 30))
    same = entry("line 1", topic="Looms")
    assert moves(same, stored=[STORED, second])["line 1"] == ("unchanged", "second")
    both = (entry("line 1"), entry("line 2", topic="Weaving"))
    assert moves(*both, stored=[STORED, second])["line 2"] == ("changed", "second")
    repeated = replace(STORED, id="repeated", starts_at=time(21, 0))
    assert moves(
        entry("line 1", starts_at=time(21, 0)),
        entry("line 2", starts_at=time(19, 30)),
        stored=[STORED, repeated],
    ) == {"line 1": ("unchanged", "repeated"), "line 2": ("unchanged", "stored")}


def test_a_row_that_may_be_either_of_two_talks_is_refused_naming_both() -> None:
    second = replace(STORED, id="second", topic="Looms")
    [found] = problems(entry(topic="Weaving"), stored=[STORED, second], one_a_date=False)
    assert found == (
        "line 1: it can be talk stored (2026-11-27, 'Evals') or talk second (2026-11-27, 'Looms'); "
        "say which in a column Talk ID"
    )
    [found] = problems(entry(date=LATER), stored=[STORED, AGAIN], one_a_date=False)
    assert "talk stored (2026-11-27, 'Evals') or talk again (2026-12-04, 'Evals')" in found


def test_two_rows_for_one_talk_are_refused_naming_both() -> None:
    assert problems(
        entry("line 1", date=date(2026, 12, 10)), entry("line 2", date=LATER), stored=[STORED]
    ) == [
        f"line {here}: it can be talk stored (2026-11-27, 'Evals'), and so can line {other}; "
        f"say which in a column Talk ID"
        for here, other in ((1, 2), (2, 1))
    ]
    assert problems(entry("line 1"), entry("line 4"), one_a_date=False) == [
        "line 4: it is the same talk as line 1; leave one of them out"
    ]
    assert problems(
        entry("line 1", id="stored"), entry("line 4"), stored=[STORED], one_a_date=False
    ) == ["line 4: it is the same talk as line 1; leave one of them out"]


def test_an_evening_has_several_talks_where_the_store_allows_it() -> None:
    other = entry("line 2", user_id="2", username="kaz")
    assert len(planned(entry(), other, one_a_date=False).new) == 2
    assert moves(entry(), other, stored=[STORED])["line 2"] == ("new", None)


def test_a_start_that_no_clock_shows_is_refused_naming_both_that_may_be_meant() -> None:
    [found] = problems(entry(date=date(2027, 3, 28), starts_at=time(2, 30)))
    assert found == (
        "line 1, speakerbot.startsAt: 02:30 does not exist on 2027-03-28 in Europe/Berlin, where "
        "clocks go forward; write 01:30 or 03:30"
    )
    assert problems(entry(date=date(2026, 10, 25), starts_at=time(2, 30))) == []
    # One that stands in the store is not the file's to answer for.
    stored = replace(STORED, date=date(2027, 3, 28), starts_at=time(2, 30))
    assert problems(entry(date=date(2027, 3, 28), starts_at=time(2, 30)), stored=[stored]) == []


def test_what_a_row_changes_is_told_field_by_field() -> None:
    change = planned(
        entry(id="stored", topic="Looms", starts_at=time(20), extra={"note": 2}), stored=[STORED]
    )
    assert list(differences(change.rows[0])) == [
        ("topic", "Evals", "Looms"),
        ("starts_at", "19:30", "20:00"),
        ("note", "1", "2"),
    ]


def test_a_plan_is_the_same_whatever_ids_new_talks_are_given() -> None:
    first, second = planned(entry()), planned(entry())
    assert first.new != second.new
    assert first.same_as(second)
    assert not first.same_as(planned(entry(topic="Looms")))
