"""What dead runs have left is settled by whoever names it, else by the next run that sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from speakerbot.channels.discord.access import CAPABILITIES
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.recovery import REASON, NotNow, with_leftovers
from speakerbot.domain.delivery import MAX_ATTEMPTS, Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Message, NodeFlag, Route
from speakerbot.domain.run import StopReason
from speakerbot.ports.channel import RefusalClass, Refused
from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from tests.unit.conftest import Desk

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MESSAGE = Message(
    "reminder.day_of", "talk:1", "user:7", "2026-11-20", (Route("dm", "7"),), "reminder.day_of",
    {}, NOW - 2 * HOUR, NOW - HOUR, "why",
)  # fmt: skip
DEAD = Delivery(
    MESSAGE.key, MESSAGE.kind, "user:7", DeliveryState.CLAIMED, "r1", "dead", NOW - 2 * HOUR,
    NOW - HOUR, NOW - HOUR, NOW - HOUR, route="dm", target="7", lease_until=NOW - MINUTE,
)  # fmt: skip


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def leftovers(store: Store, record: Delivery, *plans: MessagePlan) -> list[MessagePlan]:
    store.ledger.swap([DeliveryChange(None, record)])
    return list(with_leftovers(plans, store, NOW, NOW))


class TestLeftovers:
    def test_a_dead_runs_message_whose_time_is_over_is_looked_for(self, store: Store) -> None:
        [plan] = leftovers(store, DEAD)
        assert (plan.state, plan.reason, plan.record) == ("planned", REASON, DEAD)
        message = plan.message
        assert message.key == DEAD.key
        assert (message.kind, message.subject) == ("reminder.day_of", "talk:1")
        assert (message.recipient, message.occasion) == ("user:7", "2026-11-20")
        assert (message.due_at, message.expires_at) == (DEAD.due_at, DEAD.expires_at)
        assert (message.routes, message.reason) == ((Route("dm", "7"),), REASON)
        assert message.flag is None

    def test_one_that_failed_too_often_is_closed(self, store: Store) -> None:
        failed = DEAD._replace(state=DeliveryState.FAILED, attempts=MAX_ATTEMPTS)
        assert len(leftovers(store, failed)) == 1

    def test_one_that_had_not_reached_a_route_has_none(self, store: Store) -> None:
        [plan] = leftovers(store, DEAD._replace(route="", target=""))
        assert plan.message.routes == ()

    def test_one_that_another_run_is_looking_for_is_left_to_it(self, store: Store) -> None:
        assert leftovers(store, DEAD._replace(lease_until=NOW + MINUTE)) == []

    def test_one_that_a_job_still_names_is_not_taken_up_twice(self, store: Store) -> None:
        """Also at the very instant at which its time is over."""
        record = DEAD._replace(expires_at=NOW)
        plan = MessagePlan(MESSAGE, DeliveryState.PLANNED, "why", record=record)
        assert leftovers(store, record, plan) == [plan]

    def test_what_a_job_names_for_the_first_time_comes_before_them(self, store: Store) -> None:
        other = replace(MESSAGE, occasion="2026-11-21")
        plan = MessagePlan(other, DeliveryState.PLANNED, "why")
        first, second = leftovers(store, DEAD, plan)
        assert (first, second.record) == (plan, DEAD)

    def test_the_flag_that_it_had_set_is_given_back(self, store: Store) -> None:
        [plan] = leftovers(store, DEAD._replace(flag_at=NOW - HOUR))
        assert plan.message.flag == NodeFlag("1", "sentDayOfAt", NOW - HOUR, counts=False)

    def test_messages_of_other_kinds_have_no_flag(self, store: Store) -> None:
        key = DEAD.key.replace("reminder.day_of", "weekly")
        [plan] = leftovers(store, DEAD._replace(key=key, kind="weekly", flag_at=NOW - HOUR))
        assert plan.message.flag is None


class TestAChannelThatHasStopped:
    @pytest.mark.parametrize("why", ["bot", "token"])
    def test_a_look_that_is_refused_for_good_stops_it(self, desk: Desk, why: str) -> None:
        desk.discord.history = Refused(RefusalClass(why), "no")
        with pytest.raises(NotNow):
            desk.deliver(desk.unconfirmed(HOUR))
        assert desk.stopped["discord"].reason == why
        assert desk.stopped["discord"].detail == "no"

    def test_a_look_that_finds_it_stopped_leaves_the_message_to_a_later_run(
        self, desk: Desk
    ) -> None:
        desk.discord.history = ChannelStopped(StopReason("unreachable"))
        with pytest.raises(NotNow):
            desk.deliver(desk.unconfirmed(HOUR))
        assert desk.stopped["discord"].reason == "unreachable"

    @pytest.mark.parametrize("looks_back", [True, False])
    def test_nothing_is_decided_by_it(self, desk: Desk, *, looks_back: bool) -> None:
        desk.discord.capabilities = replace(CAPABILITIES, looks_back=looks_back)
        desk.halted = ChannelStopped(StopReason("unreachable"))
        with pytest.raises(NotNow):
            desk.deliver(desk.unconfirmed(HOUR))
        assert desk.discord.asked == []


def test_what_went_by_a_channel_that_the_settings_have_no_more_waits_for_it(desk: Desk) -> None:
    """A deployment with half of its settings must not decide that nothing arrived."""
    before = desk.unconfirmed(HOUR).before
    assert before is not None
    gone = before._replace(route="telegram", target="7")
    record = desk.deliver(desk.claim(before=gone))
    assert (record.state, record.error) == ("failed", "the settings have no channel 'telegram'")
    assert record.unconfirmed_since == NOW - HOUR
    assert desk.discord.asked == []


def test_a_record_that_names_no_bot_is_looked_for_as_our_own(desk: Desk) -> None:
    before = desk.unconfirmed(HOUR).before
    assert before is not None
    desk.discord.history = "55"
    assert desk.deliver(desk.claim(before=before._replace(bot=""))).state == "sent"
    assert desk.discord.asked == ["find 77"]


def test_an_attempt_of_this_very_run_is_looked_for_too(desk: Desk) -> None:
    claim = desk.claim()
    claim.unconfirmed_since = NOW
    desk.discord.history = "55"
    record = desk.deliver(claim)
    assert (record.state, record.message_id) == ("sent", "55")
