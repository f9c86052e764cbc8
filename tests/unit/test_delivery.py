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
    NO_CONTENT,
    UNRENDERED,
    Delivery,
    DeliveryChange,
    DeliveryState,
    MessageKey,
    SkipReason,
    claimed,
    may_be_closed,
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


def test_a_new_claim_keeps_the_nonce_and_the_refused_edits() -> None:
    before = RECORD._replace(route="dm", target="7", nonce="n1", edit_failures=3)
    record = claimed(RECORD._replace(nonce="n2"), before)
    assert (record.nonce, record.edit_failures) == ("n1", 3)


def test_where_nothing_was_unconfirmed_a_new_claim_is_from_its_own_begin() -> None:
    fresh = RECORD._replace(unconfirmed_since=NOW)
    assert claimed(fresh, RECORD._replace(state=DeliveryState.FAILED)).unconfirmed_since == NOW


@pytest.mark.parametrize(
    ("state", "attempts", "found"), [("sent", 0, True), ("sent", 1, False), ("failed", 0, False)]
)
def test_what_was_sent_without_a_try_stood_there_before(
    state: str, attempts: int, *, found: bool
) -> None:
    record = RECORD._replace(state=DeliveryState(state), attempts=attempts)
    assert record.found is found


@pytest.mark.parametrize(
    ("state", "since", "unconfirmed"),
    [("failed", NOW, True), ("failed", None, False), ("undeliverable", NOW, False)],
)
def test_a_failed_attempt_may_have_arrived_until_that_is_settled(
    state: str, since: datetime | None, *, unconfirmed: bool
) -> None:
    record = RECORD._replace(state=DeliveryState(state), unconfirmed_since=since)
    assert record.unconfirmed(NOW) is unconfirmed


@pytest.mark.parametrize(
    ("changes", "closed"),
    [
        ({"lease_until": NOW}, True),
        ({"lease_until": NOW + MINUTE}, False),
        ({"state": "failed", "attempts": MAX_ATTEMPTS}, True),
        ({"state": "failed", "retry_at": NOW + MINUTE}, False),
        ({"state": "sent"}, False),
    ],
)
def test_only_what_no_run_holds_may_be_closed(changes: dict[str, Any], *, closed: bool) -> None:
    assert may_be_closed(RECORD._replace(**changes), NOW) is closed


def test_a_key_is_read_into_its_parts() -> None:
    key = MessageKey("weekly", "week:2026/47", "channel:300", "2026-W47/1")
    assert MessageKey.parse(str(key)) == key
    assert MessageKey.parse("weekly/300") is None


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


def test_names_that_are_stored_or_told_to_programs_stay_what_they_are() -> None:
    assert (UNRENDERED, NO_CONTENT) == ("config", "content")
    assert set(DeliveryState) >= {
        "planned", "held_back", "already_sent", "claimed", "sent", "failed", "undeliverable",
        "expired", "unknown",
    }  # fmt: skip
    assert set(SkipReason) >= {
        "completed", "overtaken", "first_snapshot", "talk_coming", "asked_recently",
        "weekly_mode_is_post", "nothing_posted", "deleted_twice", "edit_given_up", "opted_out",
        "quiet_hours", "expired", "in_progress", "retry_later", "in_order", "changed_meanwhile",
        "new_dm_pace", "node_bot_minute", "given_back", "limit", "only", "declined",
        "no_organisers_channel", "unread",
    }  # fmt: skip
