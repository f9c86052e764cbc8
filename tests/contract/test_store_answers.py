"""What speakers have answered: one answer a question, a no over a yes, forgotten in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import permutations

import pytest

from speakerbot.domain.confirmation import Answer
from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DAY = date(2026, 11, 21)
YES = Answer("confirm", "t1", "1", DAY, "yes", NOW)
NO = replace(YES, answer="no", at=NOW + timedelta(hours=1))


def test_answers_are_found_by_their_talks(store: Store) -> None:
    others = [
        replace(YES, user_id="2"),
        replace(YES, date=DAY + timedelta(days=1)),
        replace(YES, kind="dinner"),
        replace(YES, talk_id="t2"),
    ]
    store.answers.put([YES, *others])
    store.answers.put([])
    assert store.answers.about(["t1"]) == {each.key: each for each in (YES, *others[:3])}
    assert store.answers.about(["t2", "unknown"]) == {others[3].key: others[3]}
    assert store.answers.about([]) == {}


def test_an_answer_stays_but_for_a_yes_that_becomes_a_no(store: Store) -> None:
    later = replace(YES, at=NOW + timedelta(days=1))
    for put, stands in ((YES, YES), (later, YES), (NO, NO), (later, NO)):
        store.answers.put([put])
        store.answers.put([put])
        assert store.answers.about(["t1"]) == {YES.key: stands}


@pytest.mark.parametrize("order", list(permutations([YES, NO, replace(YES, at=NOW)])))
def test_the_outcome_does_not_depend_on_who_came_first(
    store: Store, order: tuple[Answer, ...]
) -> None:
    store.answers.put(order)
    assert store.answers.about(["t1"])[YES.key].answer == "no"


def test_more_than_a_page_of_talks(store: Store) -> None:
    many = [replace(YES, talk_id=f"t{n:04}") for n in range(1200)]
    store.answers.put(many)
    assert len(store.answers.about([each.talk_id for each in many])) == 1200


def test_what_somebody_has_answered_is_erased(store: Store) -> None:
    other = replace(YES, user_id="2")
    store.answers.put([YES, replace(YES, talk_id="t2"), other])
    assert store.answers.erase("1") == 2
    assert store.answers.erase("1") == 0
    assert list(store.answers.about(["t1", "t2"]).values()) == [other]


def test_old_ones_are_forgotten_the_oldest_first(store: Store) -> None:
    days = [replace(YES, date=DAY + timedelta(days=n)) for n in range(6)]
    store.answers.put(days)
    before = DAY + timedelta(days=4)
    assert store.answers.count_before(before) == 4
    assert store.answers.forget_before(before, 3) == 3
    left = sorted(each.date for each in store.answers.about(["t1"]).values())
    assert left == [each.date for each in days[3:]]
    assert store.answers.forget_before(before) == 1
    assert store.answers.count_before(before) == 0
