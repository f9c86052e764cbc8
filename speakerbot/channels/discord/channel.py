"""Discord as the engine's channel: DM channels, threads and channels of a server, by one bot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.channels.discord.dm_channels import DmChannels
from speakerbot.channels.discord.error_codes import ARCHIVED, UNKNOWN_CHANNEL
from speakerbot.domain.message import Route
from speakerbot.ports.channel import (
    ChannelHost,
    Outgoing,
    Posted,
    Ready,
    Receipt,
    RefusalClass,
    Refused,
)

LIMIT = 50
"""Requests in any one second, over all processes of a bot."""


class DiscordChannel:
    """See :class:`speakerbot.ports.channel.Channel`."""

    def __init__(self, api: DiscordApi, host: ChannelHost, *, new_dm_every: float) -> None:
        self.api = api
        self._host = host
        self._dms = DmChannels(host, self._open_dm, every=new_dm_every)

    @property
    def requests(self) -> int:
        return self.api.requests

    @property
    def rate_limited(self) -> int:
        return self.api.rate_limited

    @property
    def invalid_requests(self) -> int:
        return self.api.invalid_requests

    async def expect(self, routes: Collection[Route]) -> set[Route]:
        return await self._dms.expect(routes)

    def done_with(self, routes: Collection[Route]) -> None:
        self._dms.done_with(routes)

    async def turn_to_open(self) -> None:
        await self._dms.turn_to_open()

    async def send(self, message: Outgoing, ready: Ready) -> Receipt:
        """Opens a DM or an archived thread once, where that is what it takes."""
        channel_id = await self._dms.find(message.route)
        try:
            return await self._post(channel_id, message, ready)
        except Refused as refusal:
            if refusal.code == ARCHIVED:
                await self.api.unarchive(channel_id)
            elif refusal.code == UNKNOWN_CHANNEL and self._dms.forget(message.route):
                channel_id = await self._dms.find(message.route)
            else:
                raise
        return await self._post(channel_id, message, ready)

    async def find(
        self, message: Outgoing, *, since: datetime, known: Collection[str], author: str | None
    ) -> Receipt | None:
        if author and message.route.name == "dm":
            detail = "another bot tried it, whose direct messages we cannot see"
            raise Refused(RefusalClass.TARGET, detail)
        if not self._dms.knows(message.route):
            return None  # a DM channel is remembered before anything is sent there
        channel_id = await self._dms.find(message.route)
        found = await self.api.find(
            channel_id,
            message.text,
            nonce=message.nonce,
            since=since,
            known=known,
            author=author,
        )
        return Receipt(channel_id, found) if found else None

    def posts(self, target: str, *, since: datetime) -> AsyncIterator[Posted]:
        return self.api.posts(target, since=since)

    async def edit(self, receipt: Receipt, text: str) -> None:
        try:
            await self.api.edit(*receipt, text)
        except Refused as refusal:
            if refusal.code != ARCHIVED:
                raise
            await self.api.unarchive(receipt.channel_id)
            await self.api.edit(*receipt, text)

    async def probe(self) -> None:
        await self.api.probe()

    async def _open_dm(self, user_id: str) -> str:
        return await self.api.open_dm(user_id)

    async def _post(self, channel_id: str, message: Outgoing, ready: Ready) -> Receipt:
        message_id = await self.api.send(
            channel_id,
            message.text,
            nonce=message.nonce,
            mention=message.route.mention,
            ready=ready,
        )
        return Receipt(channel_id, message_id)


@asynccontextmanager
async def opened(
    host: ChannelHost, token: str, base: str, *, rate: float, new_dm_every: timedelta
) -> AsyncIterator[DiscordChannel]:
    """A session as the bot with this token. ``rate``: requests a second."""
    # Most of what is left below the limit is for processes and networks that bunch things up.
    ahead = max(0, int((LIMIT - rate - 1) / 4))
    pace = host.lane("send", 1 / rate, ahead=ahead)
    async with DiscordApi(token, base, timeout=host.longest_request, pace=pace) as api:
        yield DiscordChannel(api, host, new_dm_every=new_dm_every.total_seconds())
