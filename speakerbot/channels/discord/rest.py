"""discord.py's HTTP client alone: a session without gateway or login, and what its faults mean.

discord.py brings the retries and, with ``discord_buckets``, the per-channel rate limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import aiohttp
from discord import HTTPException, RateLimited
from discord.http import Route

from speakerbot.channels.discord.buckets import Buckets
from speakerbot.channels.discord.error_codes import GONE, classify, explain
from speakerbot.ports.channel import Refused

LONGEST_PAUSE = 30.0
"""Seconds discord.py may wait for a rate limit itself; anything longer is a failure to retry."""
CONNECT_PAUSES = (1.0, 3.0)
"""Seconds to wait before connecting again, when not even a connection could be made."""
UNREADABLE = (ValueError, LookupError, TypeError)
"""What discord.py raises over an answer that is not what Discord promises."""


class _Tries:
    """Sees every try of one request: discord.py repeats it by itself and shows only the last."""

    def __init__(self, notice: Callable[[aiohttp.ClientResponse], None]) -> None:
        self._notice = notice
        self.doubtful = False
        """One got no clear answer: whatever a later one is told, the request may have been done."""

    async def watch(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            response = await send(request)
        except aiohttp.ClientConnectorError:
            raise  # it never left
        except (aiohttp.ClientError, OSError):
            self.doubtful = True
            raise
        self.doubtful |= response.status >= 500
        self._notice(response)
        return response


class _RestOnly(Buckets):
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
        self._http = _RestOnly(asyncio.get_running_loop(), max_ratelimit_timeout=LONGEST_PAUSE)
        await self._http.open(self._token)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def my_id(self) -> str:
        """The bot's own user id; asked for once, and only by those who need it."""
        async with self._asking:
            if self._me is None:
                self._me = id_of(await self.ask(Route("GET", "/users/@me")))
        return self._me

    async def ask(self, route: Route, *, once: bool = False, **options: Any) -> Any:
        """The decoded answer. Raises Refused for whatever is none; of what must be done but
        ``once``, only a refusal of every try says that it was not done."""
        tries = _Tries(self._count)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._connected(route, {**options, "middlewares": (tries.watch,)})
        except (
            HTTPException,
            RateLimited,
            TimeoutError,
            aiohttp.ClientError,
            OSError,
            *UNREADABLE,
        ) as error:
            refusal = self._refusal(error)
            if once and tries.doubtful:
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

    def _count(self, response: aiohttp.ClientResponse) -> None:
        self.requests += 1
        if response.status in (401, 403, 429):
            self.invalid_requests += 1
        if response.status == 429:
            self.rate_limited += 1
            self._on_limited(_seconds(response.headers.get("Retry-After")))


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
