"""People and their wishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from typing import Any

import pytest

from speakerbot.domain import person as preferences
from speakerbot.domain.person import Person, QuietHours
from speakerbot.errors import NotFound
from speakerbot.ports.store import Store

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
    assert store.people.by_ids([f"p{n}" for n in range(0, 1200, 3)]) == {
        f"p{n}": crowd[n] for n in range(0, 600, 3)
    }
    assert store.people.by_ids([]) == {}


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


def nobody() -> Person:
    raise NotFound("nobody is known by that name")


@pytest.mark.parametrize("name", ["p1", "800000000000000001"])
def test_a_person_is_changed_by_either_name(store: Store, name: str) -> None:
    store.people.put([ADA, BO])
    after = replace(ADA, name="Countess")
    changed = store.people.change(name, lambda who: replace(who, name="Countess"), nobody)
    assert changed == (ADA, after)
    assert list(store.people.all()) == [after, BO]


def test_someone_unknown_becomes_a_person_with_the_change(store: Store) -> None:
    before, after = store.people.change(
        "7", lambda who: preferences.opted_out(who, "all"), lambda: preferences.new_person("7")
    )
    assert before == preferences.new_person("7")
    assert list(store.people.all()) == [after] == [replace(before, opted_out=frozenset({"all"}))]


def test_no_change_writes_nobody(store: Store) -> None:
    newcomer = preferences.new_person("7")
    assert store.people.change("7", lambda who: who, lambda: newcomer) == (newcomer, newcomer)
    assert list(store.people.all()) == []


def test_a_refused_change_writes_nothing(store: Store) -> None:
    store.people.put([ADA])
    with pytest.raises(NotFound):
        store.people.change("p9", lambda who: who, nobody)
    with pytest.raises(ValueError, match="no"):
        store.people.change("p1", lambda who: replace(who, name=str(int("no"))), nobody)
    assert list(store.people.all()) == [ADA]


@pytest.mark.parametrize("known", [[], [ADA]], ids=["newcomer", "known"])
def test_a_change_that_was_overtaken_is_made_again_on_what_is_there(
    mongo: Store, documents: Any, known: list[Person]
) -> None:
    """MongoDB's writes are one by one; SQLite's transactions are raced by processes elsewhere."""
    mongo.prepare()
    mongo.people.put(known)
    user, asked = "800000000000000001", []

    def be_overtaken(who: Person) -> Person:
        asked.append(who)
        if len(asked) == 1:
            mongo.people.change(user, lambda other: preferences.opted_out(other, "timers"), fresh)
        return preferences.opted_out(who, "checkins")

    def fresh() -> Person:
        return preferences.new_person(user)

    before, after = mongo.people.change(user, be_overtaken, fresh)
    assert len(asked) == 2
    assert list(mongo.people.all()) == [after]
    assert after.opted_out >= {"timers", "checkins"}
    assert "timers" in before.opted_out


def test_an_edit_by_hand_meanwhile_is_not_overwritten(mongo: Store, documents: Any) -> None:
    mongo.people.put([ADA])

    def edited_meanwhile(who: Person) -> Person:
        documents.speakerbot_people.update_one({"_id": "p1"}, {"$set": {"opted_out": ["all"]}})
        return replace(who, name="Countess")

    mongo.people.change("p1", edited_meanwhile, nobody)
    changed = mongo.people.get("p1")
    assert changed is not None
    assert changed.name == "Countess"
    assert changed.opted_out == {"all"}


def test_a_person_written_without_a_revision_can_be_changed(mongo: Store, documents: Any) -> None:
    mongo.people.put([ADA])
    documents.speakerbot_people.update_one({"_id": "p1"}, {"$unset": {"revision": ""}})
    mongo.people.change("p1", lambda who: replace(who, name="Countess"), nobody)
    assert mongo.people.get("p1") == replace(ADA, name="Countess")
