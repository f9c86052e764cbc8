"""What goes back over the wire."""

from __future__ import annotations

from http.client import responses
from typing import Any, Literal, NamedTuple

import msgspec

from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.limits import BucketState, Verdict
from speakerbot.testing.discord.refusals import Refusal

Ending = Literal["answer", "cut_off", "reset", "close", "hang"]
_VIA = {"Via": "1.1 loopback"}
_PAGE = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Error</body></html>"
_BANNED = b"error code: 1015"
_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """``ending`` says what happens to the connection: ``cut_off`` closes it after half of the
    body; anything else but ``answer`` sends nothing."""

    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"
    ending: Ending = "answer"

    @property
    def was_sent(self) -> bool:
        """At least the status reached the client."""
        return self.ending in ("answer", "cut_off")


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
    return Answer(429, _BANNED, {"Retry-After": "600"}, "text/html")


def fault_answer(fault: Fault, headers: dict[str, str], real: Answer | None) -> Answer:
    """``real`` is the answer of a request that took effect."""
    match fault.kind:
        case "reset":
            return Answer(0, b"", {}, ending="reset")
        case "lost_response":
            return Answer(0, b"", {}, ending="close")
        case "hang":
            return Answer(0, b"", {}, ending="hang")
        case "rate_limit":
            whole = _too_many(fault.retry_after, headers, everywhere=False)
        case "html":
            whole = Answer(200, b"", headers)
        case "error":
            whole = _error(fault, headers)
    if real is not None and real.body and 200 <= real.status <= 299 >= whole.status:
        whole = whole._replace(body=real.body)
    return _with_via(fault, _misshapen(fault, whole))


def _error(fault: Fault, headers: dict[str, str]) -> Answer:
    message = fault.message
    if message is None:
        message = f"{fault.status}: {responses.get(fault.status, 'Error')}"
    return json_answer(fault.status, {"message": message, "code": fault.code}, headers)


def _misshapen(fault: Fault, answer: Answer) -> Answer:
    """The answer with the fault's kind of body."""
    match fault.shape:
        case "json":
            return answer
        case "html":
            page = _BANNED if fault.kind == "rate_limit" else _PAGE
            return Answer(answer.status, page, _without_limits(answer.headers), "text/html")
        case "empty":
            return answer._replace(body=b"", content_type="text/html")
        case "truncated":
            return answer._replace(body=answer.body[: len(answer.body) // 2])
        case "cut_off":
            return answer._replace(ending="cut_off")


def _without_limits(headers: dict[str, str]) -> dict[str, str]:
    """Discord's proxy knows nothing of its rate limits."""
    return {name: value for name, value in headers.items() if not name.startswith("X-RateLimit")}


def _with_via(fault: Fault, answer: Answer) -> Answer:
    usual = answer.status != 429 or fault.shape != "html"
    headers = {name: value for name, value in answer.headers.items() if name != "Via"}
    if usual if fault.via is None else fault.via:
        headers |= _VIA
    return answer._replace(headers=headers)


def _too_many(seconds: float | None, headers: dict[str, str], *, everywhere: bool) -> Answer:
    """``seconds`` None: neither the header nor the body says how long to wait."""
    json: dict[str, Any] = {"message": "You are being rate limited."}
    limits = {"X-RateLimit-Scope": "user"}
    if seconds is not None:
        json["retry_after"] = seconds
        limits["Retry-After"] = str(-int(-seconds // 1))
    json |= {"global": everywhere, "code": 0}
    if everywhere:
        limits |= {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
    return json_answer(429, json, {**headers, **limits})


def _milliseconds(nanoseconds: int) -> int:
    """Rounded up, so that a wait is never too short."""
    return -(-nanoseconds // 1_000_000)
