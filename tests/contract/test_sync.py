"""A sync on every store: killed anywhere, twice at once, and again with nothing to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from speakerbot import booking
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.programme_plan import SyncPlan, plan
from speakerbot.formats.programmes import read
from speakerbot.formats.sessions import Programme
from speakerbot.formats.web_source import Document
from speakerbot.ports.store import Store
from speakerbot.testing.crash.boundaries import stepping_store

SAMPLES = Path(__file__).parents[2] / "samples"
URL = "https://programme.example/api/events/evenings/submissions/"
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 17, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ADA = "802345678901234561"
BY_HAND = Talk("0" * 23 + "1", ADA, "ada", "Evals, perhaps", date(2026, 11, 27), booked_at=NOW)


class Killed(BaseException):
    """The process ended here."""


def programme(change: Callable[[Programme], Programme] = lambda same: same) -> Programme:
    data = (SAMPLES / "evenings.submissions.json").read_bytes()
    return change(read([Document(data, "p.json", URL)], BERLIN, NOW))


def changed(before: Programme) -> Programme:
    """One moved, one gone, one that has got its time."""
    first, _gone, _unlinked, panel = before.sessions
    return replace(
        before,
        sessions=(
            replace(first, day=date(2026, 12, 4)),
            replace(panel, day=date(2026, 12, 5), starts_at=time(18)),
        ),
    )


def sync(store: Store, of: Programme, now: datetime = NOW) -> SyncPlan:
    """As the command does it."""
    with store.at_once():
        change = planned(store, of)
        booking.synchronise(store, change, now)
    return change


def planned(store: Store, of: Programme) -> SyncPlan:
    problems = ImportProblems("p.json")
    change = plan(
        of, store.talks.all(), store.people.all(), NOW, BERLIN, problems, prune=True,
        one_a_date=False,
    )  # fmt: skip
    problems.refuse()
    return change


def content(store: Store) -> object:
    talks = [replace(talk, booked_at=None) for talk in store.talks.all()]
    entries = sorted((e.topic, e.date, e.cancelled) for e in store.calendar.all())
    return talks, entries


def test_what_a_programme_says_comes_back(several: Store) -> None:
    several.talks.put([BY_HAND])
    sync(several, programme())
    first, second = several.talks.all()
    assert (first.id, first.username, first.topic) == (
        BY_HAND.id, "ada", "Evals that catch regressions before users do",
    )  # fmt: skip
    assert (second.length, second.room, second.starts_at) == (45, "Main Hall", time(19, 30))
    assert second.co_speakers == (Speaker("802345678901234563", "Liv Sandberg"),)
    assert second.source_id == "pretalx:programme.example/evenings:T3M8ZD"
    assert second.link == "https://programme.example/evenings/talk/T3M8ZD/"


@pytest.mark.parametrize("of", [programme(), programme(changed)])
def test_a_second_sync_writes_nothing(several: Store, of: Programme) -> None:
    several.talks.put([BY_HAND])
    sync(several, programme())
    sync(several, of)
    writes: list[str] = []
    again = sync(stepping_store(several, writes.append), of, LATER)
    assert writes == []
    assert set(again.counts) - {s for s, n in again.counts.items() if n == 0} <= {
        "unchanged", "unlinked", "unscheduled",
    }  # fmt: skip


def test_killed_before_or_after_any_write_the_next_sync_completes_it(several: Store) -> None:
    sync(several, programme())
    target = programme(changed)
    reached: list[str] = []
    sync(stepping_store(several, reached.append), target)
    wanted = content(several)
    assert len(reached) >= 6
    for number in range(len(reached)):
        _empty(several)
        sync(several, programme())
        left = number

        def kill(_where: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        with pytest.raises(Killed):
            sync(stepping_store(several, kill), target)
        sync(several, target, LATER)
        assert content(several) == wanted, reached[number]


def _empty(store: Store) -> None:
    for talk in list(store.talks.all()):
        store.talks.delete(talk.id)
    booking.follow(store.calendar, NOW)


def test_two_syncs_that_plan_at_once_book_each_talk_once(several: Store) -> None:
    one, other = planned(several, programme()), planned(several, programme())
    booking.synchronise(several, one, NOW)
    booking.synchronise(several, other, LATER)
    topics = [talk.topic for talk in several.talks.all()]
    assert len(topics) == len(set(topics)) == 2


def test_two_syncs_at_once_of_which_one_is_behind_end_at_what_the_next_one_says(
    several: Store,
) -> None:
    sync(several, programme())
    behind = planned(several, programme())
    sync(several, programme(changed))
    booking.synchronise(several, behind, NOW)
    sync(several, programme(changed), LATER)
    assert [talk.date for talk in several.talks.all()] == [date(2026, 12, 4), date(2026, 12, 5)]


def test_the_sample_is_what_the_api_answers_in_one_page() -> None:
    document = json.loads((SAMPLES / "evenings.submissions.json").read_text())
    assert document["count"] == len(document["results"])
    assert document["next"] is None
