"""Injected faults: which requests they strike, and what they do to them on a real connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest

from speakerbot.testing.discord import (
    NO_LIMITS,
    Fault,
    FaultBody,
    FaultKind,
    LoopbackDiscord,
    LoopbackSettings,
)
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


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, 50278, "Cannot send messages to this user"),
        (400, 160006, "Maximum number of active threads reached"),
        (404, 10008, "Unknown Message"),
        (418, 999_999, "A code that no table knows"),
        (200, 50035, "An error with the wrong status"),
    ],
)
def test_an_error_has_any_status_with_any_code_and_message(
    discord: LoopbackDiscord, status: int, code: int, message: str
) -> None:
    discord.inject(Fault(kind="error", status=status, code=code, message=message))
    answered, headers, body = post(discord)
    assert (answered, headers["Content-Type"]) == (status, "application/json")
    assert json.loads(body) == {"message": message, "code": code}
    assert list(discord.messages) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "403: Forbidden"), (500, "500: Internal Server Error"), (599, "599: Error")],
)
def test_an_error_without_a_code_says_its_status_in_words(
    discord: LoopbackDiscord, status: int, message: str
) -> None:
    discord.inject(Fault(kind="error", status=status))
    assert json.loads(post(discord)[2]) == {"message": message, "code": 0}


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 503])
def test_an_answer_may_be_bare_with_any_status(discord: LoopbackDiscord, status: int) -> None:
    bare: list[FaultBody] = ["html", "empty", "truncated"]
    discord.inject(*(Fault(kind="error", status=status, body=body) for body in bare))
    html, empty, truncated = post(discord), post(discord), post(discord)
    assert [answer[0] for answer in (html, empty, truncated)] == [status] * 3
    assert html[2].startswith(b"<!DOCTYPE")
    assert empty[2] == b""
    assert (truncated[1]["Content-Type"], truncated[2][:1]) == ("application/json", b"{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(truncated[2])
    assert discord.counts["create_message", status] == 3
    assert list(discord.messages) == []


def test_a_body_may_be_cut_off_with_its_connection(discord: LoopbackDiscord) -> None:
    discord.inject(Fault(kind="error", status=502, body="cut_off"))
    with pytest.raises(IncompleteRead) as cut:
        post(discord)
    assert cut.value.partial.startswith(b"{")
    assert discord.counts["create_message", 502] == 1


@pytest.mark.parametrize("body", ["truncated", "cut_off"])
def test_half_of_the_real_answer_is_all_that_may_come_of_an_accepted_message(
    discord: LoopbackDiscord, body: FaultBody
) -> None:
    discord.inject(Fault(kind="error", status=200, body=body, accepted=True))
    try:
        received = post(discord)[2]
    except IncompleteRead as cut:
        received = cut.partial
    (message,) = discord.messages
    assert received.startswith(f'{{"id":"{message.id}"'.encode())
    with pytest.raises(json.JSONDecodeError):
        json.loads(received)


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(0.2, "1"), (86_400, "86400"), (1e12, "1000000000000"), (None, None)],
)
def test_a_429_tells_any_time_to_wait_or_none(
    discord: LoopbackDiscord, html: bool, retry_after: float | None, header: str | None
) -> None:
    discord.inject(Fault(kind="rate_limit", retry_after=retry_after, html=html))
    status, headers, body = post(discord)
    assert (status, headers.get("Retry-After")) == (429, header)
    assert headers.get("Via") == (None if html else "1.1 loopback")
    if html:
        assert (headers["Content-Type"], body) == ("text/html", b"error code: 1015")
    else:
        assert json.loads(body).get("retry_after") == retry_after


@pytest.mark.parametrize("via", [False, True])
@pytest.mark.parametrize("body", ["json", "html", "empty", "truncated"])
@pytest.mark.parametrize("kind", ["rate_limit", "error"])
def test_every_answer_comes_with_via_or_without(
    discord: LoopbackDiscord, kind: FaultKind, body: FaultBody, via: bool
) -> None:
    discord.inject(Fault(kind=kind, body=body, via=via))
    assert ("Via" in post(discord)[1]) == via


@pytest.mark.parametrize(
    "nonsense",
    [{"status": 99}, {"status": 600}, {"retry_after": -1}, {"retry_after": float("inf")}],
)
def test_what_no_answer_can_say_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(nonsense))):
        Fault(kind="error", **nonsense)


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
    with LoopbackDiscord(LoopbackSettings(latency=0.2, jitter=0.05)).running_in_thread() as discord:
        begun = discord.clock.now()
        post(discord)
        ended = discord.clock.now()
    (message,) = discord.messages
    assert 0.15 <= (ended - begun).total_seconds() < 2
    assert (message.at - begun).total_seconds() >= 0.074
    assert (ended - message.at).total_seconds() >= 0.074


def test_a_request_takes_effect_although_its_sender_dies_before_the_answer() -> None:
    with LoopbackDiscord(LoopbackSettings(latency=0.4)).running_in_thread() as discord:
        with pytest.raises(TimeoutError):
            post(discord, timeout=0.05)
        assert list(discord.messages) == []
        deadline = time.monotonic() + 10
        while not discord.messages and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [m.content for m in discord.messages] == ["hello"]
