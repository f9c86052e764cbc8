"""What is old is forgotten once a day, a bounded piece at a time; that never fails a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
import structlog
from structlog.testing import capture_logs

from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.run import Run
from speakerbot.errors import StoreLocked
from speakerbot.ports.store import Ledger, Store
from speakerbot.runs.pruning import BATCH, BATCHES, MARK, prune_daily
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
SETTINGS = Settings(database_url="")
DAY = timedelta(days=1)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def sent(name: str, age: timedelta) -> Delivery:
    at = NOW - age
    key = f"kind/{name}/user:1/2026"
    return Delivery(
        key, "kind", "user:1", DeliveryState.SENT, "1", "run", at, at, at, at, text="private"
    )


def inbox(name: str, age: timedelta) -> InboxMessage:
    return InboxMessage(f"kind/{name}/user:1/2026", "user:1", "private", NOW - age)


def fill(store: Store, *records: Delivery) -> None:
    store.ledger.swap([DeliveryChange(None, record) for record in records])


def pruned(store: Store, run_id: str = "r1", at: datetime = NOW) -> list[str]:
    """The events it logs."""
    with capture_logs() as lines:
        prune_daily(store, SETTINGS, run_id, at, structlog.get_logger())
    return [line["event"] for line in lines]


def test_what_is_older_than_the_settings_say_is_forgotten(store: Store) -> None:
    old, middle, young = sent("old", 401 * DAY), sent("middle", 31 * DAY), sent("young", 29 * DAY)
    fill(store, old, middle, young)
    store.runs.put(Run("r0", "weekly", NOW, NOW - 401 * DAY))
    for message in (unread := inbox("old", 31 * DAY), recent := inbox("young", 29 * DAY)):
        store.inbox.put(message)
    assert pruned(store) == ["store_pruned"]
    assert store.inbox.get([unread.key, recent.key]) == {recent.key: recent}
    left = store.ledger.get([old.key, middle.key, young.key])
    assert left == {middle.key: middle._replace(text=""), young.key: young}
    assert list(store.runs.list()) == []


def test_once_a_day_by_whichever_run_is_first(store: Store) -> None:
    assert pruned(store, "r1") == []
    assert store.marks.get(MARK) == "2026-11-20 r1"
    fill(store, sent("old", 500 * DAY))
    assert pruned(store, "r2") == []
    assert len(list(store.ledger.list())) == 1
    assert pruned(store, "r3", NOW + DAY) == ["store_pruned"]
    assert store.marks.get(MARK) == "2026-11-21 r3"


def test_a_run_does_a_bounded_piece_and_the_next_one_goes_on(store: Store) -> None:
    many = BATCH * BATCHES + 700
    fill(store, *(sent(f"n{n}", 500 * DAY) for n in range(many)))
    pruned(store, "r1")
    assert len(list(store.ledger.list(limit=many))) == 700
    pruned(store, "r2")
    assert list(store.ledger.list()) == []
    assert store.marks.get(MARK) == "2026-11-20 r2"


def test_inboxes_alone_are_pruned_in_bounded_pieces_too(store: Store) -> None:
    for number in range(BATCH * BATCHES + 1):
        store.inbox.put(inbox(f"{number}", 31 * DAY))
    assert pruned(store, "r1") == ["store_pruned"]
    assert store.inbox.count_before(NOW) == 1
    assert pruned(store, "r2") == ["store_pruned"]
    assert store.inbox.count_before(NOW) == 0
    assert store.marks.get(MARK) == "2026-11-20 r2"


class LockedLedger:
    """Raises where anything is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise StoreLocked("locked")


def test_its_failure_is_logged_and_fails_nothing(store: Store) -> None:
    store.ledger = cast("Ledger", LockedLedger())
    assert pruned(store) == ["pruning_failed"]
