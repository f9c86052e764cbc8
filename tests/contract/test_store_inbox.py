"""Inboxes: each message once, newest first, read once, forgotten in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from speakerbot.domain.inbox import InboxMessage
from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def message(name: str, recipient: str = "user:1", *, minutes: int = 0) -> InboxMessage:
    key = f"reminder.day_of/talk:{name}/{recipient}/2026-11-20"
    return InboxMessage(key, recipient, f"about {name}", NOW + minutes * MINUTE)


def put(store: Store, *messages: InboxMessage) -> None:
    assert [each for each in messages if not store.inbox.put(each)] == []


def test_the_first_put_of_a_key_stays(store: Store) -> None:
    first = message("a")
    assert store.inbox.put(first)
    assert not store.inbox.put(replace(first, text="other", recipient="user:2"))
    assert not store.inbox.put(first)
    assert store.inbox.get([first.key, "unknown"]) == {first.key: first}
    assert store.inbox.get([]) == {}
    assert list(store.inbox.of(["user:2"])) == []


def test_a_key_that_was_read_is_not_put_again(store: Store) -> None:
    put(store, message("a"))
    store.inbox.mark_read(["user:1"], None, NOW)
    assert not store.inbox.put(message("a"))
    assert list(store.inbox.of(["user:1"], unread_only=True)) == []


def test_messages_are_listed_newest_first_and_limited(store: Store) -> None:
    many = [message(f"{n:04}", minutes=n * 7 % 1200) for n in range(1200)]
    put(store, *many, message("other", "user:2", minutes=5000))
    newest = sorted(many, key=lambda each: each.created_at, reverse=True)
    assert list(store.inbox.of(["user:1"], limit=5000)) == newest
    assert list(store.inbox.of(["user:1"])) == newest[:100]
    assert list(store.inbox.of(["user:3"])) == list(store.inbox.of([])) == []


def test_messages_of_one_instant_are_listed_each_once(store: Store) -> None:
    put(store, *(message(f"{n:04}") for n in range(1100)))
    assert len({each.key for each in store.inbox.of(["user:1"], limit=2000)}) == 1100


def test_the_latest_of_everybody(store: Store) -> None:
    put(store, *(message(str(n), f"user:{n % 3}", minutes=n) for n in range(6)))
    found = list(store.inbox.since(NOW + 2 * MINUTE, 3))
    assert [each.text for each in found] == ["about 5", "about 4", "about 3"]
    assert [each.text for each in store.inbox.since(NOW + 5 * MINUTE, 3)] == ["about 5"]
    assert list(store.inbox.since(NOW + 6 * MINUTE, 3)) == []


def test_one_person_under_two_names_has_one_inbox(store: Store) -> None:
    known, ours = "user:1", "person:p1"
    put(store, *(message(f"{n}", known if n % 2 else ours, minutes=n) for n in range(6)))
    both = [known, ours, known]
    assert [each.text for each in store.inbox.of(both)] == [f"about {n}" for n in range(5, -1, -1)]
    assert store.inbox.mark_read(both, None, NOW) == 6
    assert store.inbox.erase(both) == 6


def test_one_message_or_all_are_marked_as_read_each_once(store: Store) -> None:
    first, second, third = (message(name, minutes=n) for n, name in enumerate("abc"))
    other = message("d", "user:2")
    put(store, first, second, third, other)
    later, latest = NOW + 10 * MINUTE, NOW + 20 * MINUTE
    assert store.inbox.mark_read(["user:1"], second.id, later) == 1
    assert store.inbox.mark_read(["user:1"], second.id, latest) == 0
    assert store.inbox.mark_read(["user:1"], other.id, later) == 0, "it is somebody else's"
    assert store.inbox.mark_read(["user:1"], "unknown", later) == 0
    assert list(store.inbox.of(["user:1"], unread_only=True)) == [third, first]
    assert store.inbox.mark_read(["user:1"], None, latest) == 2
    assert store.inbox.mark_read(["user:1"], None, latest) == 0
    assert list(store.inbox.of(["user:1"])) == [
        replace(third, read_at=latest),
        replace(second, read_at=later),
        replace(first, read_at=latest),
    ]
    assert list(store.inbox.of(["user:2"], unread_only=True)) == [other]


def test_unread_messages_are_listed_past_pages_of_read_ones(store: Store) -> None:
    put(store, *(message(f"{n:04}", minutes=n) for n in range(700)))
    store.inbox.mark_read(["user:1"], None, NOW)
    old = [message("first", minutes=-1), message("second", minutes=-2)]
    put(store, *old)
    assert list(store.inbox.of(["user:1"], unread_only=True, limit=1)) == old[:1]
    assert list(store.inbox.of(["user:1"], unread_only=True)) == old


def test_erasing_leaves_nothing_of_one_person_and_everything_of_others(store: Store) -> None:
    put(store, *(message(f"{n:04}", minutes=n) for n in range(1100)))
    put(store, message("a", "user:11"))
    store.inbox.mark_read(["user:1"], message("0001").id, NOW)
    assert store.inbox.erase(["user:1"]) == 1100
    assert store.inbox.erase(["user:1"]) == store.inbox.erase([]) == 0
    assert list(store.inbox.of(["user:1"])) == []
    assert len(list(store.inbox.of(["user:11"]))) == 1


def test_old_messages_are_forgotten_read_or_not_the_oldest_first(store: Store) -> None:
    old = [message(f"{n}", f"user:{n}", minutes=n - 100) for n in range(7)]
    young = message("young")
    put(store, *reversed(old), young)
    store.inbox.mark_read(["user:2"], None, NOW)
    assert store.inbox.count_before(NOW) == 7
    assert store.inbox.forget_before(NOW, 3) == 3
    keys = [each.key for each in (*old, young)]
    assert set(store.inbox.get(keys)) == set(keys[3:])
    assert [store.inbox.forget_before(NOW, 3) for _ in range(3)] == [3, 1, 0]
    assert store.inbox.get(keys) == {young.key: young}


def test_a_whole_inbox_is_forgotten_in_batches(store: Store) -> None:
    put(store, *(message(f"{n:04}") for n in range(1100)))
    assert store.inbox.forget_before(NOW + MINUTE) == store.inbox.count_before(NOW) + 1100


def test_an_id_is_the_begin_of_its_keys_hash_and_stays(store: Store) -> None:
    put(store, message("a"))
    [stored] = store.inbox.of(["user:1"])
    assert stored.id == message("a").id == "25cb3b73807335a9"
