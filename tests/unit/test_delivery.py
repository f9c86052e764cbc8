"""What a record allows a run to do, and what of it survives a new claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.clock import LONGEST_WAIT
from speakerbot.domain.delivery import (
    FINAL,
    MAX_ATTEMPTS,
    Delivery,
    DeliveryChange,
    DeliveryState,
    claimed,
    standing,
    within_reason,
)

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RECORD = Delivery("k", "trial", "user:1", DeliveryState.CLAIMED, "r1", "run1", NOW, NOW, NOW, NOW)


def test_what_nobody_has_touched_is_free() -> None:
    assert standing(None, NOW) == "planned"


@pytest.mark.parametrize(
    ("lease_until", "expected"),
    [(NOW + MINUTE, "claimed"), (NOW, "planned"), (NOW - MINUTE, "planned"),
     (None, "planned")],
)  # fmt: skip
def test_a_claim_holds_as_long_as_its_lease(lease_until: datetime | None, expected: str) -> None:
    assert standing(RECORD._replace(lease_until=lease_until), NOW) == expected


@pytest.mark.parametrize(
    ("retry_at", "attempts", "doubt", "expected"),
    [
        (NOW + MINUTE, 1, None, "failed"),
        (NOW, 1, None, "planned"),
        (None, 1, None, "planned"),
        (NOW + MINUTE, 1, NOW, "failed"),
        (NOW, 1, NOW - MINUTE, "planned"),
        (NOW, MAX_ATTEMPTS, None, "undeliverable"),
    ],
)
def test_a_failed_message_waits_and_is_given_up_in_the_end(
    retry_at: datetime | None, attempts: int, doubt: datetime | None, expected: str
) -> None:
    record = RECORD._replace(
        state=DeliveryState.FAILED, retry_at=retry_at, attempts=attempts, unconfirmed_since=doubt
    )
    assert standing(record, NOW) == expected


@given(st.sampled_from(sorted(FINAL)), st.timedeltas(-MINUTE * 999, MINUTE * 999))
def test_a_final_state_stays_what_it_is(state: DeliveryState, later: timedelta) -> None:
    record = RECORD._replace(state=state, unconfirmed_since=NOW, lease_until=NOW, retry_at=NOW)
    assert standing(record, NOW + later) == state


def test_a_new_claim_goes_on_where_the_last_one_was() -> None:
    before = RECORD._replace(
        route="thread", target="70", text="<@7> hi", attempts=2, unconfirmed_since=NOW - MINUTE
    )
    fresh = RECORD._replace(
        revision="r2", run_id="run2", route="dm", target="7", text="hi", attempts=1,
        created_at=NOW + MINUTE, unconfirmed_since=NOW + MINUTE,
    )  # fmt: skip
    record = claimed(fresh, before)
    assert (record.route, record.target, record.text) == ("thread", "70", "<@7> hi")
    assert record.attempts == 3
    assert record.created_at == before.created_at
    assert record.unconfirmed_since == before.unconfirmed_since, (
        "the first attempt is what may have arrived"
    )
    assert (record.revision, record.run_id) == ("r2", "run2")


def test_the_flag_to_give_back_is_the_one_before_our_first_claim() -> None:
    before = RECORD._replace(flag_at=NOW, flag_was=NOW - MINUTE)
    ours = RECORD._replace(flag_at=NOW, flag_was=NOW)
    assert claimed(ours, before).flag_was == NOW - MINUTE
    somebody_elses = RECORD._replace(flag_at=NOW + MINUTE, flag_was=None)
    assert claimed(somebody_elses, before).flag_was is None


def test_a_change_is_of_one_key() -> None:
    assert DeliveryChange(None, RECORD).key == DeliveryChange(RECORD, None).key == "k"


@pytest.mark.parametrize("field", ["lease_until", "retry_at"])
def test_an_instant_that_only_a_wrong_clock_can_have_written_is_cut(field: str) -> None:
    lease = 5 * MINUTE
    longest: Any = {field: NOW + LONGEST_WAIT}
    sound = RECORD._replace(**longest)
    assert within_reason(sound, NOW, lease) is sound
    a_year: Any = {field: NOW + timedelta(days=365)}
    wrong = RECORD._replace(**a_year)
    assert getattr(within_reason(wrong, NOW, lease), field) == NOW + LONGEST_WAIT
    longer = 2 * LONGEST_WAIT
    assert getattr(within_reason(wrong, NOW, longer), field) == NOW + longer
