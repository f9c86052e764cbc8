"""Injected faults, as data, and the responses that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http.client import responses
from random import Random
from typing import Literal

from speakerbot.testing.discord.rate_limits import CLOUDFLARE_BAN, too_many_requests
from speakerbot.testing.discord.responses import VIA, ApiResponse, json_response
from speakerbot.testing.discord.routing import Operation

FaultKind = Literal["error", "html", "rate_limit", "reset", "lost_response", "hang"]
FaultBody = Literal["json", "html", "empty", "truncated", "cut_off"]
_PAGE = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Error</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with a request that the limits have let pass.

    ========================  =================================================================
    ``error``                 answers any ``status`` with Discord's JSON (any ``code`` and
                              ``message``), or with another ``body``
    ``html``                  answers 200 with a page, as a captive portal does
    ``rate_limit``            answers 429 with any ``retry_after``; in HTML it is the answer of
                              Discord's proxy (Cloudflare 1015), without ``Via``
    ``reset``                 resets the connection
    ``lost_response``         takes effect, then the connection closes without an answer
    ``hang``                  never answers
    ========================  =================================================================

    A ``body`` other than ``json`` is a bare one, which is not Discord's JSON:

    ========================  =================================================================
    ``html``                  a page, or ``error code: 1015`` with ``rate_limit``
    ``empty``                 nothing
    ``truncated``             the first half of the JSON, as if that were all
    ``cut_off``               the same half, then the connection closes before the promised end
    ========================  =================================================================

    The request takes no effect, except with ``lost_response``, or where ``accepted`` is set. What
    is truncated or cut off of an accepted request with a 2xx ``status`` is the real answer.

    Raises ValueError for a ``status`` outside 200 to 599 and for a ``retry_after`` that is
    negative or infinite.
    """

    kind: FaultKind
    on: Operation | None = None
    """Only requests of this operation."""
    channel_id: str | None = None
    """Only requests that name this channel, guild or user first."""
    nth: int = 1
    """From the nth such request on, counted from when the fault was injected."""
    times: int | None = 1
    """How often it strikes; None: always."""
    probability: float = 1.0
    """Of striking each of them, drawn from the settings' seed."""
    accepted: bool = False
    """It takes effect although the answer says otherwise."""
    status: int = 500
    code: int = 0
    """Discord's JSON code; 0 is its general error."""
    message: str | None = None
    """None: the status in words, such as ``403: Forbidden``."""
    body: FaultBody = "json"
    html: bool = False
    """The same as ``body="html"``."""
    retry_after: float | None = 1.0
    """Seconds; None: the answer does not say how long to wait."""
    via: bool | None = None
    """Whether the answer has a ``Via`` header. None: yes, unless it is a 429 in HTML."""

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status}")
        if self.retry_after is not None and not 0 <= self.retry_after < math.inf:
            raise ValueError(f"retry_after must be a number of seconds, not {self.retry_after}")

    @property
    def shape(self) -> FaultBody:
        """The body that the answer has."""
        return "html" if self.html or self.kind == "html" else self.body

    @property
    def takes_effect(self) -> bool:
        return self.accepted or self.kind == "lost_response"


class Faults:
    """Those that were injected, in that order; the first that strikes wins."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - faults are to be repeatable
        self._armed: list[_Armed] = []

    def inject(self, *faults: Fault) -> None:
        self._armed += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        self._armed.clear()

    def strike(self, operation: Operation, first_id: str) -> Fault | None:
        """The fault for this request, which counts for all that match it."""
        struck: Fault | None = None
        for armed in self._armed:
            if armed.matches(operation, first_id) and struck is None:
                struck = armed.fire(self._random)
        return struck


@dataclass(slots=True)
class _Armed:
    fault: Fault
    matched: int = 0
    struck: int = 0

    def matches(self, operation: Operation, first_id: str) -> bool:
        on, channel_id = self.fault.on, self.fault.channel_id
        if on not in (None, operation) or channel_id not in (None, first_id):
            return False
        self.matched += 1
        return True

    def fire(self, random: Random) -> Fault | None:
        fault = self.fault
        over = fault.times is not None and self.struck >= fault.times
        if over or self.matched < fault.nth or random.random() >= fault.probability:
            return None
        self.struck += 1
        return fault


def fault_response(fault: Fault, headers: dict[str, str], real: ApiResponse | None) -> ApiResponse:
    """``real`` is the answer of a request that took effect."""
    match fault.kind:
        case "reset":
            return ApiResponse(0, b"", {}, ending="reset")
        case "lost_response":
            return ApiResponse(0, b"", {}, ending="close")
        case "hang":
            return ApiResponse(0, b"", {}, ending="hang")
        case "rate_limit":
            whole = too_many_requests(fault.retry_after, headers, everywhere=False)
        case "html":
            whole = ApiResponse(200, b"", headers)
        case "error":
            whole = _error(fault, headers)
    if real is not None and real.body and 200 <= real.status <= 299 >= whole.status:
        whole = whole._replace(body=real.body)
    return _with_via(fault, _misshapen(fault, whole))


def _error(fault: Fault, headers: dict[str, str]) -> ApiResponse:
    message = fault.message
    if message is None:
        message = f"{fault.status}: {responses.get(fault.status, 'Error')}"
    return json_response(fault.status, {"message": message, "code": fault.code}, headers)


def _misshapen(fault: Fault, answer: ApiResponse) -> ApiResponse:
    """The answer with the fault's kind of body."""
    match fault.shape:
        case "json":
            return answer
        case "html":
            page = CLOUDFLARE_BAN if fault.kind == "rate_limit" else _PAGE
            return ApiResponse(answer.status, page, _without_limits(answer.headers), "text/html")
        case "empty":
            return answer._replace(body=b"", content_type="text/html")
        case "truncated":
            return answer._replace(body=answer.body[: len(answer.body) // 2])
        case "cut_off":
            return answer._replace(ending="cut_off")


def _without_limits(headers: dict[str, str]) -> dict[str, str]:
    """Discord's proxy knows nothing of its rate limits."""
    return {name: value for name, value in headers.items() if not name.startswith("X-RateLimit")}


def _with_via(fault: Fault, answer: ApiResponse) -> ApiResponse:
    usual = answer.status != 429 or fault.shape != "html"
    headers = {name: value for name, value in answer.headers.items() if name != "Via"}
    if usual if fault.via is None else fault.via:
        headers |= VIA
    return answer._replace(headers=headers)
