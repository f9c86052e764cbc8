"""What a person may have tried again, and what of the record must survive that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.deliveries import STYLES
from speakerbot.delivery.status import RETRIED, refusal, retried, status
from speakerbot.domain.delivery import MAX_ATTEMPTS, Delivery, DeliveryState, claimed, standing

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECORD = Delivery(
    key="reminder.day_of/talk:1/user:1/2026-11-20",
    kind="reminder.day_of",
    recipient="user:1",
    state=DeliveryState.FAILED,
    revision="r1",
    run_id="run-1",
    due_at=NOW - HOUR,
    expires_at=NOW + HOUR,
    created_at=NOW - HOUR,
    updated_at=NOW - HOUR,
    route="thread",
    target="55",
    text="<@1> Hi",
    attempts=3,
    retry_at=NOW + HOUR,
    error="Discord answered 503",
    flag_at=NOW - HOUR,
)


def test_every_status_has_a_style() -> None:
    assert set(STYLES) == {
        state for state in DeliveryState if state not in ("planned", "held_back", "already_sent")
    }


def test_what_failed_too_often_reads_as_undeliverable_and_can_be_tried_again() -> None:
    often = RECORD._replace(attempts=MAX_ATTEMPTS)
    assert status(often, NOW, NOW) == "undeliverable"
    assert refusal(often, NOW, NOW) == ""
    assert standing(retried(often, NOW, "r2"), NOW) == "planned"


def test_what_failed_reads_as_expired_from_the_very_end_of_its_time() -> None:
    assert status(RECORD, NOW + HOUR, NOW) == "expired"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "sent", "sent_at": NOW}, "it was sent at 2026-11-20 16:05 UTC"),
        ({"state": "claimed", "lease_until": NOW}, "the next run looks whether it arrived"),
        ({"state": "claimed", "lease_until": NOW + HOUR}, "run run-1 is sending it"),
        ({"state": "expired"}, "its time was over at 2026-11-20 17:05 UTC"),
    ],
)
def test_why_it_cannot_be_tried_again_is_told(changes: dict[str, Any], why: str) -> None:
    assert refusal(RECORD._replace(**changes), NOW, NOW).startswith(why)


@pytest.mark.parametrize("state", RETRIED)
def test_what_is_tried_again_is_free_at_once_with_all_its_tries(state: DeliveryState) -> None:
    before = RECORD._replace(state=state, lease_until=NOW + HOUR)
    after = retried(before, NOW, "r2")
    assert (after.state, after.attempts, after.lease_until) == ("failed", 0, None)
    assert (after.retry_at, after.updated_at) == (NOW, NOW)


def test_one_given_up_begins_at_its_first_route() -> None:
    after = retried(RECORD._replace(state=DeliveryState.UNDELIVERABLE), NOW, "r2")
    assert (after.route, after.target) == ("", "")


@pytest.mark.parametrize("state", RETRIED)
def test_nothing_is_tried_again_past_its_expiry(state: DeliveryState) -> None:
    record = RECORD._replace(state=state)
    assert refusal(record, NOW, NOW) == ""
    assert "its time was over" in refusal(record, NOW + HOUR, NOW)


def test_a_lease_goes_by_the_real_clock_and_expiry_by_the_decisions() -> None:
    held = RECORD._replace(state=DeliveryState.CLAIMED, lease_until=NOW + HOUR)
    assert status(held, NOW + 9 * HOUR, NOW) == "claimed"
    assert status(held, NOW, NOW + 9 * HOUR) == "claimed"
    assert status(RECORD, NOW, NOW + 9 * HOUR) == "failed"


@pytest.mark.parametrize("state", RETRIED)
@pytest.mark.parametrize("doubt", [None, NOW - HOUR])
def test_doubt_is_only_dropped_where_a_person_decided_and_never_without_its_route(
    state: DeliveryState, doubt: datetime | None
) -> None:
    """Without the route nobody could look where an earlier attempt may have arrived."""
    after = retried(RECORD._replace(state=state, unconfirmed_since=doubt), NOW, "r2")
    assert after.unconfirmed_since == (None if state == "unknown" else doubt)
    assert after.unconfirmed_since is None or (after.route, after.target) == ("thread", "55")
    assert (after.flag_at, after.created_at, after.revision) == (NOW - HOUR, NOW - HOUR, "r2")


def test_a_claim_on_one_given_up_holds_the_route_it_is_about_to_try() -> None:
    """Were the run to die right after its claim, recovery has to know where to look."""
    fresh = RECORD._replace(
        state=DeliveryState.CLAIMED, route="dm", target="1", text="Hi", attempts=1
    )
    given_up = retried(RECORD._replace(state=DeliveryState.UNDELIVERABLE), NOW, "r2")
    claim = claimed(fresh, given_up)
    assert (claim.route, claim.target, claim.text, claim.attempts) == ("dm", "1", "Hi", 1)
    going_on = claimed(fresh, retried(RECORD, NOW, "r2"))
    assert (going_on.route, going_on.target, going_on.text) == ("thread", "55", "<@1> Hi")
