"""Finds out whether an earlier attempt whose outcome is unknown arrived.

:class:`Recovery` settles the claims of messages that a job still names. :func:`with_leftovers` adds
the claims of runs that died over messages whose time is over, which no job names any more: the next
run that sends anything looks for them and closes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from speakerbot.clock import Clock
from speakerbot.delivery.channels import OpenChannel, OpenChannels
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.claims import Claim
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState, MessageKey, may_be_closed
from speakerbot.domain.message import (
    NODE_FLAGS,
    Message,
    NodeFlag,
    Route,
)
from speakerbot.domain.run import StopReason
from speakerbot.ports.channel import Outgoing, Receipt, RefusalClass, Refused
from speakerbot.ports.store import Store


class NotNow(Exception):
    """Nothing is known to have changed; a later run goes on with the message."""


@dataclass(slots=True)
class Recovery:
    """One per run; serves all of its workers."""

    channels: OpenChannels
    recorded: Callable[[str], Awaitable[set[str]]]
    """Ids of the latest messages to a recipient that the ledger knows."""
    endings: Endings
    clock: Clock

    async def settle(self, claim: Claim) -> Delivery | None:
        """The final record, or None if nothing is unconfirmed (any more): it did not arrive, or
        sending it again is harmless. Raises NotNow where its channel has stopped.

        Looking costs one request and does not depend on how long a service remembers nonces."""
        since = claim.unconfirmed_since
        if since is None:
            return None
        route = _route_of(claim)
        channel = await self.channels.of(route)
        if channel is None:
            detail = f"the settings have no channel {route.channel!r}"
            return self.endings.retry_later(claim, Refused(RefusalClass.SERVICE, detail))
        if channel.guard.stopped:
            raise NotNow
        able = channel.access.capabilities
        if not able.looks_back:
            if self.clock.real() - since < able.idempotent_for:
                return None
            return self.endings.unknown(claim, "that channel cannot be searched")
        try:
            found = await self._look(claim, route, channel, since)
        except ChannelStopped as stopped:
            channel.halt(stopped)
            raise NotNow from stopped
        except Refused as refusal:
            return self._cannot_tell(claim, channel, refusal)
        if found is None:
            claim.unconfirmed_since = None
            return None
        return self.endings.sent(claim, found)

    async def _look(
        self, claim: Claim, route: Route, channel: OpenChannel, since: datetime
    ) -> Receipt | None:
        record, before = claim.record, claim.before
        others = before.bot if before and before.bot and before.bot != channel.sender else None
        sought = Outgoing(record.key, record.recipient, route, record.text, record.nonce)
        while True:
            known = {*await self.recorded(record.recipient), *self.endings.latest}
            found = await channel.channel.find(sought, since=since, known=known, author=others)
            if found is None or found.message_id not in self.endings.latest:
                return found  # else somebody with the same text was faster

    def _cannot_tell(self, claim: Claim, channel: OpenChannel, refusal: Refused) -> Delivery:
        match refusal.why:
            case RefusalClass.BOT | RefusalClass.TOKEN:
                channel.halt(ChannelStopped(StopReason(refusal.why), refusal.detail))
                raise NotNow from refusal
            case RefusalClass.SERVICE:
                return self.endings.retry_later(claim, refusal)
        return self.endings.unknown(claim, f"no way to look: {refusal.detail}")


def _route_of(claim: Claim) -> Route:
    """The route the record names, as the message has it or as far as the record tells."""
    record = claim.record
    for route in claim.message.routes:
        if (route.name, route.target) == (record.route, record.target):
            return route
    return Route(record.route, record.target)


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
        routes=(Route(record.route, record.target),) if record.route else (),
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
