"""From a route to a channel id: DM channels are opened once per person, ever, and remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.refusals import Refused
from speakerbot.messages import Route
from speakerbot.ports import Breaker, Channel

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
        save_breaker: Callable[[str, Breaker], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._pacer = pacer
        self._new_dms = new_dms
        self._clock = clock
        self._save_breaker = save_breaker
        self._known: dict[str, str] = {}
        self._learned: dict[str, str | None] = {}
        self.new_dms_rest_until: datetime | None = None

    def know(self, channels: dict[str, str]) -> None:
        self._known.update(channels)

    def knows(self, user_id: str) -> bool:
        return user_id in self._known

    def take_learned(self) -> dict[str, str | None]:
        """What is new since the last call, for the store: None where a channel is gone."""
        learned, self._learned = self._learned, {}
        return learned

    def done_with(self, user_id: str) -> None:
        """Drops a person who is through, so memory does not grow with the number of recipients."""
        self._known.pop(user_id, None)

    def forget(self, route: Route) -> bool:
        """Drops a DM channel that does not exist any more. False: there was none to drop."""
        if route.name != "dm" or self._known.pop(route.target, None) is None:
            return False
        self._learned[route.target] = None
        return True

    async def find(self, route: Route) -> str:
        """The channel id. Raises Refused as the channel does, and RunStopped."""
        if route.name != "dm":
            return route.target
        if known := self._known.get(route.target):
            return known
        return await self._open(route.target)

    async def _open(self, user_id: str) -> str:
        rest = self.new_dms_rest_until
        if rest is not None and rest > (now := self._clock.real()):
            raise Refused(
                "new_dms",
                f"Discord refused new DM channels; none is opened before {rest:%H:%M:%S} UTC",
                retry_after=(rest - now).total_seconds(),
            )
        await self._new_dms.slot()
        await self._pacer.slot()
        try:
            channel_id = await self._channel.open_dm(user_id)
        except Refused as refusal:
            if refusal.why == "new_dms":
                await self._rest(refusal)
            # Opening can be repeated at will: no message can have come of it.
            refusal.maybe_accepted = False
            raise
        self._known[user_id] = channel_id
        self._learned[user_id] = channel_id
        return channel_id

    async def _rest(self, refusal: Refused) -> None:
        self.new_dms_rest_until = self._clock.real() + NEW_DMS_REST
        await self._save_breaker("new_dms", Breaker(self.new_dms_rest_until, refusal.detail))
