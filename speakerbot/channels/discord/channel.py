"""Discord as the engine's channel: direct messages, threads and channels of a server, by one bot.

:class:`DmChannels` opens a DM channel once per person, ever; :class:`DiscordChannel` is what the
engine sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.channels.discord.error_codes import (
    ARCHIVED,
    NO_ACCESS,
    NO_NEW_DMS,
    NO_PERMISSION,
    TOO_MANY_EVENTS,
    UNKNOWN_CHANNEL,
)
from speakerbot.domain.message import Route
from speakerbot.domain.server_event import (
    EventList,
    ListEvents,
    MakeEvent,
    RemoveEvent,
    ServerEvent,
    UpdateEvent,
)
from speakerbot.domain.service_request import (
    PutReaction,
    Reactions,
    ReadReactions,
    ServiceRequest,
)
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

LIMIT = 50
"""Requests in any one second, over all processes of a bot."""
REST = timedelta(minutes=5)
"""How long no new DM channel is opened after Discord refused one."""
REFUSED_OF_ALL = (NO_ACCESS, NO_PERMISSION, TOO_MANY_EVENTS)
"""Codes with which a server refuses events whatever they say."""
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
        self._refused_events: dict[tuple[str, str], Refused] = {}

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
        await self._awake(receipt.channel_id, lambda: self.api.edit(*receipt, text))

    async def _awake(self, channel_id: str, do: Callable[[], Awaitable[None]]) -> None:
        """Does what may be done twice; in a thread that has gone to sleep, after waking it."""
        try:
            await do()
        except Refused as refusal:
            if refusal.code != ARCHIVED:
                raise
            await self.api.unarchive(channel_id)
            await do()

    async def ask(self, request: ServiceRequest[Any]) -> Any:
        match request:
            case ReadReactions():
                return await self._reactions(request)
            case PutReaction(channel_id, message_id, emoji):
                return await self._awake(
                    channel_id, lambda: self.api.put_reaction(channel_id, message_id, emoji)
                )
            case ListEvents(guild_id):
                at = self._host.clock.real()
                return EventList(tuple(await self.api.events(guild_id, self._host.sender)), at)
            case MakeEvent() | UpdateEvent() | RemoveEvent():
                return await self._change_event(request)
        raise Refused(RefusalClass.REJECTED, f"Discord does not know {type(request).__name__}")

    async def _change_event(
        self, request: MakeEvent | UpdateEvent | RemoveEvent
    ) -> ServerEvent | None:
        """What the server refuses of one event for what we are, or for how many there are, it
        refuses of all: it is not asked again."""
        kind = type(request).__name__, request.guild_id
        if refused := self._refused_events.get(kind):
            raise refused
        try:
            return await self._changed_event(request)
        except Refused as refusal:
            if refusal.code in REFUSED_OF_ALL:
                self._refused_events[kind] = refusal
            raise

    async def _changed_event(
        self, request: MakeEvent | UpdateEvent | RemoveEvent
    ) -> ServerEvent | None:
        async def in_time() -> None:
            if not isinstance(request, RemoveEvent) and self._host.clock.real() >= request.until:
                raise Refused(RefusalClass.SERVICE, "no time was left for it", limited=True)

        match request:
            case MakeEvent():
                return await self.api.make_event(request.guild_id, request.details, in_time)
            case UpdateEvent():
                return await self.api.update_event(
                    request.guild_id, request.event_id, request.fields, request.details, in_time
                )
            case RemoveEvent():
                await self.api.remove_event(request.guild_id, request.event.id)
        return None

    async def _reactions(self, request: ReadReactions) -> Reactions:
        """One request; where others can react too, one more for each emoji that somebody else than
        we has put."""
        place = request.channel_id, request.message_id
        found = await self.api.reactions(*place)
        ours = {emoji for emoji in request.emoji if found.get(emoji, (0, False))[1]}
        theirs = set()
        for emoji in request.emoji:
            count, _ = found.get(emoji, (0, False))
            if request.direct:
                put = count > (emoji in ours)
            else:
                put = count > 1 and await self.api.has_reacted(*place, emoji, request.user_id)
            if put:
                theirs.add(emoji)
        return Reactions(frozenset(ours), frozenset(theirs))

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
