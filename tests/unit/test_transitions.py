"""The steps out of a claim: how an attempt ends, and how the ledger is made to refuse a message."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim, Revisions
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.transitions import LOOKED_FOR, Endings, backoff, void
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Message, Route
from speakerbot.ports.channel import Receipt, RefusalClass, Refused

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20", (Route("dm", "7"),), "reminder.day_of", {},
    NOW, NOW + HOUR, "why",
)  # fmt: skip
RECORD = Delivery(
    MESSAGE.key, "trial", "user:7", DeliveryState.CLAIMED, "r1", "run", NOW, NOW + HOUR,
    NOW - HOUR, NOW - HOUR, route="dm", target="7", text="hello", attempts=1,
)  # fmt: skip
SERVICE = Refused(RefusalClass.SERVICE, "503")


class TestVoiding:
    def test_a_message_that_nobody_has_touched_is_refused_from_now_on(self) -> None:
        change = void(MESSAGE, None, "the talk is cancelled", NOW + MINUTE)
        after = change.after
        assert change.before is None
        assert after is not None
        assert (after.key, after.kind, after.recipient) == (MESSAGE.key, "trial", "user:7")
        assert (after.state, after.error_class) == ("expired", "expired")
        assert (after.error, after.due_at) == ("the talk is cancelled", NOW)
        assert after.created_at == after.updated_at == after.expires_at == NOW + MINUTE
        assert (after.attempts, after.service_faults, after.edit_failures) == (0, 0, 0)

    def test_one_that_failed_keeps_its_past_and_is_not_tried_again(self) -> None:
        failed = RECORD._replace(state=DeliveryState.FAILED, retry_at=NOW + HOUR)
        change = void(MESSAGE, failed, "the talk is cancelled", NOW)
        assert change.before == failed
        assert change.after is not None
        assert change.after.revision != failed.revision
        assert change.after == failed._replace(
            state=DeliveryState.EXPIRED,
            revision=change.after.revision,
            updated_at=NOW,
            expires_at=NOW,
            retry_at=None,
            error_class="expired",
            error="the talk is cancelled",
        )

    def test_of_two_that_refuse_it_at_once_each_has_a_revision_of_its_own(self) -> None:
        one, two = (void(MESSAGE, RECORD, "cancelled", NOW).after for _ in range(2))
        assert one is not None
        assert two is not None
        assert one.revision != two.revision


@pytest.mark.parametrize(
    ("failures", "longest"),
    [
        (0, 30 * SECOND),
        (1, 30 * SECOND),
        (2, MINUTE),
        (3, 2 * MINUTE),
        (6, 16 * MINUTE),
        (7, 30 * MINUTE),
        (1000, 30 * MINUTE),
    ],
)
def test_the_wait_doubles_from_half_a_minute_to_half_an_hour(
    failures: int, longest: timedelta
) -> None:
    waits = [backoff(failures) for _ in range(20)]
    assert longest / 2 <= min(waits) <= max(waits) <= longest
    assert len(set(waits)) > 1, "so that not all try again at once"


@pytest.fixture
def endings() -> Iterator[Endings]:
    with time_machine.travel(NOW, tick=False):
        yield Endings(Revisions("run"), Clock())


def claim(*, unconfirmed_since: datetime | None = None) -> Claim:
    plan = MessagePlan(MESSAGE, DeliveryState.PLANNED, "why")
    return Claim(plan, "hello", RECORD, None, unconfirmed_since)


class TestEndings:
    def test_a_retry_is_not_made_before_the_service_allows_it(self, endings: Endings) -> None:
        asked_to_wait = Refused(RefusalClass.SERVICE, "429", retry_after=3600)
        assert endings.retry_later(claim(), asked_to_wait).retry_at == NOW + HOUR

    def test_what_may_have_arrived_is_looked_for_until_a_day_after_its_expiry(
        self, endings: Endings
    ) -> None:
        unconfirmed = claim(unconfirmed_since=NOW)
        with time_machine.travel(NOW + HOUR + LOOKED_FOR - SECOND, tick=False):
            assert endings.retry_later(unconfirmed, SERVICE).state == "failed"
        with time_machine.travel(NOW + HOUR + LOOKED_FOR, tick=False):
            assert endings.retry_later(unconfirmed, SERVICE).state == "unknown"

    def test_what_has_surely_not_arrived_is_never_unknown(self, endings: Endings) -> None:
        with time_machine.travel(NOW + HOUR + 2 * LOOKED_FOR, tick=False):
            assert endings.retry_later(claim(), SERVICE).state == "failed"

    def test_what_cannot_be_found_out_says_so(self, endings: Endings) -> None:
        record = endings.unknown(claim(), "it cannot be looked for")
        assert (record.state, record.error_class) == ("unknown", "unknown")
        assert record.error == "it may have arrived; it cannot be looked for"

    def test_a_channel_of_the_settings_that_refuses_is_tried_again_by_the_next_run(
        self, endings: Endings
    ) -> None:
        route = Route("channel", "400", configured=True)
        refused = Refused(RefusalClass.TARGET, "no access")
        record = endings.no_route_left(claim(), [(route, refused)])
        assert (record.state, record.error_class) == ("failed", "config")
        assert record.retry_at == NOW

    def test_the_latest_messages_are_known_before_the_ledger_knows_them(
        self, endings: Endings
    ) -> None:
        endings.sent(claim(), Receipt("77", "55"))
        assert "55" in endings.latest
