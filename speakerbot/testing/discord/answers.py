"""What goes back over the wire."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.limits import BucketState, Verdict
from speakerbot.testing.discord.refusals import Refusal

Ending = Literal["answer", "reset", "close", "hang"]
_VIA = {"Via": "1.1 loopback"}
_PAGE = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Error</body></html>"
_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """``ending`` says what happens to the connection; anything but ``answer`` sends nothing."""

    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"
    ending: Ending = "answer"


def json_answer(status: int, json: Any, headers: dict[str, str]) -> Answer:
    """``json`` None: an empty body, which Discord does not call JSON."""
    if json is None:
        return Answer(status, b"", {**_VIA, **headers}, "text/html")
    return Answer(status, _encode(json), {**_VIA, **headers})


def refusal_answer(refusal: Refusal, headers: dict[str, str]) -> Answer:
    return json_answer(refusal.status, refusal.body, headers)


def bucket_headers(bucket: BucketState | None, now_ns: int) -> dict[str, str]:
    """None: the route has no bucket, and no such headers."""
    if bucket is None:
        return {}
    return {
        "X-RateLimit-Limit": str(bucket.limit),
        "X-RateLimit-Remaining": str(max(0, bucket.remaining)),
        "X-RateLimit-Reset": f"{_milliseconds(now_ns + bucket.reset_after) / 1000:.3f}",
        "X-RateLimit-Reset-After": f"{_milliseconds(bucket.reset_after) / 1000:.3f}",
        "X-RateLimit-Bucket": bucket.name,
    }


def rate_limit_answer(verdict: Verdict, now_ns: int) -> Answer:
    """Whoever waits ``retry_after`` from now fits."""
    headers = bucket_headers(verdict.bucket, now_ns)
    return _too_many(_milliseconds(verdict.wait) / 1000, headers, everywhere=verdict.everywhere)


def banned_answer() -> Answer:
    """What Cloudflare says in Discord's place after too many invalid requests."""
    return Answer(429, b"error code: 1015", {"Retry-After": "600"}, "text/html")


def fault_answer(fault: Fault, headers: dict[str, str]) -> Answer:
    match fault.kind:
        case "html":
            return Answer(200, _PAGE, dict(_VIA), "text/html")
        case "rate_limit" if fault.html:
            return banned_answer()
        case "rate_limit":
            return _too_many(fault.retry_after, headers, everywhere=False)
        case "reset":
            return Answer(0, b"", {}, ending="reset")
        case "lost_response":
            return Answer(0, b"", {}, ending="close")
        case "hang":
            return Answer(0, b"", {}, ending="hang")
    if fault.html:
        return Answer(fault.status, _PAGE, dict(_VIA), "text/html")
    return json_answer(fault.status, {"message": "Internal Error", "code": 0}, headers)


def _too_many(seconds: float, headers: dict[str, str], *, everywhere: bool) -> Answer:
    text = "You are being rate limited."
    json = {"message": text, "retry_after": seconds, "global": everywhere, "code": 0}
    limits = {"Retry-After": str(-int(-seconds // 1)), "X-RateLimit-Scope": "user"}
    if everywhere:
        limits |= {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
    return json_answer(429, json, {**headers, **limits})


def _milliseconds(nanoseconds: int) -> int:
    """Rounded up, so that a wait is never too short."""
    return -(-nanoseconds // 1_000_000)
