"""Finds out whether an earlier attempt, of which nobody knows, arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.endings import Endings
from speakerbot.delivery.nonces import NONCE_WINDOW, nonce_of
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.refusals import Refused, RunStopped
from speakerbot.ledger import Delivery
from speakerbot.messages import Route, RouteName
from speakerbot.ports import Channel


@dataclass(slots=True)
class Recovery:
    """One per run; serves all of its workers."""

    channel: Channel
    destinations: Destinations
    pacer: Pacer
    recorded: Callable[[str], Awaitable[set[str]]]
    """Ids of the latest messages to a recipient that the ledger knows."""
    endings: Endings
    clock: Clock

    def must_look(self, claim: Claim) -> bool:
        """Sending again might make a second message: Discord may have forgotten the nonce, or the
        attempt went where we would not go now."""
        if claim.doubt is None:
            return False
        return self.nonce_is_stale(claim.doubt) or _route_of(claim) not in claim.message.routes

    def nonce_is_stale(self, since: datetime) -> bool:
        return not timedelta() <= self.clock.real() - since <= NONCE_WINDOW

    async def settle(self, claim: Claim) -> Delivery | None:
        """The final record, or None if there is no doubt (any more): it did not arrive."""
        if claim.doubt is None:
            return None
        route = _route_of(claim)
        try:
            found = await self._look(claim, route, claim.doubt)
        except Refused as refusal:
            return self._nobody_can_tell(claim, refusal)
        if found is None:
            claim.doubt = None
            return None
        return self.endings.sent(claim, *found)

    async def _look(self, claim: Claim, route: Route, since: datetime) -> tuple[str, str] | None:
        """The ids of the channel and of the message in it."""
        if route.name == "dm" and not self.destinations.knows(route.target):
            return None  # a DM channel is remembered before anything is sent there
        record, nonce = claim.record, nonce_of(claim.record.key, route)
        channel_id = await self.destinations.find(route)
        while True:
            others = {*await self.recorded(record.recipient), *self.endings.latest}
            await self.pacer.slot()
            found = await self.channel.find(
                channel_id, record.text, nonce=nonce, since=since, known=others
            )
            if found is None:
                return None
            if found not in self.endings.latest:  # else somebody with the same text was faster
                return channel_id, found

    def _nobody_can_tell(self, claim: Claim, refusal: Refused) -> Delivery:
        match refusal.why:
            case "bot" | "token" | "unreachable":
                raise RunStopped(refusal.why, refusal.detail) from refusal
            case "transient" | "new_dms":
                return self.endings.retry_later(claim, refusal)
        detail = f"may have arrived, and no way to look: {refusal.detail}"
        return self.endings.unsent(claim, "unknown", "unknown", detail)


def _route_of(claim: Claim) -> Route:
    """The route the record names, as the message has it or as far as the record tells."""
    record = claim.record
    for route in claim.message.routes:
        if (route.name, route.target) == (record.route, record.target):
            return route
    return Route(cast("RouteName", record.route), record.target)
