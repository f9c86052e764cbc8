"""The loopback's limits: never more than allowed, and who waits as told gets through."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from speakerbot.testing.discord import Bucket, LoopbackClock, LoopbackSettings
from speakerbot.testing.discord.rate_limits import SECOND, Limiter
from speakerbot.testing.discord.responses import ApiResponse
from speakerbot.testing.discord.service import DiscordService, IncomingRequest

GAPS = st.lists(st.integers(0, SECOND // 3), min_size=1, max_size=200)
LIMITS = st.integers(1, 8)


def send(service: DiscordService, channel: str = "1", *, bot: str = "t") -> ApiResponse:
    path = f"/api/v10/channels/{channel}/messages"
    return service.answer(IncomingRequest("POST", path, {}, f"Bot {bot}", b'{"content": "hello"}'))


def service_with(settings: LoopbackSettings) -> DiscordService:
    return DiscordService(settings, LoopbackClock(), None)


@given(gaps=GAPS, limit=LIMITS)
def test_no_second_wherever_it_begins_holds_more_than_the_global_limit(
    gaps: list[int], limit: int
) -> None:
    limiter = Limiter(LoopbackSettings(global_limit=limit, message_bucket=None))
    now, admitted = 0, []
    for gap in gaps:
        now += gap
        if not limiter.admit("create_message", "1", now).wait:
            admitted.append(now)
    for begin in admitted:
        assert sum(begin <= at < begin + SECOND for at in admitted) <= limit


@given(gaps=GAPS, limit=LIMITS)
def test_a_bucket_never_admits_more_than_its_limit_between_two_resets(
    gaps: list[int], limit: int
) -> None:
    limiter = Limiter(LoopbackSettings(global_limit=None, message_bucket=Bucket(limit, 2.0)))
    now, used, resets = 0, 0, 0
    for gap in gaps:
        now += gap
        verdict = limiter.admit("create_message", "1", now)
        assert verdict.bucket is not None
        if now >= resets:
            used, resets = 0, now + verdict.bucket.reset_after
        used += not verdict.wait
        assert used <= limit
        assert now + verdict.bucket.reset_after == resets


@given(gaps=GAPS, limit=LIMITS)
def test_waiting_as_long_as_told_is_always_enough(gaps: list[int], limit: int) -> None:
    limiter = Limiter(LoopbackSettings(global_limit=limit, message_bucket=Bucket(limit + 1, 2.0)))
    now = 0
    for gap in gaps:
        now += gap
        waits = 0
        while wait := limiter.admit("create_message", "1", now).wait:
            now += wait
            waits += 1
        assert waits <= 2, "once for the global limit, once for the bucket"


def test_waiting_no_shorter_than_told_is_needed() -> None:
    limiter = Limiter(LoopbackSettings(global_limit=1))
    assert limiter.admit("create_message", "1", 0).wait == 0
    assert limiter.admit("create_message", "1", SECOND - 1).wait == 1
    assert limiter.admit("create_message", "1", SECOND).wait == 0


def test_a_refused_request_uses_up_nothing() -> None:
    limiter = Limiter(LoopbackSettings(global_limit=2, message_bucket=Bucket(1, 10.0)))
    assert limiter.admit("create_message", "1", 0).wait == 0
    assert not limiter.admit("create_message", "1", 1).everywhere
    assert limiter.admit("create_message", "2", 2).wait == 0, "the bucket's refusal took no slot"
    refused = limiter.admit("create_message", "3", 3)
    assert refused.everywhere
    assert limiter.admit("create_message", "3", SECOND).wait == 0, "nor did the global one's"


def test_each_channel_has_its_own_bucket_with_discords_headers() -> None:
    service = service_with(LoopbackSettings(message_bucket=Bucket(2, 5.0)))
    first, second, third = send(service), send(service), send(service)
    elsewhere = send(service, channel="2")
    assert [a.status for a in (first, second, third, elsewhere)] == [200, 200, 429, 200]
    assert [a.headers["X-RateLimit-Remaining"] for a in (first, second, third)] == ["1", "0", "0"]
    assert first.headers["X-RateLimit-Limit"] == "2"
    assert first.headers["X-RateLimit-Bucket"] == elsewhere.headers["X-RateLimit-Bucket"]
    assert 4.9 < float(first.headers["X-RateLimit-Reset-After"]) <= 5.0
    assert third.headers["X-RateLimit-Scope"] == "user"
    assert "X-RateLimit-Global" not in third.headers


def test_a_429_tells_how_long_to_wait_in_its_body_and_rounded_up_in_its_header() -> None:
    service = service_with(LoopbackSettings(global_limit=1, message_bucket=None))
    send(service)
    refused = send(service)
    body = json.loads(refused.body)
    assert refused.status == 429
    assert 0.9 < body["retry_after"] <= 1.0
    assert (body["global"], body["code"]) == (True, 0)
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["X-RateLimit-Global"] == "true"
    assert refused.headers["Via"], "without Via, clients take it for a ban"
    service.clock.advance(timedelta(seconds=body["retry_after"]))
    assert send(service).status == 200
    assert service.counts["create_message", 429] == 1


def test_without_a_limit_there_are_no_headers_about_one() -> None:
    service = service_with(LoopbackSettings(global_limit=None, message_bucket=None))
    answers = [send(service) for _ in range(100)]
    assert {answer.status for answer in answers} == {200}
    assert not any(name.startswith("X-RateLimit") for a in answers for name in a.headers)


def test_too_many_invalid_requests_ban_the_bot_until_ten_minutes_have_passed() -> None:
    service = service_with(LoopbackSettings(token="good", invalid_limit=3))
    assert [send(service, bot="bad").status for _ in range(3)] == [401, 401, 401]
    assert service.invalid_requests() == 3
    banned = send(service, bot="good")
    assert banned.status == 429
    assert "Via" not in banned.headers
    service.clock.advance(timedelta(minutes=10))
    assert send(service, bot="good").status == 200
    assert service.invalid_requests() == 0


def test_new_settings_apply_from_the_next_request_on() -> None:
    service = service_with(LoopbackSettings(global_limit=1))
    assert [send(service).status, send(service).status] == [200, 429]
    service.use(LoopbackSettings(global_limit=None))
    assert [send(service).status, send(service).status] == [200, 200]
