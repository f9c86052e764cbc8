"""Discord over REST, through discord.py without a gateway. The only module that imports it.

discord.py brings the per-channel rate-limit buckets and retries; everything is sent with a nonce,
which alone makes those retries safe.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import aiohttp
from discord import HTTPException, RateLimited
from discord.http import HTTPClient, Route
from discord.utils import snowflake_time, time_snowflake

from speakerbot.channels.discord_codes import GONE, classify, explain
from speakerbot.delivery.refusals import Refused
from speakerbot.ports import Posted

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

UNREADABLE = (ValueError, LookupError, TypeError)
"""What discord.py raises over an answer that is not what Discord promises."""
LONGEST_CLOCK_ERROR = timedelta(days=1)


@dataclass(slots=True)
class _Sending:
    """What is known of a message before discord.py lets its request return."""

    accepted: asyncio.Future[str]
    doubtful: bool = False
    """A try of it got no clear answer: whatever a later one is told, the message may be there."""


_sending: ContextVar[_Sending | None] = ContextVar("sending", default=None)


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
        self._asking = asyncio.Lock()
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
        trace.on_request_exception.append(_notice_failure)
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
        return _id(channel)

    async def send(self, channel_id: str, text: str, *, nonce: str, mention: str | None) -> str:
        self._forget_buckets()
        body = {
            "content": text,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": {"parse": [], "users": [mention] if mention else []},
        }
        sending = _Sending(asyncio.get_running_loop().create_future())
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        returning = asyncio.create_task(self._post(sending, route, body))
        self._returning.add(returning)
        returning.add_done_callback(partial(self._returned, sending.accepted))
        try:
            # Not the task: discord.py holds back its end while the channel's bucket is empty.
            return await sending.accepted
        except asyncio.CancelledError:
            returning.cancel()
            raise

    def _returned(self, accepted: asyncio.Future[str], returned: asyncio.Task[str]) -> None:
        self._returning.discard(returned)
        if returned.cancelled():
            accepted.cancel()
        elif error := returned.exception():
            if not accepted.done():
                accepted.set_exception(error)
        elif not accepted.done():
            accepted.set_result(returned.result())

    async def _post(self, sending: _Sending, route: Route, body: dict[str, Any]) -> str:
        _sending.set(sending)
        return _id(await self._ask(route, json=body))

    async def find(
        self, channel_id: str, text: str, *, nonce: str, since: datetime, known: Collection[str]
    ) -> str | None:
        since = min(since, datetime.now(UTC)) - CLOCK_SKEW
        async for message in self._own(channel_id, since):
            if str(message["id"]) not in known and _is_ours(message, text, nonce):
                return str(message["id"])
        return None

    async def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        async for message in self._own(channel_id, since):
            at = snowflake_time(int(message["id"]))
            if at >= since:
                yield Posted(str(message["id"]), str(message["content"]), at)

    async def _own(self, channel_id: str, since: datetime) -> AsyncIterator[dict[str, Any]]:
        """Our own messages there, newest first: at least to ``since``, and to the end of that page,
        in case the clock that ``since`` was read from was wrong."""
        me = await self._who_am_i()
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._history(channel_id, before)
            for message in page:
                if message["author"]["id"] == me:
                    yield message
            if not page and before is None:
                await self._check_empty(channel_id, since)
            if len(page) < PAGE or int(page[-1]["id"]) < time_snowflake(since):
                return
            before = page[-1]["id"]
        raise Refused("permission", f"more than {PAGE * MOST_PAGES} messages to look through")

    async def _check_empty(self, channel_id: str, since: datetime) -> None:
        """Where we may not read the history, Discord says that there is none. Raises Refused."""
        route = Route("GET", "/channels/{channel_id}", channel_id=channel_id)
        channel = await self._ask(route)
        last = channel.get("last_message_id") if isinstance(channel, dict) else None
        if last is not None and int(last) >= time_snowflake(since - LONGEST_CLOCK_ERROR):
            raise Refused("permission", "the bot may not read the message history there")

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        route = Route(
            "PATCH",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        try:
            await self._ask(route, json={"content": text, "allowed_mentions": {"parse": []}})
        except Refused as refusal:
            if refusal.why == "already_sent":  # 10008, unknown message: to an edit it says this
                raise Refused("deleted", "the post does not exist any more") from refusal
            raise

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
        async with self._asking:
            if self._me is None:
                self._me = _id(await self._ask(Route("GET", "/users/@me")))
        return self._me

    async def _ask(self, route: Route, **options: Any) -> Any:
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
            sending = _sending.get()
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
        if status >= 500 and (sending := _sending.get()):
            sending.doubtful = True
        if status in (401, 403, 429):
            self.invalid_requests += 1
        if status == 429:
            self.rate_limited += 1
            self._on_limited(_seconds(end.response.headers.get("Retry-After")))

    def _forget_buckets(self) -> None:
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
    sending = _sending.get()
    if sending and not isinstance(end.exception, aiohttp.ClientConnectorError):
        sending.doubtful = True


async def _notice_acceptance(
    _session: Any, _context: SimpleNamespace, chunk: aiohttp.TraceResponseChunkReceivedParams
) -> None:
    """A message's own JSON has come in: it is accepted, whatever discord.py still waits for."""
    sending = _sending.get()
    if sending is None or sending.accepted.done() or not chunk.chunk.startswith(b"{"):
        return
    try:
        answer = json.loads(chunk.chunk)
    except ValueError:
        return
    if "content" in answer and "id" in answer:
        sending.accepted.set_result(str(answer["id"]))


def _id(answer: Any) -> str:
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


def _is_ours(message: dict[str, Any], text: str, nonce: str) -> bool:
    """By nonce where Discord still tells it, else by content: it often does not."""
    if message.get("nonce") is not None:
        return str(message["nonce"]) == nonce
    return bool(message["content"].strip() == text.strip())


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 1))
    except ValueError:
        return 1.0
