"""Discord as the engine's channel. Everything is sent with a nonce, which alone makes discord.py's
own retries safe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from discord.http import Route
from discord.utils import snowflake_time, time_snowflake

from speakerbot.channels.discord.rest import DiscordRest, id_of
from speakerbot.ports.channel import Posted, Refused

PAGE = 100
MOST_PAGES = 20
CLOCK_SKEW = timedelta(minutes=5)
"""Discord's clock dates messages, ours dated the claim: look a little further back."""

LONGEST_CLOCK_ERROR = timedelta(days=1)


class DiscordChannel(DiscordRest):
    """``async with DiscordChannel(...) as channel``. See ``speakerbot.ports.Channel``."""

    async def open_dm(self, user_id: str) -> str:
        route = Route("POST", "/users/@me/channels")
        channel = await self.ask(route, json={"recipient_id": user_id})
        return id_of(channel)

    async def send(self, channel_id: str, text: str, *, nonce: str, mention: str | None) -> str:
        body = {
            "content": text,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": {"parse": [], "users": [mention] if mention else []},
        }
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        return id_of(await self.ask(route, once=True, json=body))

    async def find(
        self, channel_id: str, text: str, *, nonce: str, since: datetime, known: Collection[str]
    ) -> str | None:
        since = min(since, datetime.now(UTC)) - CLOCK_SKEW
        async for message in self._own(channel_id, since):
            if str(message["id"]) not in known and _is_ours(message, text, nonce):
                return str(message["id"])
        return None

    async def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        async for message in self._own(channel_id, since):
            at = snowflake_time(int(message["id"]))
            if at >= since:
                yield Posted(str(message["id"]), str(message["content"]), at)

    async def _own(self, channel_id: str, since: datetime) -> AsyncIterator[dict[str, Any]]:
        """Our own messages there, newest first: at least to ``since``, and to the end of that page,
        in case the clock that ``since`` was read from was wrong."""
        me = await self.my_id()
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._history(channel_id, before)
            for message in page:
                if message["author"]["id"] == me:
                    yield message
            if not page and before is None:
                await self._check_empty(channel_id, since)
            if len(page) < PAGE or int(page[-1]["id"]) < time_snowflake(since):
                return
            before = page[-1]["id"]
        raise Refused("permission", f"more than {PAGE * MOST_PAGES} messages to look through")

    async def _check_empty(self, channel_id: str, since: datetime) -> None:
        """Where we may not read the history, Discord says that there is none. Raises Refused."""
        route = Route("GET", "/channels/{channel_id}", channel_id=channel_id)
        channel = await self.ask(route)
        last = channel.get("last_message_id") if isinstance(channel, dict) else None
        if last is not None and int(last) >= time_snowflake(since - LONGEST_CLOCK_ERROR):
            raise Refused("permission", "the bot may not read the message history there")

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        route = Route(
            "PATCH",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        try:
            await self.ask(route, json={"content": text, "allowed_mentions": {"parse": []}})
        except Refused as refusal:
            if refusal.why == "already_sent":  # 10008, unknown message: to an edit it says this
                raise Refused("deleted", "the post does not exist any more") from refusal
            raise

    async def unarchive(self, thread_id: str) -> None:
        route = Route("PATCH", "/channels/{channel_id}", channel_id=thread_id)
        await self.ask(route, json={"archived": False})

    async def _history(self, channel_id: str, before: str | None) -> list[dict[str, Any]]:
        params = {"limit": str(PAGE), **({"before": before} if before else {})}
        route = Route("GET", "/channels/{channel_id}/messages", channel_id=channel_id)
        page = await self.ask(route, params=params)
        if not isinstance(page, list):
            raise Refused("transient", "Discord's answer is no list of messages")
        return page


def _is_ours(message: dict[str, Any], text: str, nonce: str) -> bool:
    """By nonce where Discord still tells it, else by content: it often does not."""
    if message.get("nonce") is not None:
        return str(message["nonce"]) == nonce
    return bool(message["content"].strip() == text.strip())
