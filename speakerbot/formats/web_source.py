"""Fetches a programme, from a file or an address on the web. Whoever answers is not trusted.

Bounded are the time of everything together, the size (unpacked), redirects and pages. Private
addresses are refused unless somebody allows them: names are checked where they are resolved, and
the connection goes to what was checked, so a name that points elsewhere a moment later gains
nothing. The token goes to the source's own host, over https, and nowhere else; what people read
shows neither it nor what an address may hold that is secret.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from speakerbot import __version__
from speakerbot.errors import ConfigError, SourceRefused, TokenRefused, Unreachable, UsageError
from speakerbot.formats.sessions import plain_scope
from speakerbot.logs import get_logger

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
MOST_PAGES = 400
PIECE = 64 * 1024
LONGEST_RETRY_AFTER = 20.0
SECRET_LENGTH = 24
"""A part of a path that is longer may be a secret, as in a calendar's private address."""
ACCEPT = "application/json, text/calendar, text/csv;q=0.9, */*;q=0.1"
"""pretalx redirects from the page of a schedule to its export where JSON is preferred."""
EXPANDED = {
    "submissions": "speakers.answers.question,answers.question,slots.room",
    "talks": "speakers.answers.question,answers.question,slots.room",
    "slots": "room,submission.speakers.answers.question,submission.answers.question",
    "schedules": "slots.room,slots.submission.speakers",
}
"""What pretalx is asked to answer whole instead of as ids."""
_PRETALX_API = re.compile(r"(?P<event>.*/api/events/[^/]+)/?(?:(?P<list>[a-z]+)(?:/[^/]+)?/?)?")
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")
_NOT_FOR_US = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
"""Counted as global by some versions of Python; Oracle's and Azure's metadata are among them."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Document:
    """What a file or an address holds; of a list in pages, one of them."""

    data: bytes
    name: str
    """Where it is from, for people: no secrets."""
    url: str | None = None
    """Whole, without its query; None for a file."""
    source: str | None = field(repr=False, default=None)
    """The address that was asked for first, with its secrets: redirects may lead somewhere else
    each time. None: ``url``."""
    content_type: str = ""
    next: str | None = None
    """Where the next page is, as the page says."""

    @property
    def host(self) -> str:
        """Where the source is, for ids: ``programme.example``, ``file/talks.ics``."""
        if self.url is None:
            return f"file/{plain_scope(self.name.rpartition('/')[2])}"
        return urlsplit(self.source or self.url).netloc

    @property
    def scope(self) -> str:
        """The source itself, for ids: one host may have many. Nothing secret can be read in it."""
        if self.url is None:
            return self.host
        where = urlsplit(self.source or self.url)
        return f"{where.netloc}/{sha256(f'{where.path}?{where.query}'.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a source may take of us."""

    seconds: float = 60.0
    silent_seconds: float = 20.0
    """Without a single byte."""
    size: int = 20 * 1024**2
    pauses: tuple[float, ...] = (1.0, 3.0)
    """Seconds before each further try, where the source has a fault."""


@dataclass(frozen=True, slots=True)
class Access:
    """Which secrets may be shown, and which networks looked at."""

    token: str | None = field(repr=False, default=None)
    allow_private: bool = False
    bounds: Bounds = Bounds()
    resolve: Resolve | None = None
    """Names to addresses; None: as the system does."""
    tls: ssl.SSLContext | None = None
    """Whose certificates count; None: those that the system trusts."""


def load(source: str, access: Access) -> list[Document]:
    """What a file holds (``-`` is standard input), or what lies at an address."""
    return fetch(source, access) if "://" in source else [_file(source, access.bounds.size)]


def _file(path: str, most: int) -> Document:
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"{name}: cannot be read ({error.strerror}); SOURCE is a file, or an address that "
            "begins with https://"
        ) from error
    if len(data) > most:
        raise SourceRefused(f"{name} holds more than {most // 1024**2} MB; nothing was changed")
    return Document(data, name)


def fetch(address: str, access: Access) -> list[Document]:
    """What lies there; of pretalx's lists, every page.

    Raises UsageError, SourceRefused (65), Unreachable (69), TokenRefused (77) and, where a token is
    missing, ConfigError (78)."""
    url = _source_url(address)
    return asyncio.run(_fetch(url, access))


def _source_url(address: str) -> URL:
    try:
        url = URL(address.strip()).with_fragment(None)
        port = url.port
    except ValueError as error:
        raise UsageError(f"SOURCE is not an address that can be read: {error}") from error
    if url.scheme == "webcal":
        url = url.with_scheme("https")
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise UsageError("SOURCE is a file, or an address that begins with https:// or http://")
    if url.user or url.password:
        raise UsageError(
            "SOURCE holds a password, which process lists and logs would show: "
            "put the token into SPEAKERBOT_SYNC_TOKEN"
        )
    return _expanded(url)


def _expanded(url: URL) -> URL:
    """An address of pretalx's API, such that speakers, rooms and answers come along."""
    found = _PRETALX_API.fullmatch(url.path)
    if not found or (name := found["list"] or "submissions") not in EXPANDED:
        return url
    if not found["list"]:
        url = url.with_path(f"{found['event']}/submissions/", keep_query=True)
    return url if "expand" in url.query else url.update_query(expand=EXPANDED[name])


def shown(url: URL) -> str:
    """An address for people and logs: nothing in it that may be a secret."""
    parts = (part if len(part) <= SECRET_LENGTH else f"{part[:6]}…" for part in url.parts[1:])
    host = url.host if url.is_default_port() else f"{url.host}:{url.port}"
    return f"{url.scheme}://{host}/{'/'.join(parts)}"


async def _fetch(url: URL, access: Access) -> list[Document]:
    bounds = access.bounds
    connector = aiohttp.TCPConnector(
        resolver=_CheckedResolver(access), ssl=access.tls or True, force_close=False
    )
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=bounds.silent_seconds, sock_read=bounds.silent_seconds
    )
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(bounds.seconds))
            # No proxy from the environment: it would resolve names behind our back.
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
                )
            )  # fmt: skip
            return await _Client(session, url, access).pages()
    except TimeoutError as error:
        raise Unreachable(
            f"{shown(url)} took longer than {bounds.seconds:.0f} s in all; nothing was changed"
        ) from error


class _Fault(Exception):
    """The source is not well; another try may help. ``after``: seconds that it asks for."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


class _Client:
    def __init__(self, session: aiohttp.ClientSession, source: URL, access: Access) -> None:
        self.session, self.source, self.access = session, source, access
        self.token = access.token
        """None once a redirect has led to another host."""
        self.room = access.bounds.size
        self.log = get_logger()

    async def pages(self) -> list[Document]:
        url, found, seen = self.source, list[Document](), set[URL]()
        while True:
            seen.add(url)
            url, document = await self._followed(url)
            found.append(replace(document, source=str(self.source)))
            if not document.next:
                return found
            url = self._next(url, document.next)
            if url in seen or len(found) >= MOST_PAGES:
                raise SourceRefused(f"{shown(url)}: its list of pages does not end")

    def _next(self, page: URL, said: str) -> URL:
        """The next page: at the same host, and over https where this one was."""
        url = self._joined(page, said)
        if (url.host, url.path) != (page.host, page.path):
            raise SourceRefused(f"{shown(page)} says that its next page lies at {shown(url)}")
        return page.with_query(url.query_string)  # behind a proxy it may say http, or another port

    async def _followed(self, url: URL) -> tuple[URL, Document]:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._patiently(url)
            if isinstance(answer, Document):
                return url, answer
            url = self._redirected(url, answer)
        raise SourceRefused(f"{shown(self.source)} redirects more than {MOST_REDIRECTS} times")

    def _redirected(self, url: URL, location: str) -> URL:
        target = self._joined(url, location)
        if url.scheme == "https" and target.scheme != "https":
            raise SourceRefused(
                f"{shown(url)} redirects from https to {shown(target)}, where anybody could change "
                "what is sent; give an https address"
            )
        if not _same_host(self.source, target):
            self.token = None
        self.log.info("source_redirected", source=shown(url), to=shown(target))
        return target

    def _joined(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location)).with_fragment(None)
            usable = target.scheme in ("http", "https") and target.host and target.port
        except ValueError:
            usable = False
        if not usable or target.user or target.password:
            raise SourceRefused(f"{shown(url)} leads to what is not an address of the web")
        return target

    async def _patiently(self, url: URL) -> Document | str:
        """The answer, or where it redirects to; faults of the service are tried again."""
        pauses = iter(self.access.bounds.pauses)
        while True:
            room = self.room
            try:
                return await self._asked(url)
            except _Fault as fault:
                self.room = room
                pause = next(pauses, None)
                if pause is None:
                    raise Unreachable(
                        f"{shown(url)}: {fault}; nothing was changed, try again later"
                    ) from fault
                self.log.info("source_retried", source=shown(url), error=str(fault))
                await asyncio.sleep(max(pause, min(fault.after, LONGEST_RETRY_AFTER)))

    async def _asked(self, url: URL) -> Document | str:
        _check_literal(url, self.access)
        try:
            async with self.session.get(
                url, headers=self._headers(url), allow_redirects=False
            ) as response:
                if response.status in (301, 302, 303, 307, 308) and response.headers.get(
                    "Location"
                ):
                    return response.headers["Location"]
                self._check_status(url, response)
                return _document(url, await self._body(url, response), response.content_type)
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(
                f"{shown(url)}: its certificate is not valid ({error.certificate_error})"
            ) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise _Fault(f"there is no host {url.host!r}, or its name cannot be found") from error
        except aiohttp.InvalidURL as error:
            raise SourceRefused(f"{url.host!r} is not the name of a host") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Fault(_without_address(error)) from error

    def _headers(self, url: URL) -> dict[str, str]:
        headers = {
            "Accept": ACCEPT,
            "Accept-Encoding": "gzip",
            "User-Agent": f"speakerbot/{__version__}",
        }
        if self._shows_token(url) and self.token:
            scheme = "" if " " in self.token else "Token "
            headers["Authorization"] = f"{scheme}{self.token}"
        return headers

    def _shows_token(self, url: URL) -> bool:
        return bool(self.token) and url.scheme == "https" and _same_host(self.source, url)

    def _check_status(self, url: URL, response: aiohttp.ClientResponse) -> None:
        status, where = response.status, shown(url)
        if status == 200:
            return
        if status == 429 or status >= 500:
            asks = response.headers.get("Retry-After", "")
            busy = "it is asked too often" if status == 429 else "it has a fault of its own"
            raise _Fault(f"{busy} ({status})", float(asks) if asks.isdecimal() else 0.0)
        if status in (401, 403):
            raise self._login_refused(url, status)
        if status in (404, 410):
            raise SourceRefused(
                f"there is nothing at {where} ({status}): check the address; pretalx shows a "
                "schedule once a version of it is released, and a private one to a token only"
            )
        raise SourceRefused(f"{where} answered {status}, which is not a programme")

    def _login_refused(self, url: URL, status: int) -> Exception:
        where = f"{shown(url)} answered {status}"
        if self._shows_token(url):
            return TokenRefused(
                f"{where}: SPEAKERBOT_SYNC_TOKEN was refused, or may not read this; make a new "
                "one (pretalx: /orga/me) that may read the event's submissions"
            )
        if self.access.token:
            return ConfigError(
                f"{where}: SPEAKERBOT_SYNC_TOKEN was not shown, since it goes only to the "
                "source's own host and over https; give the https address that it belongs to"
            )
        return ConfigError(
            f"{where}: it wants a token; set SPEAKERBOT_SYNC_TOKEN (pretalx: /orga/me), or give "
            "an address that everybody may read"
        )

    async def _body(self, url: URL, response: aiohttp.ClientResponse) -> bytes:
        packed = response.headers.get("Content-Encoding", "identity").strip().lower()
        unpacker = zlib.decompressobj(31) if packed in ("gzip", "x-gzip") else None
        if unpacker is None and packed not in ("identity", ""):
            raise SourceRefused(f"{shown(url)} packs its answer as {packed[:20]!r}, unasked")
        pieces = []
        async for piece in response.content.iter_chunked(PIECE):
            # As much as there is room for and one byte: a bomb is not unpacked to see its size.
            unpacked = _unpacked(unpacker, piece, self.room + 1) if unpacker else piece
            self.room -= len(unpacked)
            if self.room < 0:
                most = self.access.bounds.size // 1024**2
                raise SourceRefused(f"{shown(url)} holds more than {most} MB; nothing was changed")
            pieces.append(unpacked)
            if unpacker and unpacker.eof:
                break
        if unpacker and not unpacker.eof:
            raise _Fault("its answer ended too early")
        return b"".join(pieces)


def _unpacked(unpacker: Any, piece: bytes, most: int) -> bytes:
    try:
        return bytes(unpacker.decompress(piece, most))
    except zlib.error as error:
        raise _Fault("its answer was damaged on the way") from error


def _same_host(source: URL, url: URL) -> bool:
    ports_agree = url.port == source.port or (url.is_default_port() and source.is_default_port())
    return url.host == source.host and ports_agree


def _without_address(error: Exception) -> str:
    """What went wrong. The messages of libraries may hold the address as it was asked."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be connected to ({error.os_error.strerror or type(error).__name__})"
    return f"it hung up, or answered what is not HTTP ({type(error).__name__})"


class _Page(msgspec.Struct):
    results: msgspec.Raw
    next: str | None = None


def _document(url: URL, data: bytes, content_type: str) -> Document:
    following = None
    if data.lstrip()[:1] == b"{":
        try:
            following = msgspec.json.decode(data, type=_Page).next
        except (msgspec.MsgspecError, RecursionError):
            following = None  # not a list in pages
    return Document(
        data, shown(url), str(url.with_query(None)), content_type=content_type, next=following
    )


def _check_literal(url: URL, access: Access) -> None:
    """An address in digits is never resolved."""
    try:
        address = ip_address((url.host or "").partition("%")[0])
    except ValueError:
        return
    _check(str(url.host), [address], access)


class _CheckedResolver(AbstractResolver):
    """Resolves, checks, and hands on exactly what was checked."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._resolve = access.resolve or _system_resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # both are taken
    ) -> list[ResolveResult]:
        found = [ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        _check(host, found, self.access)
        return [
            ResolveResult(
                hostname=host, host=str(address), port=port, proto=socket.IPPROTO_TCP,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]  # fmt: skip

    async def close(self) -> None:
        pass


async def _system_resolve(host: str, port: int) -> Sequence[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def _check(host: str, addresses: Sequence[IPv4Address | IPv6Address], access: Access) -> None:
    if access.allow_private:
        return
    if inside := [str(address) for address in addresses if not public(address)]:
        raise SourceRefused(
            f"{host} is an address of a private network ({inside[0]}); "
            "if the programme really lies there, add --allow-private"
        )


def public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is out on the internet: neither this machine nor its network, nor where clouds
    keep their metadata, however it is written."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return public(inner)
        return address in _UNICAST and address.is_global
    special = address.is_multicast or address.is_reserved
    return address.is_global and not special and not any(address in net for net in _NOT_FOR_US)
