"""Fly's Machines API and its registry, as little of them as we need. Nothing here decides anything.

Each request is paced, repeated where that is safe, and its answer understood.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp

from deploy.api_errors import Conflict, FlyAnswer, FlyRefused, Gone, ImageMissing
from deploy.machines import Machine, WantedMachine, read_machine
from deploy.settings import FlyTarget
from speakerbot.errors import ConfigError, TokenRefused, Unreachable, UsageError
from speakerbot.logs import get_logger

LEASE_SECONDS: Final = 30
RELEASE_SECONDS: Final = 15.0
HASTY_RELEASE_SECONDS: Final = 3.0
POLL_SECONDS: Final = 3.0
_PAGE: Final = "1000"
RATES: Final[Mapping[str, tuple[float, float]]] = {"get": (5.0, 9.0)}
_OTHER_RATE: Final = (1.0, 2.0)
"""Requests a second and burst of an action. Fly allows a burst of one more: where requests arrive
faster than they were sent it must not be too fast."""
ATTEMPTS: Final = 7
_KINDS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1",
                 "docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2")
)  # fmt: skip
_NONCE: Final = "fly-machine-lease-nonce"


@dataclass(slots=True)
class RateLimit:
    """Keeps each kind of request within its rate, and spaces retries. One for each run of a
    command; time can be faked."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _full_at: dict[str, float] = field(default_factory=dict)

    async def take(self, action: str) -> None:
        """Waits until a request of that kind may go (GCRA: one number holds rate and burst)."""
        rate, burst = RATES.get(action, _OTHER_RATE)
        now = self.now()
        full_at = max(self._full_at.get(action, now), now) + 1 / rate
        self._full_at[action] = full_at
        if (pause := full_at - now - burst / rate) > 0:
            await self.sleep(pause)

    def backoff(self, attempts: int = ATTEMPTS) -> Iterator[float]:
        """Seconds before each further attempt, doubling from one to 30, with jitter."""
        for attempt in range(attempts - 1):
            yield min(2.0**attempt, 30.0) * random.uniform(0.8, 1.2)  # noqa: S311


@dataclass(frozen=True, slots=True)
class FlyRequest:
    """``action`` is what Fly's rate limits count; ``path`` follows the app's machines."""

    action: str
    method: Literal["GET", "POST", "DELETE"]
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    nonce: str = ""
    repeat: bool = True
    """False: asked once only, whatever comes back."""
    seconds: float | None = None
    """How long to wait for the answer, where that is not the usual time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is asked; ``tell`` is called before each repetition with why and when."""

    attempts: int = ATTEMPTS
    tell: Callable[[str], None] = lambda _text: None


class Transport:
    """Requests about the machines of one app."""

    def __init__(
        self, session: aiohttp.ClientSession, base: str, app: str, rate_limit: RateLimit
    ) -> None:
        self.session, self.base, self.app, self.rate_limit = session, base, app, rate_limit
        self.log = get_logger()

    async def ask(self, request: FlyRequest, patience: Patience) -> FlyAnswer:
        """A success; everything else is raised as what it means (``FlyAnswer.error``)."""
        pauses = self.rate_limit.backoff(patience.attempts) if request.repeat else iter(())
        while True:
            await self.rate_limit.take(request.action)
            try:
                return await self._attempt(request)
            except (Unreachable, ImageMissing) as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                self.log.debug("fly_retried", error=str(error), seconds=round(pause, 1))
                patience.tell(f"{str(error).splitlines()[0]}; again in {pause:.0f} s")
            await self.rate_limit.sleep(pause)

    async def _attempt(self, request: FlyRequest) -> FlyAnswer:
        about = f"{request.method} /apps/{self.app}/machines{request.path}"
        try:
            answer = await self._send(request, about)
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            why = "it took too long" if isinstance(fault, TimeoutError) else str(fault)
            raise Unreachable(f"Fly did not answer {about}: {why or repr(fault)}") from fault
        self.log.debug(
            "fly_answered", request=about, status=answer.status, fly_request_id=answer.request_id
        )
        if not 200 <= answer.status < 300:
            raise answer.error()
        return answer

    async def _send(self, request: FlyRequest, about: str) -> FlyAnswer:
        timeout = aiohttp.ClientTimeout(request.seconds) if request.seconds else None
        async with self.session.request(
            request.method,
            f"{self.base}{request.path}",
            params=request.query,
            json=request.body,
            headers={_NONCE: request.nonce} if request.nonce else {},
            allow_redirects=False,  # a token goes nowhere else
            timeout=timeout or self.session.timeout,
        ) as response:
            return FlyAnswer(
                about,
                self.app,
                response.status,
                await response.text(errors="replace"),
                response.headers.get("fly-request-id", ""),
                response.headers.get("fly-next-cursor", ""),
            )


class Fly:
    """The machines of one app. Raises TokenRefused, ConfigError, Unreachable, and of
    ``deploy.api_errors`` Conflict and Gone."""

    def __init__(self, transport: Transport, patience: Patience = Patience()) -> None:
        self.transport, self.patience = transport, patience

    def patient(self, attempts: int, tell: Callable[[str], None]) -> Fly:
        """The same Fly, asked that often; ``tell`` hears of each repetition."""
        return Fly(self.transport, Patience(attempts, tell))

    async def ask(self, request: FlyRequest) -> FlyAnswer:
        return await self.transport.ask(request, self.patience)

    async def machines(self) -> Sequence[Machine]:
        """Every machine of the app: one request, and one for each further page."""
        machines: list[Machine] = []
        query = {"limit": _PAGE}
        while True:
            try:
                answer = await self.ask(FlyRequest("list", "GET", query=query))
            except Gone as error:
                raise ConfigError(
                    f"there is no app {self.transport.app!r} on Fly, or the token cannot see it: "
                    "check --app or `app` in fly.toml; `fly apps create` creates one"
                ) from error
            machines += _machines(answer)
            if not answer.cursor or answer.cursor == query.get("cursor"):
                return machines
            query = {"limit": _PAGE, "cursor": answer.cursor}

    async def get(self, machine_id: str) -> Machine:
        """The machine as it is now."""
        return _machine(await self.ask(FlyRequest("get", "GET", f"/{machine_id}")))

    async def create(self, wanted: WantedMachine) -> Machine:
        """Creates and launches. Asked once only: after Unreachable nobody knows whether it was
        done, so list again before anything else."""
        body = {"name": wanted.name, "region": wanted.region, "config": wanted.config}
        return _machine(await self.ask(FlyRequest("create", "POST", body=body, repeat=False)))

    async def update(self, machine: Machine, config: Mapping[str, Any], nonce: str) -> Machine:
        """Replaces the whole config if the machine still is what we saw; else Conflict."""
        body = {"name": machine.name, "config": config, "current_version": machine.version}
        path = f"/{machine.id}"
        return _machine(await self.ask(FlyRequest("update", "POST", path, body=body, nonce=nonce)))

    async def delete(self, machine: Machine, nonce: str) -> None:
        """Destroys a machine at rest; Conflict if it has started. If it is gone, that is fine."""
        # Fly destroys only stopped machines without force; suspended and failed ones run nothing.
        query = {} if machine.state == "stopped" else {"force": "true"}
        try:
            await self.ask(FlyRequest("delete", "DELETE", f"/{machine.id}", query, nonce=nonce))
        except Gone:
            return

    async def start(self, machine_id: str) -> None:
        """Starts its job now."""
        await self.ask(FlyRequest("start", "POST", f"/{machine_id}/start"))

    async def stop(self, machine_id: str) -> None:
        """Asks its job to end, as ``stop_config`` says: returns before it has. A machine at rest
        stays so."""
        await self.ask(FlyRequest("stop", "POST", f"/{machine_id}/stop"))

    async def wait_stopped(self, machine: Machine, seconds: float) -> bool:
        """Waits up to ``seconds`` (60 at most) for that version of the machine to stop; False if
        it did not. Where Fly refuses to wait a moment passes, so that the caller may poll."""
        limit, began = max(1, min(60, int(seconds))), self.transport.rate_limit.now()
        query = {"state": "stopped", "timeout": str(limit), "instance_id": machine.version}
        path = f"/{machine.id}/wait"
        try:
            await self.ask(
                FlyRequest("wait", "GET", path, query, repeat=False, seconds=limit + 15.0)
            )
        except (Unreachable, FlyRefused, Gone, Conflict):
            passed = self.transport.rate_limit.now() - began
            await self.transport.rate_limit.sleep(max(0.0, min(POLL_SECONDS, limit) - passed))
            return False
        return True

    async def events(self, machine_id: str) -> Sequence[Mapping[str, Any]]:
        """Newest first, 50 at most."""
        path = f"/{machine_id}/events"
        answer = await self.ask(FlyRequest("events", "GET", path, {"limit": "50"}))
        events = answer.json()
        if not isinstance(events, list):
            raise answer.unexpected("events that are not a list")
        return [event for event in events if isinstance(event, dict)]

    @asynccontextmanager
    async def lease(self, machine: Machine) -> AsyncIterator[str]:
        """Keeps others from changing the machine. Raises Conflict if someone else holds it."""
        body = {"ttl": LEASE_SECONDS, "description": "speakerbot cron apply"}
        path = f"/{machine.id}/lease"
        answer = await self.ask(FlyRequest("lease", "POST", path, body=body))
        nonce, seconds = _nonce(answer), RELEASE_SECONDS
        try:
            yield nonce
        except asyncio.CancelledError:  # somebody waits for us to end
            seconds = HASTY_RELEASE_SECONDS
            raise
        finally:
            try:
                async with asyncio.timeout(seconds):
                    await self.ask(FlyRequest("release", "DELETE", path, nonce=nonce, repeat=False))
            except (TimeoutError, Unreachable, Conflict, Gone):
                get_logger().debug("lease_left_to_expire", seconds=LEASE_SECONDS)


@asynccontextmanager
async def connect(
    target: FlyTarget,
    timeout: float,  # noqa: ASYNC109 - of one request
    rate_limit: RateLimit | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[Fly]:
    """The app's machines; ``timeout`` in seconds bounds each request, ``tell`` hears of each
    repetition."""
    async with aiohttp.ClientSession(
        headers={"Authorization": target.authorization, "User-Agent": "speakerbot"},
        timeout=aiohttp.ClientTimeout(total=timeout),
    ) as session:
        base = f"{target.base}/v1/apps/{target.app}/machines"
        transport = Transport(session, base, target.app, rate_limit or RateLimit())
        yield Fly(transport, Patience(tell=tell))


def _machine(answer: FlyAnswer) -> Machine:
    try:
        return read_machine(answer.json())
    except ValueError as error:
        raise answer.unexpected(str(error)) from error


def _machines(answer: FlyAnswer) -> list[Machine]:
    document = answer.json()
    if not isinstance(document, list):
        raise answer.unexpected("machines that are not a list")
    try:
        return [read_machine(raw) for raw in document]
    except ValueError as error:
        raise answer.unexpected(str(error)) from error


def _nonce(answer: FlyAnswer) -> str:
    """Of a lease, which comes bare or under ``data``."""
    document = answer.json()
    lease = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(lease, dict) or not isinstance(lease.get("nonce"), str):
        raise answer.unexpected("a lease without a nonce")
    return str(lease["nonce"])


async def by_digest(image: str, target: FlyTarget, seconds: float) -> str:
    """``image`` with its digest behind it. Raises UsageError for another registry than Fly's,
    which must not see the token, ImageMissing, TokenRefused and Unreachable."""
    if "@" in image:
        return image
    host, _, path = image.partition("/")
    local = host.partition(":")[0] in ("127.0.0.1", "localhost")
    if host != target.registry and not local:
        raise UsageError(
            f"--by-digest asks only {target.registry}: write the digest behind {image} yourself"
        )
    name, _, tag = path.partition(":")
    url = f"{'http' if local else 'https'}://{host}/v2/{name}/manifests/{tag or 'latest'}"
    token = target.authorization.partition(" ")[2]
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds)) as session,
            session.head(
                url,
                headers={"Accept": _KINDS},
                auth=aiohttp.BasicAuth("x", token),
                allow_redirects=False,
            ) as response,
        ):
            return f"{image}@{_digest(response, image, target.app)}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"{host} did not say which digest {image} has: {error!r}") from error


def _digest(response: aiohttp.ClientResponse, image: str, app: str) -> str:
    digest = response.headers.get("Docker-Content-Digest", "")
    if response.status == 404:
        raise ImageMissing(f"{image} does not exist: build and push it with `make cron-deploy`")
    if response.status in (401, 403):
        raise TokenRefused(
            f"the registry does not let this token see {image}: create one that may "
            f"with `fly tokens create deploy -a {app}`"
        )
    if response.status != 200 or not digest.startswith("sha256:"):
        raise Unreachable(f"the registry answered {response.status} for {image}, without a digest")
    return digest
