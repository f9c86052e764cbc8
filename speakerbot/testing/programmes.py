"""A loopback source of programmes: it answers what it is told to, also what no source should.

In a test: ``with ProgrammeServer() as server``, then :meth:`ProgrammeServer.put` what lies where,
and give a command ``server.address(path)``. What was asked, and with which token, is in
:attr:`ProgrammeServer.asked`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from aiohttp import web

Manner = Literal["whole", "endless", "slow", "silent", "truncated", "hang up", "bomb"]
"""``endless``: bytes without end. ``slow``: one byte after the other. ``silent``: a head, and then
nothing. ``truncated``: less than its Content-Length. ``hang up``: no answer at all. ``bomb``:
24 MB of zeroes, packed."""
BOMB_MEGABYTES = 24


class Asked(NamedTuple):
    """One request. ``host`` is the Host header, ``token`` the Authorization header."""

    path: str
    host: str
    token: str | None
    peer: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What lies at a path."""

    body: bytes = b""
    content_type: str = "application/json"
    status: int = 200
    manner: Manner = "whole"
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    """Without which it answers 401; None: everybody may read it."""
    times: int = -1
    """How often it is answered, before what was put there earlier is; negative: always."""


class ProgrammeServer:
    """Serves on the loopback, from a thread of its own, until the ``with`` block ends."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.asked: list[Asked] = []
        self.port = 0
        self._answers: dict[str, list[Answer]] = {}
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ProgrammeServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def address(self, path: str = "/", host: str = "127.0.0.1") -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    def put(self, path: str, body: str | bytes = b"", **how: Any) -> None:
        """``how`` are fields of :class:`Answer`."""
        data = body.encode() if isinstance(body, str) else body
        self._answers.setdefault(path, []).append(Answer(data, **how))

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.put(path, status=status, headers={"Location": to})

    def put_pages(
        self,
        path: str,
        rows: Sequence[Mapping[str, Any]],
        size: int = 50,
        host: str = "127.0.0.1",
        **how: Any,
    ) -> None:
        """A list as pretalx's API answers it, in pages that say where the next one is."""
        pages = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
        for number, page in enumerate(pages, 1):
            more = number < len(pages)
            following = self.address(f"{path}?page={number + 1}", host) if more else None
            document = {
                "count": len(rows), "next": following, "previous": None, "results": list(page)
            }  # fmt: skip
            at = path if number == 1 else f"{path}?page={number}"
            self.put(at, json.dumps(document), **how)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization")
        peer = str(request.remote)
        self.asked.append(Asked(request.path_qs, request.host, token, peer))
        answer = self._answer(request)
        if answer.token is not None and token != f"Token {answer.token}":
            return web.json_response({"detail": "Invalid token."}, status=401)
        if answer.manner == "whole":
            return web.Response(
                status=answer.status, body=answer.body, content_type=answer.content_type,
                headers=answer.headers,
            )  # fmt: skip
        if answer.manner == "hang up":
            _hang_up(request)
            return web.Response()
        with suppress(ConnectionError):
            return await _misbehave(request, answer, self._over)
        return web.Response()

    def _answer(self, request: web.Request) -> Answer:
        page = request.query.get("page")
        path = f"{request.path}?page={page}" if page else request.path
        there = self._answers.get(path, [])
        for number in range(len(there) - 1, -1, -1):
            answer = there[number]
            if answer.times == 0:
                continue
            if answer.times > 0:
                there[number] = replace(answer, times=answer.times - 1)
            return answer
        return Answer(b"<h1>Not Found</h1>", "text/html", 404)


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _misbehave(
    request: web.Request, answer: Answer, over: asyncio.Event
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    response.content_type = answer.content_type
    if answer.manner == "bomb":
        response.headers["Content-Encoding"] = "gzip"
    if answer.manner == "truncated":
        response.content_length = len(answer.body) + 100
    await response.prepare(request)
    match answer.manner:
        case "endless":
            while True:
                await response.write(b"[" + b" " * 65536)
        case "slow":
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        case "silent":
            await over.wait()
        case "truncated":
            await response.write(answer.body)
            _hang_up(request)
        case "bomb":
            await response.write(_bomb())
            await response.write_eof()
    return response


def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    zeroes = bytes(1024**2)
    return b"".join(packer.compress(zeroes) for _ in range(BOMB_MEGABYTES)) + packer.flush()
