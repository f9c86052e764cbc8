"""discord.py's HTTP client alone: a session without gateway or login, and what its faults mean.

discord.py brings the per-channel rate-limit buckets and retries. Whether a message was accepted is
noticed when its answer comes in, not when discord.py lets the request return.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
from discord import HTTPException, RateLimited
from discord.http import HTTPClient, Route

from speakerbot.channels.discord_codes import GONE, classify, explain
from speakerbot.delivery.refusals import Refused

LONGEST_PAUSE = 30.0
"""Seconds discord.py may wait for a rate limit itself; anything longer is a failure to retry."""
CONNECT_PAUSES = (1.0, 3.0)
"""Seconds to wait before connecting again, when not even a connection could be made."""
KNOWN_BUCKETS = 200
"""discord.py's bookkeeping slows down beyond 256 channels."""
UNREADABLE = (ValueError, LookupError, TypeError)
"""What discord.py raises over an answer that is not what Discord promises."""


@dataclass(slots=True)
class Sending:
    """What is known of a message before discord.py lets its request return."""

    accepted: asyncio.Future[str]
    doubtful: bool = False
    """A try of it got no clear answer: whatever a later one is told, the message may be there."""


current: ContextVar[Sending | None] = ContextVar("sending", default=None)
"""The message whose request the running task makes."""


class _RestOnly(HTTPClient):
    """Opens its session without asking who we are: nothing we send needs it."""

    async def open(self, token: str) -> None:
        self._opening = True
        await self.static_login(token)
        self._opening = False

    async def request(self, route: Route, **options: Any) -> Any:
        if self._opening:
            return {}
        return await super().request(route, **options)


class DiscordRest:
    """``async with`` opens the session. ``on_limited`` hears of every 429 with the seconds to wait;
    no request may take longer than ``timeout``."""

    def __init__(
        self, token: str, base: str, *, timeout: timedelta, on_limited: Callable[[float], None]
    ) -> None:
        self._token = token
        self._base = base
        self._timeout = timeout.total_seconds()
        self._on_limited = on_limited
        self.returning: set[asyncio.Task[Any]] = set()
        self._me: str | None = None
        self._asking = asyncio.Lock()
        self.requests = 0
        self.rate_limited = 0
        self.invalid_requests = 0

    async def __aenter__(self) -> Self:
        # Our own lines say what happened; discord.py's would break the JSON on stderr.
        quiet = logging.getLogger("discord")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        Route.BASE = self._base
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._count)
        trace.on_request_exception.append(_notice_failure)
        trace.on_response_chunk_received.append(_notice_acceptance)
        self._http = _RestOnly(
            asyncio.get_running_loop(), http_trace=trace, max_ratelimit_timeout=LONGEST_PAUSE
        )
        await self._http.open(self._token)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.returning:
            task.cancel()
        await asyncio.gather(*self.returning, return_exceptions=True)
        await self._http.close()

    async def my_id(self) -> str:
        """The bot's own user id; asked for once, and only by those who need it."""
        async with self._asking:
            if self._me is None:
                self._me = id_of(await self.ask(Route("GET", "/users/@me")))
        return self._me

    async def ask(self, route: Route, **options: Any) -> Any:
        """The decoded answer. Raises Refused for whatever is none."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._connected(route, options)
        except (
            HTTPException,
            RateLimited,
            TimeoutError,
            aiohttp.ClientError,
            OSError,
            *UNREADABLE,
        ) as error:
            refusal = self._refusal(error)
            sending = current.get()
            if sending and sending.doubtful:
                refusal = Refused("transient", refusal.detail, maybe_accepted=True)
            raise refusal from error
        if isinstance(answer, str):
            raise Refused("transient", "Discord's answer is not JSON", maybe_accepted=True)
        return answer

    async def _connected(self, route: Route, options: dict[str, Any]) -> Any:
        """Tries again where no connection could be made: the request never left."""
        for pause in CONNECT_PAUSES:
            try:
                return await self._http.request(route, **options)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(pause)
        return await self._http.request(route, **options)

    def _refusal(self, error: Exception) -> Refused:
        match error:
            case HTTPException():
                return _refused(error)
            case RateLimited():
                detail = f"rate limited for {error.retry_after:.0f} s"
                return Refused("transient", detail, retry_after=error.retry_after)
            case aiohttp.ClientConnectorError():
                detail = f"{self._base} cannot be reached: {error.strerror or error}"
                return Refused("unreachable", detail)
            case TimeoutError():
                # discord.py leaves everybody waiting if its wait for the global limit is cut short.
                self._http._global_over.set()
                detail = f"no answer within {self._timeout:.0f} s"
                return Refused("transient", detail, maybe_accepted=True)
            case aiohttp.ClientError() | OSError():
                detail = f"the connection broke: {type(error).__name__}"
                return Refused("transient", detail, maybe_accepted=True)
        detail = f"Discord's answer makes no sense ({type(error).__name__})"
        return Refused("transient", detail, maybe_accepted=True)

    async def _count(
        self, _session: Any, _context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        self.requests += 1
        status = end.response.status
        if status >= 500 and (sending := current.get()):
            sending.doubtful = True
        if status in (401, 403, 429):
            self.invalid_requests += 1
        if status == 429:
            self.rate_limited += 1
            self._on_limited(_seconds(end.response.headers.get("Retry-After")))

    def forget_buckets(self) -> None:
        buckets = self._http._buckets
        if len(buckets) > KNOWN_BUCKETS:
            used = {
                key: bucket
                for key, bucket in buckets.items()
                if bucket.outgoing or (bucket.remaining < 1 and not bucket.is_expired())
            }
            buckets.clear()
            buckets.update(used)


async def _notice_failure(
    _session: Any, _context: SimpleNamespace, end: aiohttp.TraceRequestExceptionParams
) -> None:
    """No answer came to a try of a message, and the request had left."""
    sending = current.get()
    if sending and not isinstance(end.exception, aiohttp.ClientConnectorError):
        sending.doubtful = True


async def _notice_acceptance(
    _session: Any, _context: SimpleNamespace, chunk: aiohttp.TraceResponseChunkReceivedParams
) -> None:
    """A message's own JSON has come in: it is accepted, whatever discord.py still waits for."""
    sending = current.get()
    if sending is None or sending.accepted.done() or not chunk.chunk.startswith(b"{"):
        return
    try:
        answer = json.loads(chunk.chunk)
    except ValueError:
        return
    if "content" in answer and "id" in answer:
        sending.accepted.set_result(str(answer["id"]))


def id_of(answer: Any) -> str:
    """Raises Refused where Discord's answer is not what was asked for."""
    if isinstance(answer, dict) and "id" in answer:
        return str(answer["id"])
    raise Refused("transient", "Discord's answer makes no sense", maybe_accepted=True)


def _refused(error: HTTPException) -> Refused:
    why = classify(error.status, error.code)
    return Refused(
        why,
        explain(error.status, error.code, error.text),
        gone=error.code == GONE,
        maybe_accepted=error.status >= 500,
    )


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 1))
    except ValueError:
        return 1.0
