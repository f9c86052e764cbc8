"""What the digest counts: the ledger's states since an instant, in one query."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.ports.store import Store

SINCE = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def _put(store: Store, name: str, state: DeliveryState, updated_at: datetime) -> Delivery:
    record = Delivery(
        key=f"weekly/{name}/channel:1/2026-W47",
        kind="weekly",
        recipient="channel:1",
        state=state,
        revision=f"{name}.1",
        run_id="run",
        due_at=SINCE,
        expires_at=SINCE,
        created_at=SINCE - timedelta(days=30),
        updated_at=updated_at,
        sent_at=updated_at if state == "sent" else None,
    )
    store.ledger.swap([DeliveryChange(None, record)])
    return record


def test_states_are_counted_from_the_instant_on(store: Store) -> None:
    just_before = SINCE - timedelta(milliseconds=1)
    _put(store, "a", DeliveryState.SENT, SINCE)
    _put(store, "b", DeliveryState.SENT, SINCE + timedelta(hours=1))
    _put(store, "c", DeliveryState.SENT, just_before)
    _put(store, "d", DeliveryState.FAILED, SINCE)
    _put(store, "e", DeliveryState.UNKNOWN, just_before)
    _put(store, "f", DeliveryState.UNDELIVERABLE, SINCE + timedelta(days=2))
    assert store.ledger.counts(since=SINCE) == {"sent": 2, "failed": 1, "undeliverable": 1}


def test_an_edit_of_an_old_post_is_not_counted_as_sent(store: Store) -> None:
    posted = _put(store, "a", DeliveryState.SENT, SINCE - timedelta(days=3))
    edited = posted._replace(revision="a.2", updated_at=SINCE, text="as it is now")
    store.ledger.swap([DeliveryChange(posted, edited)])
    assert store.ledger.counts(since=SINCE) == {}


def test_an_empty_ledger_has_no_counts(store: Store) -> None:
    assert store.ledger.counts(since=SINCE) == {}
