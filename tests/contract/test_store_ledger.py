"""The ledger: of any number of changes to a record exactly one wins each step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pymongo.errors import BulkWriteError

from speakerbot.delivery.transitions import sent_by_node_bot
from speakerbot.domain.delivery import FINAL, Delivery, DeliveryChange, DeliveryState
from speakerbot.ports.store import Store
from speakerbot.stores.mongo.connection import Database
from speakerbot.stores.mongo.ledger import MongoLedger

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)


def _claim(name: str, *, user: str = "1", minutes: int = 0) -> Delivery:
    recipient = f"user:{user}"
    return Delivery(
        key=f"reminder.day_of/talk:{name}/{recipient}/2026-11-20",
        kind="reminder.day_of",
        recipient=recipient,
        state=DeliveryState.CLAIMED,
        revision=f"{name}.1",
        run_id="run",
        due_at=NOW,
        expires_at=NOW + timedelta(hours=8),
        created_at=NOW,
        updated_at=NOW + timedelta(minutes=minutes),
    )


def _next(record: Delivery, state: DeliveryState = DeliveryState.SENT, step: str = "2") -> Delivery:
    revision = f"{record.revision}.{step}"
    return record._replace(state=state, revision=revision, message_id="m", sent_at=NOW)


def _created(store: Store, *records: Delivery) -> None:
    keys = store.ledger.swap([DeliveryChange(None, record) for record in records])
    assert keys == {record.key for record in records}


def test_the_first_creation_of_a_key_wins(store: Store) -> None:
    first = _claim("a")
    _created(store, first)
    assert store.ledger.swap([DeliveryChange(None, first._replace(revision="other"))]) == set()
    assert store.ledger.get([first.key, "unknown"]) == {first.key: first}


def test_a_step_from_the_stored_revision_wins_and_a_stale_one_loses(store: Store) -> None:
    first = _claim("a")
    _created(store, first)
    sent = _next(first)
    assert store.ledger.swap([DeliveryChange(first, sent)]) == {first.key}
    assert (
        store.ledger.swap([DeliveryChange(first, _next(first, DeliveryState.FAILED, "3"))]) == set()
    )
    assert store.ledger.get([first.key]) == {first.key: sent}


def test_a_step_replaces_every_field(store: Store) -> None:
    first = _claim("a")._replace(lease_until=NOW, unconfirmed_since=NOW, retry_at=NOW, error="late")
    _created(store, first)
    bare = _claim("a")._replace(revision="bare")
    store.ledger.swap([DeliveryChange(first, bare)])
    assert store.ledger.get([first.key]) == {first.key: bare}


def test_a_deletion_wins_once_and_frees_the_key(store: Store) -> None:
    first = _claim("a")
    _created(store, first)
    assert store.ledger.swap([DeliveryChange(first._replace(revision="stale"), None)]) == set()
    assert store.ledger.swap([DeliveryChange(first, None)]) == {first.key}
    assert store.ledger.get([first.key]) == {}
    assert store.ledger.swap([DeliveryChange(first, None)]) == set()
    _created(store, first._replace(revision="again"))


def test_a_step_of_a_record_that_is_gone_loses(store: Store) -> None:
    record = _claim("a")
    assert store.ledger.swap([DeliveryChange(record, _next(record))]) == set()
    assert store.ledger.get([record.key]) == {}


def test_no_changes_have_no_winners(store: Store) -> None:
    assert store.ledger.swap([]) == set()
    assert store.ledger.get([]) == {}


def test_a_batch_of_all_kinds_tells_winners_from_losers(store: Store) -> None:
    records = [_claim(f"{n:03}") for n in range(500)]
    _created(store, *(record for n, record in enumerate(records) if n % 5))
    changes, expected = [], set()
    for n, record in enumerate(records):
        stale = record._replace(revision="stale")
        step = [
            DeliveryChange(None, record),  # free: wins
            DeliveryChange(None, stale),  # taken
            DeliveryChange(record, _next(record)),  # wins
            DeliveryChange(stale, _next(stale)),  # stale
            DeliveryChange(record, None)
            if n % 2
            else DeliveryChange(stale, None),  # wins, or stale
        ][n % 5]
        changes.append(step)
        if n % 5 in (0, 2) or (n % 5 == 4 and n % 2):
            expected.add(record.key)
    assert store.ledger.swap(changes) == expected
    left = store.ledger.get([record.key for record in records])
    assert len(left) == 500 - 50
    assert {record.state for record in left.values()} == {"claimed", "sent"}
    assert sum(record.state == "sent" for record in left.values()) == 100


def test_what_the_node_bot_sent_instead_is_open_no_longer(store: Store) -> None:
    """Unless a run has claimed it meanwhile."""
    dead = _claim("a")._replace(lease_until=NOW, unconfirmed_since=NOW, flag_at=NOW)
    _created(store, dead)
    settled = sent_by_node_bot(dead, NOW + timedelta(minutes=1), NOW + timedelta(minutes=5))
    assert store.ledger.swap([settled]) == {dead.key}
    assert store.ledger.get([dead.key]) == {dead.key: settled.after}
    assert list(store.ledger.unsettled(NOW + timedelta(days=1))) == []
    claimed = _claim("b")
    _created(store, claimed)
    late = sent_by_node_bot(claimed._replace(revision="read before"), NOW, NOW)
    assert store.ledger.swap([late]) == set()


def test_the_list_is_newest_first_by_state_and_limited(store: Store) -> None:
    records = [_claim(f"{n:04}", minutes=n * 7 % 1200) for n in range(1200)]
    _created(store, *records)
    store.ledger.swap([DeliveryChange(record, _next(record)) for record in records[::3]])
    newest = sorted((record.updated_at for record in records), reverse=True)
    listed = list(store.ledger.list(limit=2000))
    assert [record.updated_at for record in listed] == newest
    assert len({record.key for record in listed}) == 1200
    assert [record.updated_at for record in store.ledger.list()] == newest[:100]
    sent = list(store.ledger.list(state="sent", limit=700))
    assert len(sent) == 400
    assert {record.state for record in sent} == {"sent"}


def test_records_of_one_instant_are_listed_each_once(store: Store) -> None:
    _created(store, *(_claim(f"{n:04}") for n in range(1100)))
    assert len({record.key for record in store.ledger.list(limit=1100)}) == 1100


def test_what_is_left_over_comes_oldest_first_whatever_became_of_it(store: Store) -> None:
    records = [
        _claim(f"{9 - n}")._replace(
            expires_at=NOW + timedelta(minutes=n),
            state=DeliveryState.FAILED if n % 2 else DeliveryState.CLAIMED,
        )
        for n in range(9)
    ]
    _created(store, *records[::-1], _claim("sent")._replace(state=DeliveryState.SENT))
    assert list(store.ledger.unsettled(NOW + timedelta(minutes=7))) == records[:8]


@pytest.mark.parametrize("apart", [timedelta(), timedelta(seconds=1)])
def test_records_whose_time_is_over_are_found_each_once(store: Store, apart: timedelta) -> None:
    records = [
        _claim(f"{n:04}")._replace(expires_at=NOW - n * apart, note="note") for n in range(1100)
    ]
    _created(store, *records)
    found = [record.key for record in store.ledger.unsettled(NOW)]
    assert sorted(found) == [record.key for record in records]


def test_deliveries_are_found_by_recipient_and_by_subject(store: Store) -> None:
    _created(store, *(_claim(f"{n}", user=f"{n % 3}", minutes=n) for n in range(9)))
    own = _claim("x", user="2")._replace(key="checkin/user:2/user:2/2026", kind="checkin")
    _created(store, own)
    found = list(store.ledger.find("user:2"))
    assert [record.updated_at.minute - 5 for record in found] == [8, 5, 2, 0]
    assert [record.key for record in found].count(own.key) == 1
    assert [record.recipient for record in store.ledger.find("talk:4")] == ["user:1"]
    assert len(list(store.ledger.find("user:2", limit=2))) == 2
    assert list(store.ledger.find("user:99")) == []


def test_what_went_to_a_person_and_what_is_about_them_are_one_list_newest_first(
    store: Store,
) -> None:
    about = "user:2"
    records = [
        _claim(f"{n}", user="2", minutes=n)
        if n % 3
        else _claim(f"{n}", minutes=n)._replace(key=f"trial/{about}/user:1/{9 - n}", kind="trial")
        for n in range(9)
    ]
    _created(store, *records)
    assert list(store.ledger.find(about)) == records[::-1]


def test_deliveries_that_set_a_flag_are_found_by_their_subjects(store: Store) -> None:
    flagged = [
        _claim("a", user="1")._replace(flag_at=NOW),
        _claim("a", user="2", minutes=5)._replace(flag_at=NOW + timedelta(minutes=5)),
        _claim("b/c", user="1")._replace(flag_at=NOW),
    ]
    _created(store, *flagged, _claim("a", user="3"), _claim("c")._replace(flag_at=NOW))
    found = store.ledger.flagged(["talk:a", "talk:b/c", "talk:none"])
    assert {record.key: record for record in found} == {record.key: record for record in flagged}
    assert len(found) == 3
    assert list(store.ledger.flagged([])) == []


def test_a_subject_may_hold_slashes(store: Store) -> None:
    odd = _claim("x")._replace(key="reminder.day_of/timer:a/b/user:1/2026-11-20")
    _created(store, odd)
    assert list(store.ledger.find("timer:a/b")) == [odd]


def test_pruning_leaves_claimed_and_failed_records_until_they_are_past_expiry(
    store: Store,
) -> None:
    before = NOW - timedelta(days=400)
    old = before - timedelta(days=1)
    gone, due = before - timedelta(hours=1), before + timedelta(hours=1)
    kept = [
        _claim("claimed")._replace(updated_at=old, expires_at=due),
        _claim("failed")._replace(updated_at=old, expires_at=due, state=DeliveryState.FAILED),
        _claim("young")._replace(updated_at=before, expires_at=gone, state=DeliveryState.FAILED),
        _claim("sent lately")._replace(
            updated_at=before, expires_at=gone, state=DeliveryState.SENT
        ),
    ]
    over = [
        _claim("failed long ago")._replace(
            updated_at=old, expires_at=gone, state=DeliveryState.FAILED
        ),
        _claim("claimed long ago")._replace(updated_at=old, expires_at=gone),
        *(_claim(state)._replace(updated_at=old, expires_at=due, state=state) for state in FINAL),
    ]
    _created(store, *kept, *over)
    assert store.ledger.prune(before) == len(over)
    assert set(store.ledger.get([record.key for record in (*kept, *over)])) == {
        record.key for record in kept
    }


def test_pruning_forgets_old_final_records_only(store: Store) -> None:
    old = [_claim(f"old{n:04}", minutes=-60) for n in range(1100)]
    waiting = _claim("waiting", minutes=-60)._replace(state=DeliveryState.FAILED)
    running, young = _claim("running", minutes=-60), _next(_claim("young"))
    _created(
        store,
        *(record._replace(state=DeliveryState.SENT) for record in old),
        waiting,
        running,
        young,
    )
    assert store.ledger.prune(NOW) == 1100
    assert {record.key for record in store.ledger.list()} == {
        record.key for record in (waiting, running, young)
    }
    assert store.ledger.prune(NOW) == 0


def test_pruning_takes_at_most_as_many_as_allowed_the_oldest_first(store: Store) -> None:
    old = [_claim(f"old{n}", minutes=n - 100) for n in range(7)]
    _created(store, *(record._replace(state=DeliveryState.SENT) for record in old))
    assert store.ledger.prune(NOW, 3) == 3
    assert {record.key for record in store.ledger.list()} == {r.key for r in old[3:]}
    assert [store.ledger.prune(NOW, 3) for _ in range(3)] == [3, 1, 0]


def test_old_texts_of_personal_messages_are_emptied_and_nothing_else_changes(store: Store) -> None:
    before = NOW - timedelta(days=30)
    old, gone = before - timedelta(days=1), before - timedelta(hours=1)
    base = _claim("sent")._replace(updated_at=old, text="private", state=DeliveryState.SENT)

    def other(name: str, recipient: str = "user:1", **changed: Any) -> Delivery:
        key = f"kind/{name}/{recipient}/2026"
        return base._replace(key=key, recipient=recipient, **changed)

    personal = [
        other("arrived"),
        other("known by us", "person:p1"),
        other("gone", state=DeliveryState.FAILED, expires_at=gone),
        *(other(state, state=state) for state in FINAL),
    ]
    kept = [
        other("post", "channel:7"),
        other("young", updated_at=before),
        other("waiting", state=DeliveryState.FAILED, expires_at=NOW),
        other("claimed", state=DeliveryState.CLAIMED, expires_at=NOW),
        other("impostor", "username:1"),
    ]
    _created(store, *personal, *kept)
    assert store.ledger.forget_texts(before, 2) == 2
    assert store.ledger.forget_texts(before) == len(personal) - 2
    assert store.ledger.forget_texts(before) == 0
    expected = {r.key: r._replace(text="") for r in personal} | {r.key: r for r in kept}
    assert store.ledger.get(list(expected)) == expected


def test_a_document_holds_only_what_there_is(mongo: Store, documents: Any) -> None:
    mongo.ledger.swap([DeliveryChange(None, _claim("a"))])
    [document] = documents.speakerbot_deliveries.find()
    assert None not in document.values()
    assert "retry_at" not in document


def test_a_batch_that_fails_for_another_reason_than_a_taken_key_has_no_winners_and_says_so() -> (
    None
):
    problem = {"index": 0, "code": 121, "errmsg": "Document failed validation"}
    error = BulkWriteError({"writeErrors": [problem], "writeConcernErrors": []})
    ledger = MongoLedger(cast(Database, _Failing(error)))
    with pytest.raises(BulkWriteError):
        ledger.swap([DeliveryChange(None, _claim("a"))])


class _Failing:
    """A database whose batches fail, and in which nothing is found."""

    def __init__(self, error: BulkWriteError) -> None:
        self._error = error

    def __getitem__(self, _: str) -> _Failing:
        return self

    def ask(self, operation: Callable[[], Any]) -> Any:
        return operation()

    def bulk_write(self, *_: object, **__: object) -> None:
        raise self._error

    def find(self, *_: object, **__: object) -> list[Any]:
        return []
