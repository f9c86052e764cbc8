"""People and their wishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

from speakerbot.people import Person, QuietHours
from speakerbot.ports import Store

ADA = Person(
    id="p1",
    discord_user_id="800000000000000001",
    name="Ada",
    timezone="Europe/Berlin",
    opted_out=frozenset({"changes", "weekly"}),
    quiet_hours=QuietHours(time(22), time(7, 30)),
    routes=("thread", "dm"),
    extra={"checkins": {"style": "listener", "onboarded": {"$date": "2026-10-01T09:00:00Z"}}},
)
BO = Person(id="p2")


def test_a_person_comes_back_as_put(store: Store) -> None:
    store.people.put([ADA, BO])
    assert store.people.get("p1") == store.people.get("800000000000000001") == ADA
    assert store.people.get("p2") == BO
    assert store.people.get("p3") is None


def test_people_are_found_by_their_discord_ids_in_one_go(store: Store) -> None:
    crowd = [Person(id=f"p{n}", discord_user_id=f"{n}") for n in range(600)]
    store.people.put(crowd)
    found = store.people.by_users([f"{n}" for n in range(0, 1200, 2)])
    assert found == {f"{n}": crowd[n] for n in range(0, 600, 2)}
    assert store.people.by_users([]) == {}


def test_all_people_come_by_id_each_once(store: Store) -> None:
    crowd = [Person(id=f"{n:05}") for n in range(600)]
    store.people.put(crowd)
    assert list(store.people.all()) == crowd


def test_putting_again_replaces_the_person(store: Store) -> None:
    store.people.put([ADA])
    changed = replace(BO, id="p1", opted_out=frozenset({"all"}))
    store.people.put([changed])
    assert list(store.people.all()) == [changed]
    assert store.people.by_users(["800000000000000001"]) == {}


def test_nobody_is_put_without_a_word(store: Store) -> None:
    store.people.put([])
    assert list(store.people.all()) == []
