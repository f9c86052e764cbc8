"""Discord as the engine's channel: direct messages, threads and channels of a server, by one bot.

:class:`DiscordApi` holds the requests that deliver messages, each with a nonce, which alone makes
discord.py's own retries safe; :class:`DmChannels` opens a DM channel once per person, ever;
:class:`DiscordChannel` is what the engine sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from discord.http import Route as RestRoute
from discord.utils import snowflake_time, time_snowflake

from speakerbot.channels.discord.error_codes import (
    ARCHIVED,
    NO_NEW_DMS,
    NOT_OURS,
    UNKNOWN_CHANNEL,
)
from speakerbot.channels.discord.rest import DiscordRest, id_of
from speakerbot.domain.message import ROLE, Route
from speakerbot.ports.channel import (
    ChannelHost,
    Lane,
    Outgoing,
    Posted,
    Ready,
    Receipt,
    RefusalClass,
    Refused,
)
from speakerbot.ports.store import Breaker, Store
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


LIMIT = 50
"""Requests in any one second, over all processes of a bot."""
REST = timedelta(minutes=5)
"""How long no new DM channel is opened after Discord refused one."""
NEW_DMS = "new_dms"
"""What its lane and its circuit breaker are called."""


class DmChannels:
    """Known DM channels of the people now in the queue, and a slow lane for opening new ones.
    ``every``: seconds between two."""

    def __init__(
        self, host: ChannelHost, open_dm: Callable[[str], Awaitable[str]], *, every: float
    ) -> None:
        self._host = host
        self._open_dm = open_dm
        self._every = every
        self._lane: Lane = host.lane(NEW_DMS, every)
        self._known: dict[str, str] = {}
        self._gone: set[str] = set()
        self._expected: Counter[str] = Counter()
        self._turns = 0
        resting = host.breakers.get(NEW_DMS)
        self._rest_until: datetime | None = resting.until if resting else None

    async def expect(self, routes: Collection[Route]) -> set[Route]:
        """Messages by these routes are about to be claimed. Returns those that must be opened at
        the pace of new ones. One query."""
        to_people = [route for route in routes if route.name == "dm"]
        if not to_people:
            return set()
        users = sorted({route.target for route in to_people})
        sender = self._host.sender

        def remembered(store: Store) -> dict[str, str]:
            return store.limits.dm_channels(sender, users)

        for user_id, channel_id in (await self._host.ask_store(remembered)).items():
            self._known.setdefault(user_id, channel_id)
        self._expected.update(route.target for route in to_people)
        if not self._every:
            return set()
        return {route for route in to_people if not self.knows(route)}

    def done_with(self, routes: Collection[Route]) -> None:
        """So many messages less. Whoever is through is dropped, so that memory does not grow with
        the number of recipients."""
        for route in routes:
            if route.name != "dm":
                continue
            self._expected[route.target] -= 1
            if self._expected[route.target] <= 0:
                del self._expected[route.target]
                self._known.pop(route.target, None)
                self._gone.discard(route.target)

    async def turn_to_open(self) -> None:
        """Returns when one more may be opened; the next one to be opened does not wait again."""
        await self._lane.slot()
        self._turns += 1

    def knows(self, route: Route) -> bool:
        """Whether anything can have been sent there: a new DM channel is in the store before its
        first message, and stays there."""
        return route.name != "dm" or route.target in self._known

    def forget(self, route: Route) -> bool:
        """Notes that a known DM channel does not exist any more. False: none was known."""
        if route.name != "dm" or route.target not in self._known:
            return False
        self._gone.add(route.target)
        return True

    async def find(self, route: Route) -> str:
        """The channel id, of a channel opened now where there is none. Raises Refused."""
        if route.name != "dm":
            return route.target
        known = self._known.get(route.target)
        if known is None or route.target in self._gone:
            return await self._open(route.target)
        return known

    async def _open(self, user_id: str) -> str:
        self._check_rest()
        if self._turns:
            self._turns -= 1  # whoever had it open waited before it was claimed
        else:
            await self._lane.slot()
        self._check_rest()  # somebody else may have been refused meanwhile
        try:
            channel_id = await self._open_dm(user_id)
        except Refused as refusal:
            if refusal.code == NO_NEW_DMS:
                await self._rest(refusal)
            # Opening can be repeated at will: no message can have come of it.
            refusal.maybe_accepted = False
            raise
        self._known[user_id] = channel_id
        self._gone.discard(user_id)
        sender = self._host.sender
        await self._host.ask_store(
            lambda store: store.limits.remember_dms(sender, {user_id: channel_id})
        )
        return channel_id

    async def _rest(self, refusal: Refused) -> None:
        """Opens no new DM channels for some minutes, in later runs neither."""
        if not self._resting:
            until = self._host.clock.real() + REST
            self._rest_until = until
            await self._host.save_breaker(NEW_DMS, Breaker(until, refusal.detail))
        self._check_rest()

    @property
    def _resting(self) -> timedelta:
        """How much longer; zero if not at all."""
        until = self._rest_until
        return max(timedelta(), until - self._host.clock.real()) if until else timedelta()

    def _check_rest(self) -> None:
        if left := self._resting:
            detail = "Discord refused new DM channels; none is opened for some minutes"
            seconds = left.total_seconds()
            raise Refused(RefusalClass.SERVICE, detail, limited=True, retry_after=seconds)


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
