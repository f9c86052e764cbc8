"""What an import changes: all or nothing, one talk a date, and nothing is ever taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from speakerbot.domain.talk import Talk
from speakerbot.formats import talk_import
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.talk_fields import TalkEntry
from speakerbot.formats.talk_import import TalkImport
from speakerbot.ports.store import FlagWrite

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


def planned(*entries: TalkEntry, stored: list[Talk] | None = None) -> TalkImport:
    problems = ImportProblems("talks.jsonl")
    change = talk_import.plan(entries, stored or [], NOW, problems)
    problems.refuse()
    return change


def problems(*entries: TalkEntry, stored: list[Talk] | None = None) -> list[str]:
    found = ImportProblems("talks.jsonl")
    talk_import.plan(entries, stored or [], NOW, found)
    return found.found


def test_a_known_id_is_unchanged_or_updated() -> None:
    assert planned(entry(id="stored"), stored=[STORED]) == TalkImport(unchanged=1)
    change = planned(entry(id="stored", topic="Evals, again"), stored=[STORED])
    assert change == TalkImport(updated=[replace(STORED, topic="Evals, again")])


def test_without_an_id_date_and_speaker_tell_a_talk() -> None:
    assert planned(entry(), stored=[STORED]) == TalkImport(unchanged=1)
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
        entry("line 2", id="mine", date=DAY),
        stored=[STORED],
    )
    assert (len(change.new), len(change.updated)) == (1, 1)


def test_the_same_date_or_id_twice_is_refused() -> None:
    assert problems(entry("line 1", id="a"), entry("line 4", id="b")) == [
        "line 4, scheduledDate: 2026-11-27 is also the date of line 1; one talk a date"
    ]
    assert problems(entry("line 1", id="a"), entry("line 4", id="a", date=NEXT_DAY)) == [
        "line 4, _id: a is also the id of line 1"
    ]
