"""What each answer to a request means for the message."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.channels.discord.access import CAPABILITIES
from speakerbot.delivery.claims import ClaimLost
from speakerbot.delivery.recovery import NotNow
from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.message import Route

if TYPE_CHECKING:
    from tests.unit.conftest import Desk

HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=5)
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
THREAD = Route("thread", "70", mention="7")
OTHER = Route("other", "7")
BOT = "1234"
FALLBACK = Route("channel", "400", mention="7", configured=True)


def test_an_accepted_message_is_sent_by_its_first_route(desk: Desk) -> None:
    record = desk.deliver(desk.claim())
    assert (record.state, record.route, record.channel_id, record.message_id) == (
        "sent", "dm", "77", "1",
    )  # fmt: skip
    assert desk.discord.asked == ["send 77"]
    assert desk.swaps == [], "the claim covered it already"


def test_a_refused_recipient_goes_the_next_route_with_a_mention(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    record = desk.deliver(desk.claim())
    assert (record.state, record.route, record.text) == ("sent", "thread", "<@7> hello")
    [(_, noted)] = desk.swaps
    assert (noted.route, noted.target, noted.text) == ("thread", "70", "<@7> hello")


def test_without_a_route_left_it_is_undeliverable(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.refuse("70", "recipient")
    record = desk.deliver(desk.claim())
    assert (record.state, record.error_class) == ("undeliverable", "recipient")
    assert record.error == "dm: it is recipient; thread: it is recipient"


def test_a_thread_we_may_not_write_in_is_one_route_less(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.refuse("70", "target")
    record = desk.deliver(desk.claim())
    assert (record.state, record.error) == (
        "undeliverable", "dm: it is recipient; thread: it is target",
    )  # fmt: skip


def test_a_message_without_any_route_is_undeliverable(desk: Desk) -> None:
    claim = desk.claim()
    claim.plan = replace(claim.plan, message=replace(claim.message, routes=()))
    record = desk.deliver(claim)
    assert (record.state, record.error) == ("undeliverable", "there is no route to try")


@pytest.mark.parametrize("maybe", [True, False])
def test_a_fault_of_the_service_counts_no_try_and_stays_unconfirmed_if_it_may_have_arrived(
    desk: Desk, maybe: bool
) -> None:
    desk.discord.refuse("77", "service", maybe_accepted=maybe)
    record = desk.deliver(desk.claim())
    assert (record.state, record.attempts, record.service_faults) == ("failed", 0, 1)
    assert (record.unconfirmed_since is not None) is maybe
    assert desk.discord.asked == ["send 77"], "the next route is for those who refuse this one"


@pytest.mark.parametrize("faults", [8, 20, 1000])
def test_no_outage_uses_up_a_message(desk: Desk, faults: int) -> None:
    desk.discord.refuse("77", "service")
    before = desk.claim().record._replace(
        state=DeliveryState.FAILED, attempts=0, service_faults=faults, unconfirmed_since=None
    )
    record = desk.deliver(desk.claim(before=before))
    assert (record.state, record.attempts, record.service_faults) == ("failed", 0, faults + 1)
    assert record.retry_at is not None
    assert timedelta(minutes=14) < record.retry_at - NOW < timedelta(minutes=31)


def test_a_text_that_discord_rejects_is_not_tried_again(desk: Desk) -> None:
    desk.discord.refuse("77", "rejected")
    record = desk.deliver(desk.claim())
    assert (record.state, record.error_class) == ("undeliverable", "rejected")


def test_known_to_discord_by_its_nonce_means_sent(desk: Desk) -> None:
    desk.discord.refuse("77", "already_sent")
    assert desk.deliver(desk.claim()).state == "sent"


@pytest.mark.parametrize("why", ["bot", "token"])
def test_what_concerns_the_whole_bot_stops_its_channel_and_counts_no_try(
    desk: Desk, why: str
) -> None:
    desk.discord.refuse("77", why)
    with pytest.raises(NotNow):
        desk.deliver(desk.claim())
    assert desk.stopped["discord"].reason == why
    assert desk.discord.asked == ["send 77"], "nor is the thread tried, it is the same bot's"


def test_a_message_goes_by_another_channel_where_one_has_stopped(desk: Desk) -> None:
    desk.discord.refuse("77", "token")
    record = desk.deliver(desk.claim(Route("dm", "7"), THREAD, OTHER))
    assert (record.state, record.route, record.bot) == ("sent", "other", BOT)
    assert (desk.discord.asked, desk.other.asked) == (["send 77"], ["send 7"])
    assert set(desk.stopped) == {"discord"}


def test_it_does_not_where_the_service_only_has_to_work_again(desk: Desk) -> None:
    desk.discord.refuse("77", "service", everywhere=True)
    claim = desk.claim(Route("dm", "7"), OTHER)
    assert desk.deliver(claim).state == "failed"
    assert desk.stopped["discord"].reason == "rate_limited"
    assert desk.other.asked == []


def test_a_refused_message_is_kept_for_the_channel_that_has_stopped(desk: Desk) -> None:
    desk.discord.refuse("77", "token")
    desk.other.refuse("7", "recipient")
    with pytest.raises(NotNow):
        desk.deliver(desk.claim(Route("dm", "7"), OTHER))


def test_another_channels_text_is_rendered_for_it(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.other.capabilities = replace(CAPABILITIES, escape=str.upper)
    record = desk.deliver(desk.claim(Route("dm", "7"), OTHER))
    assert "KITES" in record.text
    assert desk.other.texts == [record.text]


def test_a_channel_that_the_settings_do_not_have_is_one_route_less(desk: Desk) -> None:
    record = desk.deliver(desk.claim(Route("telegram", "7")))
    assert (record.state, record.error) == (
        "undeliverable", "telegram: the settings have no channel 'telegram'",
    )  # fmt: skip


class TestChannelsThatCannotLookBack:
    def test_an_answer_that_never_came_is_unknown(self, desk: Desk) -> None:
        desk.discord.capabilities = replace(
            CAPABILITIES, looks_back=False, idempotent_for=timedelta()
        )
        desk.discord.refuse("77", "service", maybe_accepted=True)
        record = desk.deliver(desk.claim())
        assert (record.state, record.retry_at) == ("unknown", None)

    def test_a_definite_fault_is_tried_again(self, desk: Desk) -> None:
        desk.discord.capabilities = replace(
            CAPABILITIES, looks_back=False, idempotent_for=timedelta()
        )
        desk.discord.refuse("77", "service")
        assert desk.deliver(desk.claim()).state == "failed"

    def test_a_dead_runs_attempt_is_unknown(self, desk: Desk) -> None:
        desk.discord.capabilities = replace(
            CAPABILITIES, looks_back=False, idempotent_for=timedelta()
        )
        record = desk.deliver(desk.unconfirmed(HOUR))
        assert (record.state, desk.discord.asked) == ("unknown", [])

    @pytest.mark.parametrize(("ago", "state"), [(1, "sent"), (3, "unknown")])
    def test_within_its_window_an_idempotent_one_is_sent_again(
        self, desk: Desk, ago: int, state: str
    ) -> None:
        desk.discord.capabilities = replace(
            CAPABILITIES, looks_back=False, idempotent_for=timedelta(minutes=2)
        )
        record = desk.deliver(desk.unconfirmed(timedelta(minutes=ago), "as it was"))
        assert record.state == state
        assert desk.discord.texts == (["as it was"] if state == "sent" else [])


def test_a_channel_of_the_settings_that_refuses_is_not_the_messages_fault(desk: Desk) -> None:
    desk.discord.refuse("400", "target")
    for _ in range(2):
        record = desk.deliver(desk.claim(FALLBACK))
        assert (record.state, record.error_class, record.attempts) == ("failed", "config", 0)
    assert desk.discord.asked == ["send 400"], "nor is it asked again in this run"


def test_a_claim_that_does_not_cover_the_request_is_renewed_first(desk: Desk) -> None:
    late = LEASE - timedelta(seconds=30)
    assert desk.deliver(desk.claim(), later=late).state == "sent"
    [(before, after)] = desk.swaps
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert after.lease_until - before.lease_until > timedelta(minutes=4)
    assert after.unconfirmed_since == before.unconfirmed_since


def test_a_claim_that_was_taken_over_sends_nothing(desk: Desk) -> None:
    desk.taken_over = True
    with pytest.raises(ClaimLost):
        desk.deliver(desk.claim(), later=LEASE)
    assert desk.discord.asked == []


def test_what_is_too_late_is_not_sent(desk: Desk) -> None:
    record = desk.deliver(desk.claim(), offset=2 * HOUR)
    assert (record.state, record.error_class) == ("expired", "expired")
    assert desk.discord.asked == []
