"""Injected faults: which requests they strike, and what they do to them on a real connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected

import pytest

from speakerbot.testing.discord import NO_LIMITS, Fault, LoopbackDiscord, Settings
from speakerbot.testing.discord.faults import Faults

BODY = json.dumps({"content": "hello", "nonce": "n", "enforce_nonce": True})


@pytest.fixture
def discord() -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        yield running


def post(discord: LoopbackDiscord, *, timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", discord.port, timeout=timeout)
    try:
        headers = {"Authorization": "Bot t", "Content-Type": "application/json"}
        connection.request("POST", "/api/v10/channels/5/messages", BODY, headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def test_the_nth_request_of_an_operation_is_struck_and_no_other() -> None:
    faults = Faults(seed=0)
    faults.inject(Fault(kind="reset", on="create_message", nth=3, times=2))
    struck = [
        bool(faults.strike(operation, "5"))
        for operation in ("create_message", "create_dm", "create_message", "get_user")
        + ("create_message",) * 4
    ]
    assert struck == [False, False, False, False, True, True, False, False]


def test_a_fault_may_be_for_one_channel() -> None:
    faults = Faults(seed=0)
    faults.inject(Fault(kind="reset", channel_id="6"))
    assert faults.strike("create_message", "5") is None
    assert faults.strike("create_message", "6") is not None


def test_of_two_faults_the_first_strikes_and_both_count() -> None:
    faults = Faults(seed=0)
    first, second = Fault(kind="hang"), Fault(kind="reset", nth=2)
    faults.inject(first, second)
    assert [faults.strike("get_user", "1") for _ in range(3)] == [first, second, None]


def test_chance_is_repeatable_and_near_its_probability() -> None:
    def strikes(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.inject(Fault(kind="reset", times=None, probability=0.2))
        return [bool(faults.strike("create_message", "5")) for _ in range(1000)]

    assert strikes(7) == strikes(7) != strikes(8)
    assert 150 < sum(strikes(7)) < 250


def test_cleared_faults_strike_no_more(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="error", times=None))
    assert post(discord)[0] == 500
    discord.clear_faults()
    assert post(discord)[0] == 200


@pytest.mark.parametrize("html", [False, True])
def test_an_error_answers_and_takes_no_effect(discord: LoopbackDiscord, html: bool) -> None:
    discord.inject(Fault(kind="error", status=503, html=html))
    status, headers, body = post(discord)
    assert status == 503
    assert headers["Content-Type"] == ("text/html" if html else "application/json")
    assert body.startswith(b"<!DOCTYPE" if html else b"{")
    assert list(discord.messages) == []


def test_an_error_may_come_although_the_message_was_accepted(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="error", status=502, accepted=True))
    assert post(discord)[0] == 502
    assert post(discord)[0] == 200
    assert len(discord.messages) == 1, "the second found it by its nonce"


def test_a_page_may_answer_in_discords_place(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="html"))
    status, headers, _ = post(discord)
    assert (status, headers["Content-Type"]) == (200, "text/html")
    assert list(discord.messages) == []


def test_a_429_may_come_without_via(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="rate_limit", html=True), Fault(kind="rate_limit", retry_after=2.5))
    status, headers, _ = post(discord)
    assert (status, headers.get("Via")) == (429, None)
    status, headers, body = post(discord)
    assert (status, headers["Retry-After"]) == (429, "3")
    assert json.loads(body)["retry_after"] == 2.5
    assert discord.rate_limited == 2


def test_a_reset_connection_has_accepted_nothing(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="reset"))
    with pytest.raises(ConnectionResetError) as reset:
        post(discord)
    assert not isinstance(reset.value, RemoteDisconnected), "a real reset, not an end of file"
    assert list(discord.messages) == []
    assert discord.requests[-1].status is None


def test_a_lost_response_has_accepted_the_message(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="lost_response", on="create_message"))
    with pytest.raises(RemoteDisconnected):
        post(discord)
    assert [m.content for m in discord.messages] == ["hello"]
    assert discord.counts["create_message", None] == 1


def test_a_hanging_request_is_never_answered_and_does_not_hold_up_the_end() -> None:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as discord:
        discord.inject(Fault(kind="hang", accepted=True))
        with pytest.raises(TimeoutError):
            post(discord, timeout=0.2)
        assert len(discord.messages) == 1


def test_latency_passes_before_and_after_the_effect() -> None:
    with LoopbackDiscord(Settings(latency=0.2, jitter=0.05)).running_in_thread() as discord:
        begun = discord.clock.now()
        post(discord)
        ended = discord.clock.now()
    (message,) = discord.messages
    assert 0.15 <= (ended - begun).total_seconds() < 2
    assert (message.at - begun).total_seconds() >= 0.074
    assert (ended - message.at).total_seconds() >= 0.074


def test_a_request_takes_effect_although_its_sender_dies_before_the_answer() -> None:
    with LoopbackDiscord(Settings(latency=0.4)).running_in_thread() as discord:
        with pytest.raises(TimeoutError):
            post(discord, timeout=0.05)
        assert list(discord.messages) == []
        deadline = time.monotonic() + 10
        while not discord.messages and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [m.content for m in discord.messages] == ["hello"]
