"""When going on would do harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import CapturingLogger

from speakerbot.delivery.circuit_breakers import (
    FAILURES_IN_A_ROW,
    INVALID_REQUESTS,
    LONGEST_REST,
    Breakers,
    ChannelStopped,
    Guard,
    left_by,
)
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Route
from speakerbot.domain.run import StopReason
from speakerbot.ports.channel import RefusalClass, Refused
from speakerbot.ports.store import Breaker

AT = datetime(2026, 11, 20, 16, tzinfo=UTC)
SENT = Delivery("k", "trial", "user:1", DeliveryState.SENT, "r", "run", AT, AT, AT, AT)
CLOSED = SENT._replace(
    state=DeliveryState.UNDELIVERABLE, error_class="recipient", error="dm: closed"
)


FAILED = SENT._replace(state=DeliveryState.FAILED, error_class="service", error="503")
FAULT = Refused(RefusalClass.SERVICE, "503")


class Invalid:
    """How many requests Discord holds against us."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def guard() -> Guard:
    return Guard(Invalid(), lambda _: None, CapturingLogger())


def reason(guard: Guard) -> str | None:
    return guard.stopped.reason if guard.stopped else None


def test_twenty_equal_failures_in_a_row_stop_the_channel(guard: Guard) -> None:
    for _ in range(FAILURES_IN_A_ROW - 1):
        guard.notice(CLOSED)
    assert reason(guard) is None
    guard.notice(CLOSED)
    assert reason(guard) == "recipients"


@pytest.mark.parametrize(
    "between", [SENT, CLOSED._replace(error="dm: another reason"), CLOSED._replace(error_class="")]
)
def test_anything_else_in_between_begins_anew(guard: Guard, between: Delivery) -> None:
    for after in [CLOSED] * 19 + [between] + [CLOSED] * 19:
        guard.notice(after)
    assert reason(guard) is None


def test_what_is_rejected_alike_for_everybody_is_not_their_fault(guard: Guard) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        guard.notice(CLOSED._replace(error_class="rejected"))
    assert reason(guard) == "config"


def test_faults_of_one_target_say_nothing_about_the_service(guard: Guard) -> None:
    for _ in range(100):
        guard.service_fault("1", FAULT)
        guard.notice(FAILED)
    assert not guard.suspects_outage
    assert reason(guard) is None


def test_faults_of_five_targets_in_a_row_have_the_service_asked(guard: Guard) -> None:
    for target in "1234":
        guard.service_fault(target, FAULT)
        guard.notice(FAILED)
    assert not guard.suspects_outage
    guard.notice(SENT)
    for target in "12345":
        assert not guard.suspects_outage
        guard.service_fault(target, FAULT)
        guard.notice(FAILED)
    assert guard.suspects_outage


def test_rate_limits_are_no_outage(guard: Guard) -> None:
    limited = Refused(RefusalClass.SERVICE, "wait", limited=True, retry_after=40)
    for target in "123456":
        guard.service_fault(target, limited)
    assert not guard.suspects_outage
    assert reason(guard) is None


def test_a_limit_on_everything_stops_the_run_and_is_left_to_the_next_one(guard: Guard) -> None:
    banned = Refused(RefusalClass.SERVICE, "ban", limited=True, everywhere=True, retry_after=1200)
    guard.service_fault("1", banned)
    assert reason(guard) == "rate_limited"
    left = dict(left_by(guard.stopped, 0, AT))
    assert left == {"rate_limit": Breaker(AT + timedelta(minutes=20), "ban")}
    later = Breakers(left)
    stopped = later.forbids(AT + timedelta(minutes=19))
    assert stopped is not None
    assert stopped.reason == "rate_limited"
    assert later.forbids(AT + timedelta(minutes=21)) is None


def test_a_breaker_of_a_broken_clock_is_cut_to_the_longest_there_is() -> None:
    left = Breakers({"bot": Breaker(AT + timedelta(days=365), "clock"), "x": Breaker(AT, "old")})
    assert left.impossible(AT) == {"bot": Breaker(AT + LONGEST_REST, "clock")}


def test_too_many_invalid_requests_stop_the_channel(guard: Guard) -> None:
    assert isinstance(guard.invalid_requests, Invalid)
    guard.invalid_requests.count = INVALID_REQUESTS
    guard.notice(SENT)
    assert reason(guard) == "invalid_requests"


def test_forbidden_channels_of_the_settings_stop_nothing_else(guard: Guard) -> None:
    for number in range(5):
        route = Route("channel", str(number), configured=True)
        guard.target_refused(route, Refused(RefusalClass.TARGET, "may not"))
    assert reason(guard) is None
    assert len(guard.refused_targets) == 5


def test_the_first_reason_to_stop_stays(guard: Guard) -> None:
    guard.halt(ChannelStopped(StopReason.BOT))
    guard.halt(ChannelStopped(StopReason.TOKEN))
    assert reason(guard) == "bot"
