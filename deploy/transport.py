"""One request to Fly: paced, retried where that is safe, its answer understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp

from deploy.api_errors import FlyAnswer, ImageMissing
from deploy.rate_limit import RateLimit
from speakerbot.errors import Unreachable
from speakerbot.logs import get_logger

_NONCE: Final = "fly-machine-lease-nonce"


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


class Transport:
    """Requests about the machines of one app."""

    def __init__(
        self, session: aiohttp.ClientSession, base: str, app: str, rate_limit: RateLimit
    ) -> None:
        self.session, self.base, self.app, self.rate_limit = session, base, app, rate_limit
        self.log = get_logger()

    async def ask(self, request: FlyRequest) -> FlyAnswer:
        """A success; everything else is raised as what it means (``FlyAnswer.error``)."""
        pauses = self.rate_limit.backoff() if request.repeat else iter(())
        while True:
            await self.rate_limit.take(request.action)
            try:
                return await self._attempt(request)
            except (Unreachable, ImageMissing) as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                self.log.debug("fly_retried", error=str(error), seconds=round(pause, 1))
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
