"""Discord without the network: a request in, an answer out, everything remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from speakerbot.testing.discord.calls import ApiCall, ApiContext
from speakerbot.testing.discord.clock import LoopbackClock, nanoseconds
from speakerbot.testing.discord.faults import Faults, fault_response
from speakerbot.testing.discord.operations import OPERATIONS
from speakerbot.testing.discord.rate_limits import (
    Limiter,
    banned_response,
    bucket_headers,
    rate_limit_response,
)
from speakerbot.testing.discord.records import (
    DiscordMessage,
    DmOpened,
    LoopbackRecord,
    RecordedRequest,
    RecordFile,
    ScheduledEvent,
    read_record,
)
from speakerbot.testing.discord.responses import (
    ApiError,
    ApiResponse,
    error_response,
    json_response,
    unauthorized,
)
from speakerbot.testing.discord.routing import ApiRoute, find_route
from speakerbot.testing.discord.settings import LoopbackSettings
from speakerbot.testing.discord.world import GuildState


class IncomingRequest(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    authorization: str
    body: bytes


class DiscordService:
    """With ``record``, everything is written to that file, and what an earlier process wrote
    there exists again."""

    def __init__(
        self, settings: LoopbackSettings, clock: LoopbackClock, record: Path | None
    ) -> None:
        self.clock = clock
        clock.shift_by(settings.clock_shift)
        self.state = GuildState(clock, strict=settings.strict)
        self.faults = Faults(settings.seed)
        self.requests: list[RecordedRequest] = []
        self.counts: Counter[tuple[str, int | None]] = Counter()
        self._context = ApiContext(settings, self.state, clock)
        self._limiter = Limiter(settings)
        self._record: RecordFile | None = None
        if record is not None:
            restore(read_record(record), self._context)
            self._record = RecordFile(record)

    @property
    def settings(self) -> LoopbackSettings:
        return self._context.settings

    def use(self, settings: LoopbackSettings) -> None:
        """From the next request on; limits start over."""
        self._context.settings = settings
        self.state.strict = settings.strict
        self.clock.shift_by(settings.clock_shift)
        self._limiter = Limiter(settings)

    def invalid_requests(self) -> int:
        return self._limiter.invalid_requests(self.clock.now_ns())

    def events(self) -> list[ScheduledEvent]:
        """As they are now."""
        self.state.pass_events()
        return list(self.state.events.values())

    def answer(self, incoming: IncomingRequest) -> ApiResponse:
        """Decides at this moment; it is on record when this returns."""
        now = self.clock.now_ns()
        operation = "unknown"
        try:
            self._authorize(incoming.authorization)
            route = find_route(incoming.method, incoming.path)
            operation = route.operation
            answer = self._decide(route, incoming, now)
        except ApiError as error:
            answer = error_response(error, {})
        if answer.status in (401, 403, 429):
            self._limiter.note_invalid(now)
        self._remember(incoming, operation, answer)
        return answer

    def close(self) -> None:
        if self._record is not None:
            self._record.close()

    def _authorize(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        wanted = self.settings.token
        if scheme != "Bot" or not token or wanted not in (None, token):
            raise unauthorized()

    def _decide(self, route: ApiRoute, incoming: IncomingRequest, now: int) -> ApiResponse:
        if self._limiter.banned(now):
            return banned_response()
        major = route.ids[0] if route.ids else ""
        verdict = self._limiter.admit(route.operation, major, now)
        if verdict.wait:
            return rate_limit_response(verdict, now)
        headers = bucket_headers(verdict.bucket, now)
        fault = self.faults.strike(route.operation, major)
        if fault is None:
            return self._perform(route, incoming, headers)
        real = self._perform(route, incoming, headers) if fault.takes_effect else None
        return fault_response(fault, headers, real)

    def _perform(
        self, route: ApiRoute, incoming: IncomingRequest, headers: dict[str, str]
    ) -> ApiResponse:
        call = ApiCall(route.ids, incoming.query, incoming.body, route.emoji)
        try:
            reply = OPERATIONS[route.operation](call, self._context)
        except ApiError as error:
            return error_response(error, headers)
        return json_response(reply.status, reply.json, headers)

    def _remember(self, incoming: IncomingRequest, operation: str, answer: ApiResponse) -> None:
        status = answer.status if answer.was_sent else None
        at = self.clock.now()
        request = RecordedRequest(at, incoming.method, incoming.path, operation, status)
        self.requests.append(request)
        self.counts[operation, status] += 1
        if self._record is not None:
            self._record.write([*self.state.news, request])
        self.state.news.clear()


def restore(records: Iterable[LoopbackRecord], context: ApiContext) -> None:
    """Puts channels, messages, nonces and events back, as far as a record knows them."""
    state, settings = context.state, context.settings
    for record in records:
        if isinstance(record, DmOpened):
            state.restore_dm(record)
        elif isinstance(record, DiscordMessage):
            state.restore_message(record)
            context.nonces.remember(record, settings, nanoseconds(record.at))
        elif isinstance(record, ScheduledEvent):
            state.put_event(record)
    state.news.clear()
