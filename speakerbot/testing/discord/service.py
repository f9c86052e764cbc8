"""Discord without the network: a request in, an answer out, everything remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from speakerbot.testing.discord.clock import LoopbackClock, nanoseconds
from speakerbot.testing.discord.faults import Faults, fault_answer
from speakerbot.testing.discord.operations import OPERATIONS, Call, Context
from speakerbot.testing.discord.rate_limits import (
    Limiter,
    banned_answer,
    bucket_headers,
    rate_limit_answer,
)
from speakerbot.testing.discord.records import (
    DmOpened,
    Message,
    Record,
    RecordFile,
    Request,
    read_record,
)
from speakerbot.testing.discord.responses import (
    Answer,
    Refusal,
    json_answer,
    refusal_answer,
    unauthorized,
)
from speakerbot.testing.discord.routing import Route, find_route
from speakerbot.testing.discord.settings import Settings
from speakerbot.testing.discord.world import State


class Incoming(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    authorization: str
    body: bytes


class Service:
    """With ``record``, everything is written to that file, and what an earlier process wrote
    there exists again."""

    def __init__(self, settings: Settings, clock: LoopbackClock, record: Path | None) -> None:
        self.clock = clock
        clock.shift_by(settings.clock_shift)
        self.state = State(clock, strict=settings.strict)
        self.faults = Faults(settings.seed)
        self.requests: list[Request] = []
        self.counts: Counter[tuple[str, int | None]] = Counter()
        self._context = Context(settings, self.state, clock)
        self._limiter = Limiter(settings)
        self._record: RecordFile | None = None
        if record is not None:
            restore(read_record(record), self._context)
            self._record = RecordFile(record)

    @property
    def settings(self) -> Settings:
        return self._context.settings

    def use(self, settings: Settings) -> None:
        """From the next request on; limits begin afresh."""
        self._context.settings = settings
        self.state.strict = settings.strict
        self.clock.shift_by(settings.clock_shift)
        self._limiter = Limiter(settings)

    def invalid_requests(self) -> int:
        return self._limiter.invalid_requests(self.clock.now_ns())

    def answer(self, incoming: Incoming) -> Answer:
        """Decides at this moment; it is on record when this returns."""
        now = self.clock.now_ns()
        operation = "unknown"
        try:
            self._authorize(incoming.authorization)
            route = find_route(incoming.method, incoming.path)
            operation = route.operation
            answer = self._decide(route, incoming, now)
        except Refusal as refusal:
            answer = refusal_answer(refusal, {})
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

    def _decide(self, route: Route, incoming: Incoming, now: int) -> Answer:
        if self._limiter.banned(now):
            return banned_answer()
        major = route.ids[0] if route.ids else ""
        verdict = self._limiter.admit(route.operation, major, now)
        if verdict.wait:
            return rate_limit_answer(verdict, now)
        headers = bucket_headers(verdict.bucket, now)
        fault = self.faults.strike(route.operation, major)
        if fault is None:
            return self._perform(route, incoming, headers)
        real = self._perform(route, incoming, headers) if fault.takes_effect else None
        return fault_answer(fault, headers, real)

    def _perform(self, route: Route, incoming: Incoming, headers: dict[str, str]) -> Answer:
        call = Call(route.ids, incoming.query, incoming.body)
        try:
            reply = OPERATIONS[route.operation](call, self._context)
        except Refusal as refusal:
            return refusal_answer(refusal, headers)
        return json_answer(reply.status, reply.json, headers)

    def _remember(self, incoming: Incoming, operation: str, answer: Answer) -> None:
        status = answer.status if answer.was_sent else None
        at = self.clock.now()
        request = Request(at, incoming.method, incoming.path, operation, status)
        self.requests.append(request)
        self.counts[operation, status] += 1
        if self._record is not None:
            self._record.write([*self.state.news, request])
        self.state.news.clear()


def restore(records: Iterable[Record], context: Context) -> None:
    """Puts channels, messages and nonces back, as far as a record knows them."""
    state, settings = context.state, context.settings
    for record in records:
        if isinstance(record, DmOpened):
            state.restore_dm(record)
        elif isinstance(record, Message):
            state.restore_message(record)
            context.nonces.remember(record, settings, nanoseconds(record.at))
    state.news.clear()
