"""discord.py's HTTP client alone: a session without gateway or login, and what its faults mean.

discord.py brings the retries and, with our ``Bucket``, the per-channel rate limits.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import aiohttp
from discord import HTTPException, RateLimited
from discord.http import HTTPClient, Ratelimit, Route
from yarl import URL

from speakerbot.channels.discord.error_codes import classify, explain
from speakerbot.errors import ConfigError
from speakerbot.ports.channel import (
    LONGEST_RETRY_AFTER,
    Lane,
    Ready,
    RefusalClass,
    Refused,
    Withheld,
)

LONGEST_PAUSE = 30.0
"""Seconds discord.py may wait for a rate limit itself; anything longer is a failure to retry."""
CONNECT_PAUSES = (1.0, 3.0)
"""Seconds to wait before connecting again, when not even a connection could be made."""
MOST_BUCKETS = 200
"""discord.py's bookkeeping slows down beyond 256."""
UNREADABLE = (ValueError, LookupError, TypeError)
"""What discord.py raises over an answer that is not what Discord promises."""


class Bucket(Ratelimit):
    """Fills up again beside the request that has used it up: that one returns with its answer.

    discord.py lets that request return only when the bucket is full again, seconds after its
    answer came in: a crash meanwhile would leave an accepted message unconfirmed."""

    __slots__ = ("_filling",)

    def __init__(self, longest_wait: float | None) -> None:
        super().__init__(longest_wait)
        self._filling: set[asyncio.Task[None]] = set()

    async def __aexit__(self, *raised: Any) -> None:
        leave = super().__aexit__(*raised)
        if self.remaining >= self.outgoing:
            await leave
            return
        filling = asyncio.create_task(leave)
        self._filling.add(filling)
        filling.add_done_callback(self._filling.discard)

    @property
    def fresh(self) -> bool:
        """It says no more than a new one would."""
        return not self.outgoing and (self.remaining > 0 or self.is_expired())

    async def close(self) -> None:
        for filling in self._filling:
            filling.cancel()
        await asyncio.gather(*self._filling, return_exceptions=True)


class Buckets(HTTPClient):
    """discord.py's client, with our buckets, and only those in use."""

    _buckets: dict[str, Bucket]  # type: ignore[assignment]

    def get_ratelimit(self, key: str) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._forget_fresh()
            bucket = self._buckets[key] = Bucket(self.max_ratelimit_timeout)
        return bucket

    def _forget_fresh(self) -> None:
        for key in [key for key, bucket in self._buckets.items() if bucket.fresh]:
            del self._buckets[key]

    async def close(self) -> None:
        for bucket in self._buckets.values():
            await bucket.close()
        await super().close()


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer that is not a success. ``code``: of Discord's own JSON; None: it was not that."""

    status: int
    code: int | None
    text: str
    retry_after: float | None
    everywhere: bool

    @classmethod
    async def read(cls, response: aiohttp.ClientResponse) -> _Answer:
        text = await response.text(errors="replace")
        body = _json(text)
        code = body.get("code") if isinstance(body, dict) and "message" in body else None
        own = isinstance(code, int) or (isinstance(body, dict) and "retry_after" in body)
        headers = response.headers
        return cls(
            status=response.status,
            code=code if isinstance(code, int) else None,
            text=str(body.get("message")) if isinstance(body, dict) and own else text,
            retry_after=_seconds(headers.get("Retry-After")),
            everywhere=_is_everywhere(response),
        )


class _Tries:
    """Sees every try of one request: discord.py repeats it by itself and shows only the last."""

    def __init__(
        self,
        notice: Callable[[aiohttp.ClientResponse], None],
        ready: Ready | None,
        *,
        blind: bool,
    ) -> None:
        self._notice = notice
        self._ready = ready
        self._blind = blind
        self.unclear = False
        """One got no clear answer: whatever a later one is told, the request may have been done."""
        self.last: _Answer | None = None
        self.limit: asyncio.Timeout | None = None
        """Cuts the request off."""
        self.withheld = False
        """No try may begin any more."""
        self.cut_off = False
        """It was, while it waited for one."""
        self._under_way = False
        """A try is; else the request waits for its turn, or to be repeated."""

    def withhold(self) -> None:
        """Has no other try begin; who waits for one waits no longer."""
        self.withheld = True
        if not self._under_way and self.limit is not None and not self.limit.expired():
            self.cut_off = True
            self.limit.reschedule(0.0)

    async def watch(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.last = None
        if self.unclear and not self._blind:
            raise Withheld
        self._under_way = True
        try:
            response = await self._try(request, send)
        except BaseException:
            self._under_way = False
            raise
        if response.status >= 400:
            self._under_way = False
            if self.withheld:
                self.withhold()  # discord.py would sleep now
        return response

    async def _try(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._ready is not None:
            await self._ready()
        if self.withheld:
            raise Withheld
        try:
            response = await send(request)
        except aiohttp.ClientConnectorError:
            raise  # it never left
        except (aiohttp.ClientError, OSError, asyncio.CancelledError):
            self.unclear = True
            raise
        self._notice(response)
        if response.status >= 400:
            self.last = await _Answer.read(response)
        self.unclear |= response.status >= 500 or _is_bare(self.last)
        return response


def _is_everywhere(response: aiohttp.ClientResponse) -> bool:
    """A rate limit on everything we send. Without Discord's mark it is that of the proxy in front
    of it, which counts by address."""
    headers = response.headers
    is_global = headers.get("X-RateLimit-Global") == "true" or "Via" not in headers
    return response.status == 429 and is_global


def _is_bare(answer: _Answer | None) -> bool:
    """Somebody else than Discord answered: it may have passed the request on."""
    return answer is not None and answer.code is None and answer.status != 429


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


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
    """``async with`` opens the session. ``pace`` hands out the turns of requests, and is told of
    each 429. No request may take longer than ``timeout``."""

    def __init__(self, token: str, base: str, *, timeout: timedelta, pace: Lane) -> None:
        self._token = token
        self._base = base
        self._timeout = timeout.total_seconds()
        self._pace = pace
        self._me: str | None = None
        self._asking = asyncio.Lock()
        self._open: set[_Tries] = set()
        self.requests = 0
        self.rate_limited = 0
        self.invalid_requests = 0

    async def __aenter__(self) -> Self:
        self._check_settings()
        # Our own lines say what happened; discord.py's would break the JSON on stderr.
        quiet = logging.getLogger("discord")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        Route.BASE = self._base
        self._http = _RestOnly(asyncio.get_running_loop(), max_ratelimit_timeout=LONGEST_PAUSE)
        await self._http.open(self._token)
        self._until_stopped = asyncio.create_task(self._withhold_at_stop())
        return self

    async def _withhold_at_stop(self) -> None:
        await self._pace.stopped()
        for tries in self._open:
            tries.withhold()

    def _check_settings(self) -> None:
        """What would fail before anything was sent. Raises ConfigError."""
        if not (self._token.isascii() and self._token.isprintable() and " " not in self._token):
            raise ConfigError(
                "DISCORD_TOKEN holds a space, a line break or a character no token has: copy it "
                "again from Discord's developer portal"
            )
        try:
            address = URL(self._base)
        except ValueError:
            address = URL()
        version = re.fullmatch(r"/api/v\d+", address.path)
        if address.scheme not in ("http", "https") or not address.host or not version:
            raise ConfigError(
                f"DISCORD_API_BASE: {self._base!r} is not the address of an API; write e.g. "
                "https://discord.com/api/v10"
            )

    async def __aexit__(self, *_: object) -> None:
        self._until_stopped.cancel()
        await self._http.close()

    async def my_id(self) -> str:
        """The bot's own user id; asked for once, and only by those who need it."""
        async with self._asking:
            if self._me is None:
                self._me = id_of(await self.ask(Route("GET", "/users/@me")))
        return self._me

    async def probe(self) -> None:
        await self.ask(Route("GET", "/users/@me"))

    async def ask(
        self,
        route: Route,
        *,
        once: bool = False,
        ready: Ready | None = None,
        blind: bool = True,
        empty: bool = False,
        **options: Any,
    ) -> Any:
        """The decoded answer. Raises Refused for whatever is none; of what must be done but
        ``once``, only a refusal of every try says that it was not done. ``ready`` is awaited before
        each try; what it raises goes through where no try before it can have been done. Once the
        lane has stopped, a try that is under way is the last. ``blind`` False: there is no other
        try once one got no clear answer. ``empty``: the answer has no body (204), and that is all
        there is to it."""
        await self._pace.slot()
        tries = _Tries(self._count, ready, blind=blind)
        self._open.add(tries)
        try:
            async with asyncio.timeout(self._timeout) as tries.limit:
                answer = await self._connected(route, {**options, "middlewares": (tries.watch,)})
        except asyncio.CancelledError:
            self._let_others_go_on()
            raise
        except Withheld:
            await self._check_withheld(tries, once)
            raise
        except (
            HTTPException,
            RateLimited,
            TimeoutError,
            aiohttp.ClientError,
            OSError,
            *UNREADABLE,
        ) as error:
            refusal = self._refusal(error, tries.last)
            if isinstance(error, TimeoutError) and tries.cut_off:
                await self._check_withheld(tries, once)
            raise (_maybe_done(refusal) if once and tries.unclear else refusal) from error
        finally:
            self._open.discard(tries)
        if isinstance(answer, str) and (answer or not empty):
            raise _makes_no_sense("it is not JSON")
        return answer

    async def _check_withheld(self, tries: _Tries, once: bool) -> None:
        """Raises Refused where an earlier try may have been done, and what the lane raises where it
        has stopped."""
        if once and tries.unclear:
            detail = "the repetition was withheld"
            raise Refused(RefusalClass.SERVICE, detail, maybe_accepted=True) from None
        if tries.withheld:
            await self._pace.slot()

    async def _connected(self, route: Route, options: dict[str, Any]) -> Any:
        """Tries again where no connection could be made: the request never left."""
        for pause in CONNECT_PAUSES:
            try:
                return await self._http.request(route, **options)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(pause)
        return await self._http.request(route, **options)

    def _refusal(self, error: Exception, answer: _Answer | None) -> Refused:
        match error:
            case HTTPException() if answer is not None:
                return _refused(answer)
            case RateLimited():
                everywhere = answer is not None and answer.everywhere
                return _limited(error.retry_after, everywhere=everywhere)
            case aiohttp.ClientConnectorError():
                detail = f"{self._base} cannot be reached: {error.strerror or error}"
                return Refused(RefusalClass.SERVICE, detail)
            case TimeoutError():
                self._let_others_go_on()
                detail = f"no answer within {self._timeout:.0f} s"
                return Refused(RefusalClass.SERVICE, detail, maybe_accepted=True)
            case aiohttp.ClientError() | OSError():
                detail = f"the connection broke: {type(error).__name__}"
                return Refused(RefusalClass.SERVICE, detail, maybe_accepted=True)
        if answer is not None:
            return _refused(answer)
        return _makes_no_sense(type(error).__name__)

    def _let_others_go_on(self) -> None:
        """discord.py leaves everybody waiting if its wait for the global limit is cut short."""
        self._http._global_over.set()

    def _count(self, response: aiohttp.ClientResponse) -> None:
        self.requests += 1
        if response.status in (401, 403, 429):
            self.invalid_requests += 1
        if response.status == 429:
            self.rate_limited += 1
            asked = _seconds(response.headers.get("Retry-After"))
            everywhere = _is_everywhere(response)
            seconds = min(1.0 if asked is None else asked, LONGEST_RETRY_AFTER)
            self._pace.slow_down(seconds, everywhere)


def id_of(answer: Any) -> str:
    """Raises Refused where Discord's answer is not what was asked for."""
    if isinstance(answer, dict) and "id" in answer:
        return str(answer["id"])
    raise _makes_no_sense("it names no id")


def _makes_no_sense(why: str) -> Refused:
    detail = f"Discord's answer makes no sense ({why})"
    return Refused(RefusalClass.SERVICE, detail, maybe_accepted=True)


def _maybe_done(refusal: Refused) -> Refused:
    """Of a request that must be done but once, where an earlier try got no clear answer."""
    return Refused(
        RefusalClass.SERVICE,
        refusal.detail,
        maybe_accepted=True,
        limited=refusal.limited,
        everywhere=refusal.everywhere,
        retry_after=refusal.retry_after,
    )


def _refused(answer: _Answer) -> Refused:
    if answer.status == 429:
        return _limited(answer.retry_after or 1.0, everywhere=answer.everywhere)
    return Refused(
        classify(answer.status, answer.code),
        explain(answer.status, answer.code, answer.text),
        maybe_accepted=answer.status >= 500 or answer.code is None,
        code=answer.code,
    )


def _limited(seconds: float, *, everywhere: bool) -> Refused:
    return Refused(
        RefusalClass.SERVICE,
        f"rate limited for {seconds:.0f} s",
        limited=True,
        everywhere=everywhere,
        retry_after=min(seconds, LONGEST_RETRY_AFTER),
    )


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After header; None where there is none, or it makes no sense."""
    try:
        seconds = float(text or "nan")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
