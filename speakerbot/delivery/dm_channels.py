"""From a route to a channel id: DM channels are opened once per person, ever, and remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.pacing import Pacer
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Channel, RefusalClass, Refused
from speakerbot.ports.store import Breaker

NEW_DMS_REST = timedelta(minutes=5)
"""How long no new DM channel is opened after Discord refused one."""


class Destinations:
    """Known DM channels of the people now in the queue, and a slow lane for opening new ones."""

    def __init__(
        self,
        channel: Channel,
        *,
        pacer: Pacer,
        new_dms: Pacer,
        clock: Clock,
        save_dm: Callable[[str, str], Awaitable[None]],
        save_breaker: Callable[[str, Breaker], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._pacer = pacer
        self._new_dms = new_dms
        self._clock = clock
        self._save_dm = save_dm
        self._save_breaker = save_breaker
        self._known: dict[str, str] = {}
        self._gone: set[str] = set()
        self._expected: Counter[str] = Counter()
        self._turns = 0
        self.new_dms_rest_until: datetime | None = None

    def expect(self, user_id: str, channel_id: str | None) -> None:
        """One more message for them is in the queue; their DM channel as the store has it."""
        self._expected[user_id] += 1
        if channel_id is not None:
            self._known.setdefault(user_id, channel_id)

    def done_with(self, user_id: str) -> None:
        """One message less. Whoever is through is dropped, so that memory does not grow with the
        number of recipients."""
        self._expected[user_id] -= 1
        if self._expected[user_id] <= 0:
            del self._expected[user_id]
            self._known.pop(user_id, None)
            self._gone.discard(user_id)

    async def turn_of_newcomer(self) -> None:
        """Returns when one more DM channel may be opened. Raises RunStopped."""
        await self._new_dms.slot()
        self._turns += 1

    def knows(self, user_id: str) -> bool:
        """Whether anything can have been sent to them directly: a new channel is in the store
        before its first message, and stays there."""
        return user_id in self._known

    def forget(self, route: Route) -> bool:
        """Notes that a known DM channel does not exist any more. False: none was known."""
        if route.name != "dm" or route.target not in self._known:
            return False
        self._gone.add(route.target)
        return True

    async def find(self, route: Route) -> str:
        """The channel id. Raises Refused as the channel does, and RunStopped."""
        if route.name != "dm":
            return route.target
        known = self._known.get(route.target)
        if known is None or route.target in self._gone:
            return await self._open(route.target)
        return known

    async def rest(self, refusal: Refused) -> None:
        """Opens no new DM channels for some minutes, in later runs neither."""
        if not self._resting:
            until = self._clock.real() + NEW_DMS_REST
            self.new_dms_rest_until = until
            await self._save_breaker("new_dms", Breaker(until, refusal.detail))

    @property
    def _resting(self) -> timedelta:
        """How much longer; zero if not at all."""
        until = self.new_dms_rest_until
        return max(timedelta(), until - self._clock.real()) if until else timedelta()

    def _check_rest(self) -> None:
        if left := self._resting:
            detail = "Discord refused new DM channels; none is opened for some minutes"
            raise Refused(RefusalClass.NEW_DMS, detail, retry_after=left.total_seconds())

    async def _open(self, user_id: str) -> str:
        self._check_rest()
        if self._turns:
            self._turns -= 1  # whoever had it open waited before it was claimed
        else:
            await self._new_dms.slot()
        await self._pacer.slot()
        self._check_rest()  # somebody else may have been refused meanwhile
        try:
            channel_id = await self._channel.open_dm(user_id)
        except Refused as refusal:
            # Opening can be repeated at will: no message can have come of it.
            refusal.maybe_accepted = False
            raise
        self._known[user_id] = channel_id
        self._gone.discard(user_id)
        await self._save_dm(user_id, channel_id)
        return channel_id
