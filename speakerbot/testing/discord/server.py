"""The loopback Discord on a socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Self

from aiohttp import web

from speakerbot.testing.discord.clock import LoopbackClock
from speakerbot.testing.discord.control import Control
from speakerbot.testing.discord.faults import Fault
from speakerbot.testing.discord.records import (
    DiscordMessage,
    DmOpened,
    RecordedRequest,
    ScheduledEvent,
)
from speakerbot.testing.discord.responses import ApiResponse
from speakerbot.testing.discord.routing import BASE
from speakerbot.testing.discord.service import DiscordService, IncomingRequest
from speakerbot.testing.discord.settings import LoopbackSettings
from speakerbot.testing.discord.world import Conversation, DiscordWorld, transcript

_NO_LINGER = struct.pack("ii", 1, 0)


class LoopbackDiscord:
    """A Discord of one's own. ``async with`` starts it on a free port (or on ``port``).

    ``record`` is a file that gets every record before the answer goes out; what it holds already
    exists again. In the process it runs in, its world and records may be used directly, from
    other threads too.
    """

    def __init__(
        self,
        settings: LoopbackSettings | None = None,
        *,
        port: int = 0,
        clock: LoopbackClock | None = None,
        record: Path | None = None,
    ) -> None:
        self.clock = clock or LoopbackClock()
        self._service = DiscordService(settings or LoopbackSettings(), self.clock, record)
        self.world = DiscordWorld(self._service.state)
        self.port = port
        self._random = Random(self.settings.seed)  # noqa: S311 - latency is to be repeatable
        self._control = Control(self._service, self.world)
        self._runner: web.ServerRunner | None = None
        self._closing = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What ``DISCORD_API_BASE`` wants. Only known once it runs, unless a port was given."""
        return f"http://127.0.0.1:{self.port}{BASE}"

    @property
    def settings(self) -> LoopbackSettings:
        """May be replaced at any time; limits start over then."""
        return self._service.settings

    @settings.setter
    def settings(self, settings: LoopbackSettings) -> None:
        self._service.use(settings)

    @property
    def messages(self) -> Sequence[DiscordMessage]:
        """Every message that was accepted, in order; deleted ones too."""
        return self._service.state.messages

    @property
    def events(self) -> Sequence[ScheduledEvent]:
        """Every event of the guild as it is now, in the order they were made in; also those that
        are over or deleted."""
        return self._service.events()

    @property
    def dms_opened(self) -> Sequence[DmOpened]:
        return self._service.state.dms_opened

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """Every request to Discord's API, in the order they were decided in."""
        return self._service.requests

    @property
    def counts(self) -> Counter[tuple[str, int | None]]:
        """Requests by operation and status; status None was never answered."""
        return self._service.counts

    @property
    def rate_limited(self) -> int:
        """Answers with status 429."""
        return sum(n for (_, status), n in self.counts.items() if status == 429)

    @property
    def invalid_requests(self) -> int:
        """Answers 401, 403 and 429 of the last ten minutes: Discord's budget for them is 10,000."""
        return self._service.invalid_requests()

    def inject(self, *faults: Fault) -> None:
        self._service.faults.inject(*faults)

    def clear_faults(self) -> None:
        self._service.faults.clear()

    def transcript(self) -> tuple[Conversation, ...]:
        """What people see, channel by channel."""
        return transcript(self._service.state)

    async def start(self) -> None:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._service.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextmanager
    def running_in_thread(self) -> Iterator[Self]:
        """For code without an event loop: runs in a thread with one of its own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="loopback-discord", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result()
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.startswith(BASE):
            return self._control.respond(request.method, request.path, await request.read())
        # The body first: what a client sent before it died takes effect, as at Discord.
        incoming = await _incoming(request)
        delay = self._latency()
        if delay:
            await asyncio.sleep(delay / 2)
        answer = self._service.answer(incoming)
        if delay:
            await asyncio.sleep(delay / 2)
        return await self._finish(request, answer)

    def _latency(self) -> float:
        settings = self.settings
        if not settings.jitter:
            return settings.latency
        spread = self._random.uniform(-settings.jitter, settings.jitter)
        return max(0.0, settings.latency + spread)

    async def _finish(self, request: web.BaseRequest, answer: ApiResponse) -> web.StreamResponse:
        if answer.ending == "hang":
            await self._closing.wait()
        if not answer.was_sent:
            _drop(request, reset=answer.ending == "reset")
            return web.Response()
        response = web.Response(
            status=answer.status,
            body=answer.body,
            headers={**answer.headers, "Date": self.clock.http_date()},
            content_type=answer.content_type,
        )
        return await _cut_off(request, response) if answer.ending == "cut_off" else response


async def _incoming(request: web.BaseRequest) -> IncomingRequest:
    authorization = request.headers.get("Authorization", "")
    body = await request.read()
    return IncomingRequest(request.method, request.path, request.query, authorization, body)


async def _cut_off(request: web.BaseRequest, whole: web.Response) -> web.StreamResponse:
    """Promises all of ``whole``, sends half of its body, and ends the connection."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    half = web.StreamResponse(status=whole.status, headers=whole.headers)
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


def _drop(request: web.BaseRequest, *, reset: bool) -> None:
    """Ends the connection without an answer; aiohttp gives up on writing one."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
