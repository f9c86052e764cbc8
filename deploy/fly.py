"""Fly's Machines API, as little of it as we need. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from deploy.api_errors import Conflict, FlyAnswer, Gone
from deploy.machines import Machine, WantedMachine, read_machine
from deploy.rate_limit import RateLimit
from deploy.settings import FlyTarget
from deploy.transport import FlyRequest, Transport
from speakerbot.errors import ConfigError, Unreachable
from speakerbot.logs import get_logger

LEASE_SECONDS: Final = 30
_PAGE: Final = "1000"


class Fly:
    """The machines of one app. Raises TokenRefused, ConfigError, Unreachable, and of
    ``deploy.api_errors`` Conflict and Gone."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.ask = transport.ask

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

    async def wait_stopped(self, machine: Machine, seconds: float) -> bool:
        """Waits up to ``seconds`` (60 at most) for the machine to stop; False if it did not."""
        limit = max(1, min(60, int(seconds)))
        query = {"state": "stopped", "timeout": str(limit)}
        path = f"/{machine.id}/wait"
        try:
            await self.ask(
                FlyRequest("wait", "GET", path, query, repeat=False, seconds=limit + 15.0)
            )
        except Unreachable:
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
        """Keeps everybody else from changing the machine. Raises Conflict if somebody holds it."""
        body = {"ttl": LEASE_SECONDS, "description": "speakerbot cron apply"}
        path = f"/{machine.id}/lease"
        answer = await self.ask(FlyRequest("lease", "POST", path, body=body))
        nonce = _nonce(answer)
        try:
            yield nonce
        finally:
            try:
                await self.ask(FlyRequest("release", "DELETE", path, nonce=nonce, repeat=False))
            except (Unreachable, Conflict, Gone):
                get_logger().debug("lease_left_to_expire", seconds=LEASE_SECONDS)


@asynccontextmanager
async def connect(
    target: FlyTarget,
    timeout: float,  # noqa: ASYNC109 - of one request
    rate_limit: RateLimit | None = None,
) -> AsyncIterator[Fly]:
    """The app's machines; ``timeout`` in seconds bounds each request."""
    async with aiohttp.ClientSession(
        headers={"Authorization": target.authorization, "User-Agent": "speakerbot"},
        timeout=aiohttp.ClientTimeout(total=timeout),
    ) as session:
        base = f"{target.base}/v1/apps/{target.app}/machines"
        yield Fly(Transport(session, base, target.app, rate_limit or RateLimit()))


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
