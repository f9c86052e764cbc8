"""When going on would do harm."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from structlog.testing import CapturingLogger

from speakerbot.delivery.circuit_breakers import (
    FAILURES_IN_A_ROW,
    INVALID_REQUESTS,
    Guard,
    RunStopped,
)
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Refused

AT = datetime(2026, 11, 20, 16, tzinfo=UTC)
SENT = Delivery("k", "trial", "user:1", DeliveryState.SENT, "r", "run", AT, AT, AT, AT)
CLOSED = SENT._replace(
    state=DeliveryState.UNDELIVERABLE, error_class="recipient", error="dm: closed"
)


class Invalid:
    """How many requests Discord holds against us."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def guard() -> Guard:
    return Guard(asyncio.Event(), Invalid(), CapturingLogger())


def reason(guard: Guard) -> str | None:
    return guard.stopped.reason if guard.stopped else None


def test_twenty_equal_failures_in_a_row_stop_the_run(guard: Guard) -> None:
    for _ in range(FAILURES_IN_A_ROW - 1):
        guard.notice(CLOSED)
    assert reason(guard) is None
    guard.notice(CLOSED)
    assert reason(guard) == "recipients"
    assert guard.stop.is_set()


@pytest.mark.parametrize(
    "between", [SENT, CLOSED._replace(error="dm: another reason"), CLOSED._replace(error_class="")]
)
def test_anything_else_in_between_begins_anew(guard: Guard, between: Delivery) -> None:
    for after in [CLOSED] * 19 + [between] + [CLOSED] * 19:
        guard.notice(after)
    assert reason(guard) is None


@pytest.mark.parametrize(
    ("error_class", "expected"),
    [("transient", "unreachable"), ("permission", "config"), ("rejected", "config")],
)
def test_what_fails_alike_for_everybody_is_not_their_fault(
    guard: Guard, error_class: str, expected: str
) -> None:
    """Discord is away, the bot lost a permission, or Discord takes our messages no more."""
    for _ in range(FAILURES_IN_A_ROW):
        guard.notice(CLOSED._replace(state=DeliveryState.FAILED, error_class=error_class))
    assert reason(guard) == expected


def test_too_many_invalid_requests_stop_the_run(guard: Guard) -> None:
    assert isinstance(guard.invalid_requests, Invalid)
    guard.invalid_requests.count = INVALID_REQUESTS
    guard.notice(SENT)
    assert reason(guard) == "invalid_requests"


def test_three_forbidden_channels_of_the_settings_stop_the_run(guard: Guard) -> None:
    for number in (1, 1, 2):
        route = Route("channel", str(number), configured=True)
        guard.channel_refused(route, Refused("permission", "may not"))
    assert reason(guard) is None
    guard.channel_refused(Route("channel", "3", configured=True), Refused("permission", "no"))
    assert reason(guard) == "config"
    assert set(guard.refused_channels) == {"1", "2", "3"}


def test_the_first_reason_to_stop_stays(guard: Guard) -> None:
    guard.halt(RunStopped("sigterm"))
    guard.halt(RunStopped("token"))
    assert reason(guard) == "sigterm"
