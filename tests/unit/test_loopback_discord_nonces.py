"""The loopback's nonces: the same message for as long as Discord would give it back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from speakerbot.testing.discord import NO_LIMITS, DiscordWorld, LoopbackClock, LoopbackSettings
from speakerbot.testing.discord.calls import Nonces
from speakerbot.testing.discord.records import DiscordMessage
from speakerbot.testing.discord.service import DiscordService, IncomingRequest


def service_with(settings: LoopbackSettings = NO_LIMITS) -> DiscordService:
    return DiscordService(settings, LoopbackClock(), None)


def send(
    service: DiscordService, nonce: str | int, channel: str = "5", *, enforce: bool = True
) -> tuple[int, Any]:
    body = json.dumps({"content": "hello", "nonce": nonce, "enforce_nonce": enforce}).encode()
    path = f"/api/v10/channels/{channel}/messages"
    answer = service.answer(IncomingRequest("POST", path, {}, "Bot t", body))
    return answer.status, json.loads(answer.body)


def test_a_repeated_nonce_returns_the_message_that_has_it() -> None:
    service = service_with()
    first, again = send(service, "n"), send(service, "n")
    assert first == again
    assert len(service.state.messages) == 1


def test_without_enforce_nonce_it_is_another_message() -> None:
    service = service_with()
    send(service, "n")
    send(service, "n", enforce=False)
    assert len(service.state.messages) == 2


def test_a_message_sent_without_enforcing_is_found_by_one_that_enforces() -> None:
    service = service_with()
    send(service, "n", enforce=False)
    send(service, "n")
    assert len(service.state.messages) == 1


@pytest.mark.parametrize(("elapsed", "messages"), [(119.9, 1), (120.0, 2)])
def test_the_window_ends_when_it_says(elapsed: float, messages: int) -> None:
    nonces, settings = Nonces(), LoopbackSettings(nonce_window=120)
    message = DiscordMessage("1", "5", "9", "hello", nonce="n")
    nonces.remember(message, settings, 0)
    found = nonces.find("5", "n", settings, int(elapsed * 1e9))
    assert (found is message) == (messages == 1)


def test_after_the_window_the_same_nonce_is_another_message() -> None:
    service = service_with()
    send(service, "n")
    service.clock.advance(timedelta(minutes=3))
    send(service, "n")
    assert len(service.state.messages) == 2


def test_repeating_a_nonce_does_not_prolong_its_window() -> None:
    service = service_with()
    for _ in range(3):
        send(service, "n")
        service.clock.advance(timedelta(minutes=2))
    assert len(service.state.messages) == 2


@pytest.mark.parametrize(("scope", "messages"), [("author", 1), ("channel", 2)])
def test_where_a_nonce_is_unique_can_be_set(scope: Any, messages: int) -> None:
    service = service_with(LoopbackSettings(nonce_scope=scope))
    send(service, "n", channel="5")
    send(service, "n", channel="6")
    assert len(service.state.messages) == messages


def test_a_nonce_whose_message_was_deleted_is_an_unknown_message() -> None:
    service = service_with()
    _, sent = send(service, "n")
    DiscordWorld(service.state).delete_message(sent["id"])
    status, body = send(service, "n")
    assert (status, body["code"]) == (404, 10008)
    assert len(service.state.messages) == 1


@pytest.mark.parametrize(("nonce", "status"), [("x" * 25, 200), ("x" * 26, 400), (2**62, 200)])
def test_a_nonce_has_at_most_25_characters(nonce: str | int, status: int) -> None:
    assert send(service_with(), nonce)[0] == status


def test_memory_holds_the_nonces_of_one_window_only() -> None:
    nonces, settings = Nonces(), LoopbackSettings(nonce_window=1)
    for n in range(1000):
        message = DiscordMessage(str(n), "5", "9", "hello", nonce=str(n))
        nonces.remember(message, settings, n * 10_000_000)
    assert len(nonces) <= 101
