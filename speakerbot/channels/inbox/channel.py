"""The web inbox as the engine's channel. A message is one row, whose key is the delivery's, so
sending it again changes nothing, and looking for it is a query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.message import Route
from speakerbot.domain.service_request import ServiceRequest
from speakerbot.ports.channel import (
    ALWAYS,
    Capabilities,
    ChannelAccess,
    ChannelHost,
    Outgoing,
    Posted,
    Ready,
    Receipt,
    RefusalClass,
    Refused,
)
from speakerbot.text import one_line

NAME = "inbox"
CAPABILITIES = Capabilities(
    idempotent_for=ALWAYS,
    looks_back=True,
    notifies=False,
    reactions=False,
    max_length=20_000,
    length=len,
    escape=one_line,
    mention=lambda user_id: f"@{user_id}",
)


class InboxChannel:
    """See :class:`speakerbot.ports.channel.Channel`. A route's target is the recipient."""

    requests = 0
    rate_limited = 0
    invalid_requests = 0

    def __init__(self, host: ChannelHost) -> None:
        self._host = host

    async def expect(self, routes: Collection[Route]) -> set[Route]:  # noqa: ARG002  # the port's
        return set()

    def done_with(self, routes: Collection[Route]) -> None:
        pass

    async def turn_to_open(self) -> None:
        pass

    async def send(self, message: Outgoing, ready: Ready) -> Receipt:
        await ready()
        at = self._host.clock.real()
        row = InboxMessage(message.key, message.route.target, message.text, created_at=at)
        await self._host.ask_store(lambda store: store.inbox.put(row))
        return Receipt(NAME, row.id)

    async def find(
        self,
        message: Outgoing,
        *,
        since: datetime,  # noqa: ARG002  # its key tells
        known: Collection[str],  # noqa: ARG002
        author: str | None,  # noqa: ARG002
    ) -> Receipt | None:
        found = await self._host.ask_store(lambda store: store.inbox.get([message.key]))
        return Receipt(NAME, found[message.key].id) if message.key in found else None

    async def posts(
        self,
        target: str,  # noqa: ARG002  # the port's
        *,
        since: datetime,  # noqa: ARG002
    ) -> AsyncIterator[Posted]:
        return
        yield  # an iterator of nothing: only we write here

    async def edit(self, receipt: Receipt, text: str) -> None:  # noqa: ARG002
        raise Refused(RefusalClass.REJECTED, "a message in an inbox is not edited")

    async def ask(self, request: ServiceRequest[Any]) -> Any:  # noqa: ARG002
        raise Refused(RefusalClass.REJECTED, "there is nothing to ask an inbox")

    async def probe(self) -> None:
        pass


def inbox() -> ChannelAccess:
    """The inboxes of everybody in the store at hand."""

    @asynccontextmanager
    async def opened(host: ChannelHost) -> AsyncIterator[InboxChannel]:
        yield InboxChannel(host)

    return ChannelAccess(NAME, NAME, CAPABILITIES, lambda _key, _route: "", opened)
