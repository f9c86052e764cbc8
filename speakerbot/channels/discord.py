"""Discord over REST, through discord.py without a gateway. The only module that imports it.

discord.py brings the per-channel rate-limit buckets and retries; everything is sent with a nonce,
which alone makes those retries safe.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
from discord import HTTPException, RateLimited
from discord.http import HTTPClient, Route
from discord.utils import time_snowflake

from speakerbot.channels.discord_codes import GONE, classify, explain
from speakerbot.delivery.refusals import Refused

PAGE = 100
MOST_PAGES = 20
CLOCK_SKEW = timedelta(minutes=5)
"""Discord's clock dates messages, ours dated the claim: look a little further back."""
LONGEST_PAUSE = 30.0
"""Seconds discord.py may wait for a rate limit itself; anything longer is a failure to retry."""
CONNECT_PAUSES = (1.0, 3.0)
"""Seconds to wait before connecting again, when not even a connection could be made."""
KNOWN_BUCKETS = 200
"""discord.py's bookkeeping slows down beyond 256 channels."""

_accepted: ContextVar[asyncio.Future[str] | None] = ContextVar("accepted", default=None)


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


class DiscordChannel:
    """``async with DiscordChannel(...) as channel``. See ``speakerbot.ports.Channel``.

    ``on_limited`` hears of every 429 with the seconds to wait.
    """

    def __init__(
        self, token: str, base: str, *, timeout: timedelta, on_limited: Callable[[float], None]
    ) -> None:
        self._token = token
        self._base = base
        self._timeout = timeout.total_seconds()
        self._on_limited = on_limited
        self._me: str | None = None
        self._returning: set[asyncio.Task[Any]] = set()
        self.requests = 0
        self.rate_limited = 0
        self.invalid_requests = 0

    async def __aenter__(self) -> DiscordChannel:
        # Our own lines say what happened; discord.py's would break the JSON on stderr.
        quiet = logging.getLogger("discord")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        Route.BASE = self._base
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._count)
        trace.on_response_chunk_received.append(_notice_acceptance)
        self._http = _RestOnly(
            asyncio.get_running_loop(), http_trace=trace, max_ratelimit_timeout=LONGEST_PAUSE
        )
        await self._http.open(self._token)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        await self._http.close()

    async def open_dm(self, user_id: str) -> str:
        route = Route("POST", "/users/@me/channels")
        channel = await self._ask(route, json={"recipient_id": user_id})
        return str(channel["id"])

    async def send(self, channel_id: str, text: str, *, nonce: str, mention: str | None) -> str:
        self._forget_buckets()
        body = {
            "content": text,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": {"parse": [], "users": [mention] if mention else []},
        }
        accepted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        sending = asyncio.create_task(self._post(accepted, route, body))
        self._returning.add(sending)
        sending.add_done_callback(self._returned)
        try:
            # discord.py holds back the return of an accepted message while its bucket is empty.
            await asyncio.wait({sending, accepted}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            sending.cancel()
            raise
        return accepted.result() if accepted.done() else sending.result()

    def _returned(self, sending: asyncio.Task[str]) -> None:
        self._returning.discard(sending)
        if not sending.cancelled():
            sending.exception()  # seen: whoever waited for it has raised it already

    async def _post(self, accepted: asyncio.Future[str], route: Route, body: dict[str, Any]) -> str:
        _accepted.set(accepted)
        message = await self._ask(route, json=body)
        return str(message["id"])

    async def find(self, channel_id: str, text: str, *, nonce: str, since: datetime) -> str | None:
        me = await self._who_am_i()
        oldest = time_snowflake(min(since, datetime.now(UTC)) - CLOCK_SKEW)
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._history(channel_id, before)
            for message in page:
                if int(message["id"]) < oldest:
                    return None
                if message["author"]["id"] == me and _is_ours(message, text, nonce):
                    return str(message["id"])
            if len(page) < PAGE:
                return None
            before = page[-1]["id"]
        raise Refused("permission", f"more than {PAGE * MOST_PAGES} messages to look through")

    async def unarchive(self, thread_id: str) -> None:
        route = Route("PATCH", "/channels/{channel_id}", channel_id=thread_id)
        await self._ask(route, json={"archived": False})

    async def _history(self, channel_id: str, before: str | None) -> list[dict[str, Any]]:
        params = {"limit": str(PAGE), **({"before": before} if before else {})}
        route = Route("GET", "/channels/{channel_id}/messages", channel_id=channel_id)
        page = await self._ask(route, params=params)
        if not isinstance(page, list):
            raise Refused("transient", "Discord's answer is no list of messages")
        return page

    async def _who_am_i(self) -> str:
        if self._me is None:
            user = await self._ask(Route("GET", "/users/@me"))
            self._me = str(user["id"])
        return self._me

    async def _ask(self, route: Route, **options: Any) -> Any:
        """The decoded answer. Raises Refused for whatever is none."""
        for pause in (*CONNECT_PAUSES, None):
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._http.request(route, **options)
                break
            except aiohttp.ClientConnectorError as error:
                # The request never left: trying again is safe, and after that Discord is down.
                if pause is None:
                    detail = f"{self._base} cannot be reached: {error.strerror or error}"
                    raise Refused("unreachable", detail) from error
                await asyncio.sleep(pause)
            except (
                HTTPException,
                RateLimited,
                TimeoutError,
                aiohttp.ClientError,
                OSError,
            ) as error:
                raise self._refusal(error) from error
        if isinstance(answer, str):
            raise Refused("transient", "Discord's answer is not JSON", maybe_accepted=True)
        return answer

    def _refusal(self, error: Exception) -> Refused:
        match error:
            case HTTPException():
                return _refused(error)
            case RateLimited():
                detail = f"rate limited for {error.retry_after:.0f} s"
                return Refused("transient", detail, retry_after=error.retry_after)
            case TimeoutError():
                detail = f"no answer within {self._timeout:.0f} s"
                return Refused("transient", detail, maybe_accepted=True)
        detail = f"the connection broke: {type(error).__name__}"
        return Refused("transient", detail, maybe_accepted=True)

    async def _count(
        self, _session: Any, _context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        self.requests += 1
        status = end.response.status
        if status in (401, 403, 429):
            self.invalid_requests += 1
        if status == 429:
            self.rate_limited += 1
            self._on_limited(_seconds(end.response.headers.get("Retry-After")))

    def _forget_buckets(self) -> None:
        if len(self._http._buckets) > KNOWN_BUCKETS:
            self._http._buckets.clear()


async def _notice_acceptance(
    _session: Any, _context: SimpleNamespace, chunk: aiohttp.TraceResponseChunkReceivedParams
) -> None:
    """A message's own JSON has come in: it is accepted, whatever discord.py still waits for."""
    accepted = _accepted.get()
    if accepted is None or accepted.done() or not chunk.chunk.startswith(b"{"):
        return
    try:
        answer = json.loads(chunk.chunk)
    except ValueError:
        return
    if "content" in answer and "id" in answer:
        accepted.set_result(str(answer["id"]))


def _refused(error: HTTPException) -> Refused:
    why = classify(error.status, error.code)
    return Refused(
        why,
        explain(error.status, error.code, error.text),
        gone=error.code == GONE,
        maybe_accepted=error.status >= 500,
    )


def _is_ours(message: dict[str, Any], text: str, nonce: str) -> bool:
    """By nonce where Discord still tells it, else by content: it often does not."""
    if message.get("nonce") is not None:
        return str(message["nonce"]) == nonce
    return bool(message["content"] == text)


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 1))
    except ValueError:
        return 1.0
