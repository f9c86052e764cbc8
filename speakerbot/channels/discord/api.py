"""The requests that the bot makes at Discord. Each message carries a nonce, which alone makes
discord.py's own retries safe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta

from discord.http import Route as RestRoute
from discord.utils import snowflake_time, time_snowflake

from speakerbot.channels.discord.error_codes import NOT_OURS
from speakerbot.channels.discord.rest import DiscordRest, id_of
from speakerbot.domain.message import ROLE
from speakerbot.ports.channel import Posted, Ready, RefusalClass, Refused
from speakerbot.text import name_custom_emoji

PAGE = 100
MOST_PAGES = 20
CLOCK_SKEW = timedelta(minutes=5)
"""Discord's clock dates messages, ours dated the claim: look a little further back."""

LONGEST_CLOCK_ERROR = timedelta(days=1)
NO_HISTORY = "the bot may not read the message history there"


class DiscordApi(DiscordRest):
    """``async with DiscordApi(...) as api``. Each method is one request, or reads page by page, and
    raises Refused; ``pace`` is awaited before each of them."""

    async def open_dm(self, user_id: str) -> str:
        """The DM channel with a user, made if there is none; asking again is harmless."""
        route = RestRoute("POST", "/users/@me/channels")
        channel = await self.ask(route, json={"recipient_id": user_id})
        return id_of(channel)

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None,
        ready: Ready,
    ) -> str:
        """Returns the message's id as soon as it is accepted. Within Discord's nonce window sending
        again returns the first message. ``mention`` is the one user, or role, it may notify."""
        body = {
            "content": text,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": _allowed(mention),
        }
        route = RestRoute("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        return id_of(await self.ask(route, once=True, ready=ready, json=body))

    async def find(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        since: datetime,
        known: Collection[str],
        author: str | None,
    ) -> str | None:
        """The id of this message among those of ``author`` (None: our own) there from ``since`` on;
        None: it is not there. ``known`` are ids of other messages, which may have the same text.
        Raises Refused with ``TARGET`` where it may not look."""
        since = min(since, datetime.now(UTC)) - CLOCK_SKEW
        async for message in self._by(author or await self.my_id(), channel_id, since):
            if message["id"] not in known and _is_it(message, text, nonce):
                return str(message["id"])
        return None

    async def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        """Our own messages there back to ``since``, newest first."""
        async for message in self._by(await self.my_id(), channel_id, since):
            at = snowflake_time(int(message["id"]))
            if at >= since:
                yield Posted(message["id"], message["content"], at)

    async def _by(
        self, author: str, channel_id: str, since: datetime
    ) -> AsyncIterator[dict[str, str]]:
        """The author's messages there, newest first: at least to ``since``, and to the end of that
        page, in case the clock that ``since`` was read from was wrong."""
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._history(channel_id, before)
            if not page and before is None and await self._holds_something(channel_id, since):
                page = await self._history(channel_id, None)  # it has just arrived
                if not page:
                    raise Refused(RefusalClass.TARGET, NO_HISTORY)
            for message in page:
                if message["author"] == author:
                    yield message
            if len(page) < PAGE or int(page[-1]["id"]) < time_snowflake(since):
                return
            before = page[-1]["id"]
        raise Refused(
            RefusalClass.TARGET, f"more than {PAGE * MOST_PAGES} messages to look through"
        )

    async def _holds_something(self, channel_id: str, since: datetime) -> bool:
        """Whether the channel, whose history was empty, has a message of ``since`` or later that we
        may read. Where we may not read the history, Discord says that there is none: then its last
        message tells. It may also have been deleted. Raises Refused."""
        channel = await self.ask(RestRoute("GET", "/channels/{channel_id}", channel_id=channel_id))
        last = channel.get("last_message_id") if isinstance(channel, dict) else None
        if not (isinstance(last, str) and last.isascii() and last.isdigit()):
            return False
        if int(last) < time_snowflake(since - LONGEST_CLOCK_ERROR):
            return False
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=last,
        )
        try:
            await self.ask(route)
        except Refused as refusal:
            if refusal.why == RefusalClass.ALREADY_SENT:  # 10008, unknown message: it is deleted
                return False
            raise
        return True

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        route = RestRoute(
            "PATCH",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        try:
            await self.ask(route, json={"content": text, "allowed_mentions": {"parse": []}})
        except Refused as refusal:
            if refusal.why == RefusalClass.ALREADY_SENT:  # 10008, unknown message
                raise Refused(RefusalClass.DELETED, "the post does not exist any more") from refusal
            if refusal.code == NOT_OURS:
                raise Refused(RefusalClass.NOT_OURS, refusal.detail) from refusal
            raise

    async def reactions(self, channel_id: str, message_id: str) -> dict[str, tuple[int, bool]]:
        """By emoji, how many people have put it under a message, and whether we are one of them."""
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        message = await self.ask(route)
        try:
            return {
                str(each["emoji"]["name"]): (int(each["count"]), bool(each["me"]))
                for each in message.get("reactions") or ()
                if each["emoji"].get("id") is None  # a custom one may have any name
            }
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            detail = "Discord's answer does not say who has reacted"
            raise Refused(RefusalClass.SERVICE, detail) from error

    async def has_reacted(self, channel_id: str, message_id: str, emoji: str, user_id: str) -> bool:
        """Whether this user has put the emoji there, however many others have: Discord lists them
        by id."""
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}",
            channel_id=channel_id,
            message_id=message_id,
            emoji=emoji,
        )
        params = {"limit": str(PAGE)}
        if user_id.isascii() and user_id.isdigit() and int(user_id):
            params["after"] = str(int(user_id) - 1)
        users = await self.ask(route, params=params)
        try:
            return any(str(user["id"]) == user_id for user in users)
        except (LookupError, TypeError) as error:
            detail = "Discord's answer is not a list of users"
            raise Refused(RefusalClass.SERVICE, detail) from error

    async def put_reaction(self, channel_id: str, message_id: str, emoji: str) -> None:
        """Ours; putting it again changes nothing."""
        route = RestRoute(
            "PUT",
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me",
            channel_id=channel_id,
            message_id=message_id,
            emoji=emoji,
        )
        await self.ask(route, empty=True)

    async def unarchive(self, thread_id: str) -> None:
        route = RestRoute("PATCH", "/channels/{channel_id}", channel_id=thread_id)
        await self.ask(route, json={"archived": False})

    async def _history(self, channel_id: str, before: str | None) -> list[dict[str, str]]:
        params = {"limit": str(PAGE), **({"before": before} if before else {})}
        route = RestRoute("GET", "/channels/{channel_id}/messages", channel_id=channel_id)
        page = await self.ask(route, params=params)
        try:
            return [
                {
                    "id": str(int(each["id"])),
                    "author": str(each["author"]["id"]),
                    "content": str(each["content"]),
                    "nonce": str(each.get("nonce") or ""),
                }
                for each in page
            ]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            detail = "Discord's answer is not a list of messages"
            raise Refused(RefusalClass.SERVICE, detail) from error


def _allowed(mention: str | None) -> dict[str, list[str]]:
    """``allowed_mentions`` that permit this one mention, and no other, whatever the text holds."""
    if mention and mention.startswith(ROLE):
        return {"parse": [], "roles": [mention.removeprefix(ROLE)]}
    return {"parse": [], "users": [mention] if mention else []}


def _is_it(message: dict[str, str], text: str, nonce: str) -> bool:
    """By nonce where Discord still tells it, else by content: it often does not."""
    if message["nonce"]:
        return message["nonce"] == nonce
    return _as_stored(message["content"]) == _as_stored(text)


def _as_stored(text: str) -> str:
    """As Discord may have rewritten it: trimmed, custom emoji that the bot cannot use by name."""
    return name_custom_emoji(text).strip()
