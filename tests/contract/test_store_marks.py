"""Small facts about the store itself, each changed only from what was seen."""

from __future__ import annotations

from typing import Any


def test_a_mark_is_set_once_by_whoever_is_first(store: Any) -> None:
    assert store.marks.get("guild") is None
    assert store.marks.swap("guild", None, "1")
    assert not store.marks.swap("guild", None, "2")
    assert store.marks.get("guild") == "1"
    assert store.marks.get("other") is None


def test_a_mark_moves_on_from_exactly_what_was_seen(store: Any) -> None:
    store.marks.swap("pruned", None, "2026-11-20")
    assert not store.marks.swap("pruned", "2026-11-19", "2026-11-21")
    assert store.marks.swap("pruned", "2026-11-20", "2026-11-21")
    assert store.marks.get("pruned") == "2026-11-21"
    assert not store.marks.swap("unknown", "2026-11-20", "2026-11-21")
    assert store.marks.get("unknown") is None


def test_a_swap_that_is_repeated_after_a_lost_answer_has_won(store: Any) -> None:
    for step in ((None, "1"), ("1", "2"), ("2", None)):
        assert store.marks.swap("guild", *step)
        assert store.marks.swap("guild", *step)
    assert store.marks.get("guild") is None


def test_a_mark_is_forgotten_only_if_it_is_what_was_seen(store: Any) -> None:
    store.marks.swap("guild", None, "1")
    assert not store.marks.swap("guild", "2", None)
    assert store.marks.get("guild") == "1"


def test_a_mark_can_be_put_whatever_it_was(store: Any) -> None:
    for value in ("2026-11-20T16:00:00Z", "2026-11-20T16:01:00Z", "2026-11-20T16:00:30Z"):
        store.marks.put("look reminders", value)
        assert store.marks.get("look reminders") == value
    assert store.marks.get("look weekly") is None
