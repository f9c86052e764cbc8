"""Discord's rate limits, decided from a given time, and the headers and 429s that tell of them.

All times are nanoseconds.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from speakerbot.testing.discord.responses import ApiResponse, json_response
from speakerbot.testing.discord.routing import Operation
from speakerbot.testing.discord.settings import Bucket, LoopbackSettings

SECOND = 1_000_000_000
_INVALID_SPAN = 600 * SECOND
_REACTING: tuple[Operation, ...] = (
    "add_my_message_reaction",
    "delete_my_message_reaction",
    "delete_user_message_reaction",
)
CLOUDFLARE_BAN = b"error code: 1015"


class SlidingWindow:
    """At most ``limit`` in any ``span``, wherever that begins."""

    def __init__(self, limit: int, span: int) -> None:
        self._span = span
        self._taken: deque[int] = deque(maxlen=limit)

    def wait(self, now: int) -> int:
        """How long until one more fits; 0 if it does now."""
        if len(self._taken) < (self._taken.maxlen or 0):
            return 0
        return max(0, self._taken[0] + self._span - now)

    def take(self, now: int) -> None:
        self._taken.append(now)

    def count(self, now: int) -> int:
        """How many the span that ends now holds."""
        while self._taken and self._taken[0] + self._span <= now:
            self._taken.popleft()
        return len(self._taken)


class BucketState(NamedTuple):
    """What the ``X-RateLimit-…`` headers say. ``reset_after`` is nanoseconds."""

    name: str
    limit: int
    remaining: int
    reset_after: int


class FixedWindows:
    """Buckets of one kind, each for one channel or guild. Only those in use take memory."""

    def __init__(self, bucket: Bucket) -> None:
        self._limit = bucket.limit
        self._per = round(bucket.per * SECOND)
        self._open: dict[tuple[str, str], list[int]] = {}

    def take(self, name: str, major: str, now: int, *, peek: bool) -> BucketState:
        """Uses one if any is left; with ``peek`` only looks. ``remaining`` is -1 if none was left.

        Windows are kept in the order they began in, so the ones that are over are in front.
        """
        self._forget_ended(now)
        begin, used = self._open.get((name, major), (now, 0))
        if not peek and used < self._limit:
            self._open.setdefault((name, major), [begin, 0])[1] = used + 1
        remaining = self._limit - used - 1
        return BucketState(name, self._limit, remaining, begin + self._per - now)

    def _forget_ended(self, now: int) -> None:
        ended = []
        for key, (begin, _) in self._open.items():
            if begin + self._per > now:
                break
            ended.append(key)
        for key in ended:
            del self._open[key]


class RateLimitVerdict(NamedTuple):
    """Whether a request may pass. ``wait`` is 0 if so, else the nanoseconds until it may."""

    wait: int
    everywhere: bool
    """The global limit is what refused it."""
    bucket: BucketState | None


class Limiter:
    """The limits of one bot."""

    def __init__(self, settings: LoopbackSettings) -> None:
        limit = settings.global_limit
        self._all = None if limit is None else SlidingWindow(limit, SECOND)
        self._sending = _windows(settings.message_bucket)
        self._reacting = _windows(settings.reaction_bucket)
        self._others = _windows(settings.other_buckets)
        self._invalid_limit = settings.invalid_limit
        self._invalid = SlidingWindow(settings.invalid_limit or 10_000, _INVALID_SPAN)

    def admit(self, operation: Operation, major: str, now: int) -> RateLimitVerdict:
        """Counts the request if it may pass."""
        windows, name = self._windows_of(operation)
        wait = 0 if self._all is None else self._all.wait(now)
        state = None if windows is None else windows.take(name, major, now, peek=wait > 0)
        if wait:
            return RateLimitVerdict(wait, True, state)
        if state is not None and state.remaining < 0:
            return RateLimitVerdict(state.reset_after, False, state)
        if self._all is not None:
            self._all.take(now)
        return RateLimitVerdict(0, False, state)

    def _windows_of(self, operation: Operation) -> tuple[FixedWindows | None, str]:
        """With the name of the bucket in them: putting a reaction and taking one away share one."""
        if operation == "create_message":
            return self._sending, operation
        if operation in _REACTING:
            return self._reacting, "reactions"
        return self._others, operation

    def note_invalid(self, now: int) -> None:
        """An answer was 401, 403 or 429."""
        self._invalid.take(now)

    def invalid_requests(self, now: int) -> int:
        """Such answers in the last ten minutes (counted up to the limit, or 10,000)."""
        return self._invalid.count(now)

    def banned(self, now: int) -> bool:
        """So many were invalid that nothing reaches Discord any more."""
        return self._invalid_limit is not None and self._invalid.wait(now) > 0


def _windows(bucket: Bucket | None) -> FixedWindows | None:
    return None if bucket is None else FixedWindows(bucket)


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


def rate_limit_response(verdict: RateLimitVerdict, now_ns: int) -> ApiResponse:
    """Whoever waits ``retry_after`` from now fits."""
    headers = bucket_headers(verdict.bucket, now_ns)
    return too_many_requests(
        _milliseconds(verdict.wait) / 1000, headers, everywhere=verdict.everywhere
    )


def banned_response() -> ApiResponse:
    """What Cloudflare says in Discord's place after too many invalid requests."""
    return ApiResponse(429, CLOUDFLARE_BAN, {"Retry-After": "600"}, "text/html")


def too_many_requests(
    seconds: float | None, headers: dict[str, str], *, everywhere: bool
) -> ApiResponse:
    """``seconds`` None: neither the header nor the body says how long to wait."""
    json: dict[str, Any] = {"message": "You are being rate limited."}
    limits = {"X-RateLimit-Scope": "user"}
    if seconds is not None:
        json["retry_after"] = seconds
        limits["Retry-After"] = str(-int(-seconds // 1))
    json |= {"global": everywhere, "code": 0}
    if everywhere:
        limits |= {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
    return json_response(429, json, {**headers, **limits})


def _milliseconds(nanoseconds: int) -> int:
    """Rounded up, so that a wait is never too short."""
    return -(-nanoseconds // 1_000_000)
