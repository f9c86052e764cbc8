"""Finds out whether an earlier attempt whose outcome is unknown arrived.

:class:`Recovery` settles the claims of messages that a job still names. :func:`with_leftovers` adds
the claims of runs that died over messages whose time is over, which no job names any more: the next
run that sends anything looks for them and closes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from speakerbot.delivery.circuit_breakers import RunStopped
from speakerbot.delivery.claims import Claim
from speakerbot.delivery.dm_channels import Destinations
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState, may_be_closed
from speakerbot.domain.message import (
    NODE_FLAGS,
    Message,
    MessageKey,
    NodeFlag,
    Route,
    RouteName,
)
from speakerbot.ports.channel import Channel, RefusalClass, Refused
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
    bot: str
    """Which bot we are, as records name it."""

    async def settle(self, claim: Claim) -> Delivery | None:
        """The final record, or None if nothing is unconfirmed (any more): it did not arrive.

        Looking costs one request and does not depend on how long Discord remembers nonces."""
        if claim.unconfirmed_since is None:
            return None
        route = _route_of(claim)
        if route.name == "dm" and self._by_another_bot(claim):
            return self._unknown(claim, "another bot tried it, whose direct messages we cannot see")
        try:
            found = await self._look(claim, route, claim.unconfirmed_since)
        except Refused as refusal:
            return self._cannot_tell(claim, refusal)
        if found is None:
            claim.unconfirmed_since = None
            return None
        return self.endings.sent(claim, *found)

    def _by_another_bot(self, claim: Claim) -> bool:
        return bool(claim.before and claim.before.bot and claim.before.bot != self.bot)

    async def _look(self, claim: Claim, route: Route, since: datetime) -> tuple[str, str] | None:
        """The ids of the channel and of the message in it."""
        if route.name == "dm" and not self.destinations.knows(route.target):
            return None  # a DM channel is remembered before anything is sent there
        record = claim.record
        author = claim.before.bot if claim.before and self._by_another_bot(claim) else None
        channel_id = await self.destinations.find(route)
        while True:
            others = {*await self.recorded(record.recipient), *self.endings.latest}
            await self.pacer.slot()
            found = await self.channel.find(
                channel_id,
                record.text,
                nonce=record.nonce,
                since=since,
                known=others,
                author=author,
            )
            if found is None:
                return None
            if found not in self.endings.latest:  # else somebody with the same text was faster
                return channel_id, found

    def _cannot_tell(self, claim: Claim, refusal: Refused) -> Delivery:
        match refusal.why:
            case RefusalClass.BOT | RefusalClass.TOKEN:
                raise RunStopped(refusal.why, refusal.detail) from refusal
            case RefusalClass.SERVICE | RefusalClass.NEW_DMS:
                return self.endings.retry_later(claim, refusal)
        return self._unknown(claim, f"no way to look: {refusal.detail}")

    def _unknown(self, claim: Claim, why: str) -> Delivery:
        detail = f"it may have arrived; {why}"
        return self.endings.unsent(claim, DeliveryState.UNKNOWN, "unknown", detail)


def _route_of(claim: Claim) -> Route:
    """The route the record names, as the message has it or as far as the record tells."""
    record = claim.record
    for route in claim.message.routes:
        if (route.name, route.target) == (record.route, record.target):
            return route
    return Route(cast("RouteName", record.route), record.target)


REASON = "a run died over it, or every try of it failed; its time is over by now"


def with_leftovers(
    plans: Iterable[MessagePlan], store: Store, now: datetime, real: datetime
) -> Iterator[MessagePlan]:
    """The plans, then those for what no plan named: they come to looking only. ``now`` is decision
    time, ``real`` the lease's."""
    named: set[str] = set()
    for plan in plans:
        if plan.record and plan.record.expires_at <= now:
            named.add(plan.message.key)
        yield plan
    for record in store.ledger.unsettled(now):
        if may_be_closed(record, real) and record.key not in named:
            yield MessagePlan(_message(record), DeliveryState.PLANNED, REASON, record=record)


def _message(record: Delivery) -> Message:
    key = MessageKey.of(record.key, record.kind, record.recipient)
    return Message(
        kind=record.kind,
        subject=key.subject,
        recipient=record.recipient,
        occasion=key.occasion,
        routes=(Route(cast("RouteName", record.route), record.target),) if record.route else (),
        template="",  # there is nothing to render: it is never sent
        values={},
        due_at=record.due_at,
        expires_at=record.expires_at,
        reason=REASON,
        flag=_flag(record, key.subject),
    )


def _flag(record: Delivery, subject: str) -> NodeFlag | None:
    """The Node bot's flag that it had set: given back where the message was not sent."""
    name = NODE_FLAGS.get(record.kind)
    if name is None or record.flag_at is None:
        return None
    return NodeFlag(subject.removeprefix("talk:"), name, record.flag_at, counts=False)
