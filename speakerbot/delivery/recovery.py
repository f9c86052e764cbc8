"""Finds out whether an earlier attempt whose outcome is unknown arrived.

:class:`Recovery` settles the claims of messages that a job still names. :func:`with_leftovers` adds
the claims of runs that died over messages whose time is over, which no job names any more: the next
run that sends anything looks for them and closes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import cast

from speakerbot.clock import Clock
from speakerbot.delivery.circuit_breakers import RunStopped
from speakerbot.delivery.claims import Claim
from speakerbot.delivery.dm_channels import Destinations
from speakerbot.delivery.nonces import NONCE_WINDOW, nonce_of
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Message, Route, RouteName
from speakerbot.ports.channel import Channel, Refused
from speakerbot.ports.store import Store


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
        return self.endings.unsent(claim, DeliveryState.UNKNOWN, "unknown", detail)


def _route_of(claim: Claim) -> Route:
    """The route the record names, as the message has it or as far as the record tells."""
    record = claim.record
    for route in claim.message.routes:
        if (route.name, route.target) == (record.route, record.target):
            return route
    return Route(cast("RouteName", record.route), record.target)


AT_ONCE = 200
REASON = "a run died over it; its time is over by now"


def with_leftovers(
    plans: Iterable[MessagePlan], store: Store, now: datetime, real: datetime
) -> Iterator[MessagePlan]:
    """The plans, then those for what nobody named among them, which come to looking only. ``now``
    is decision time, ``real`` the lease's."""
    named: set[str] = set()
    for plan in plans:
        if plan.record and plan.record.expires_at <= now:
            named.add(plan.message.key)
        yield plan
    yield from (plan for plan in _left_over(store, now, real) if plan.message.key not in named)


def _left_over(store: Store, now: datetime, real: datetime) -> Iterator[MessagePlan]:
    claimed = store.ledger.list(state=DeliveryState.CLAIMED, limit=AT_ONCE)
    failed = store.ledger.list(state=DeliveryState.FAILED, limit=AT_ONCE)
    for record in chain(claimed, failed):
        if record.expires_at <= now and record.unconfirmed(real):
            yield MessagePlan(_message(record), DeliveryState.PLANNED, REASON, record=record)


def _message(record: Delivery) -> Message:
    subject, _, occasion = record.key.removeprefix(f"{record.kind}/").partition(
        f"/{record.recipient}/"
    )
    return Message(
        kind=record.kind,
        subject=subject,
        recipient=record.recipient,
        occasion=occasion,
        routes=(Route(cast("RouteName", record.route), record.target),),
        template="",  # there is nothing to render: it is never sent
        values={},
        due_at=record.due_at,
        expires_at=record.expires_at,
        reason=REASON,
    )
