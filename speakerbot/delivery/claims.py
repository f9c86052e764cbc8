"""A message this run has claimed, and the writes about it before its outcome is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from speakerbot.delivery.planning import MessagePlan
from speakerbot.domain.delivery import Delivery, DeliveryState, claimed
from speakerbot.domain.message import Message, Route
from speakerbot.ports.channel import ChannelAccess, Posted, Receipt, Withheld

LONGEST_SEND = timedelta(seconds=60)


def longest_send(lease: timedelta) -> timedelta:
    """How long one request may take: a lease of that length always covers it."""
    return min(LONGEST_SEND, lease / 2)


class ClaimLost(Withheld):
    """Another run took the claim over while this one waited."""


@dataclass(slots=True)
class Claim:
    """``record`` is what the store holds now; ``before`` is what it held before this run."""

    plan: MessagePlan
    text: str
    """Rendered now, for the channel of its first route; without the mention some routes have."""
    record: Delivery
    before: Delivery | None
    unconfirmed_since: datetime | None
    """Since when an earlier attempt may have been accepted; None once that is settled."""
    again: bool = False
    """Its try failed, and this run makes another."""

    @property
    def message(self) -> Message:
        return self.plan.message

    def routes(self) -> tuple[Route, ...]:
        """The routes still to try: from the one an earlier attempt had reached."""
        return self.message.routes_from(self.record.route, self.record.target)


def restored(before: Delivery | None, revisions: Revisions) -> Delivery | None:
    """What giving a claim back leaves: the record as it was, or none; no attempt is counted."""
    return before._replace(revision=revisions.next()) if before else None


class Revisions:
    """Revisions of one run: never used twice by anybody, since run ids are not."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._numbers: Iterator[int] = itertools.count(1)

    def next(self) -> str:
        return f"{self._run_id}.{next(self._numbers)}"


def new_claim(
    plan: MessagePlan,
    access: ChannelAccess | None,
    *,
    run_id: str,
    revision: str,
    now: datetime,
    flag_at: datetime | None,
    lease: timedelta,
) -> Claim:
    """A claim on the message, to be won by swapping ``plan.record`` for its record. ``access``: the
    channel of its first route; None where it has no route."""
    message, text = plan.message, plan.text or ""
    first = message.routes[0] if message.routes else None
    fresh = Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=DeliveryState.CLAIMED,
        revision=revision,
        run_id=run_id,
        bot=access.sender if access else "",
        nonce=access.nonce(message.key, first) if access and first else "",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=now,
        updated_at=now,
        route=first.name if first else "",
        target=first.target if first else "",
        text=access.capabilities.addressed(text, first.mention) if access and first else text,
        attempts=1,
        lease_until=now + lease,
        unconfirmed_since=now,
        flag_at=flag_at,
        flag_was=message.flag.seen if message.flag else None,
        note=message.note,
    )
    unconfirmed = plan.record.unconfirmed_since if plan.record else None
    return Claim(plan, text, claimed(fresh, plan.record), plan.record, unconfirmed)


def routes_of(plan: MessagePlan) -> tuple[Route, ...]:
    """Every route it may go by now, or went by the last time."""
    routes, record = plan.message.routes, plan.record
    if record is None or not record.route:
        return routes
    last = Route(record.route, record.target)
    known = any((each.name, each.target) == (last.name, last.target) for each in routes)
    return routes if known else (*routes, last)


def next_route(plan: MessagePlan) -> Route | None:
    """The one to try first: a retry goes on where an earlier attempt had got to."""
    record = plan.record
    routes = plan.message.routes
    if record is not None:
        routes = plan.message.routes_from(record.route, record.target)
    return routes[0] if routes else None


def sent(record: Delivery, receipt: Receipt, *, revision: str, now: datetime) -> Delivery:
    return record._replace(
        state=DeliveryState.SENT,
        revision=revision,
        updated_at=now,
        sent_at=now,
        lease_until=None,
        unconfirmed_since=None,
        retry_at=None,
        error="",
        error_class="",
        service_faults=0,
        channel_id=receipt.channel_id,
        message_id=receipt.message_id,
    )


def found(
    record: Delivery, post: Posted, *, revision: str, now: datetime, channel_id: str
) -> Delivery:
    """The record of a post that stood there before our first attempt; due when it was made."""
    ours = sent(record, Receipt(channel_id, post.id), revision=revision, now=now)
    return ours._replace(attempts=0, text=post.text, due_at=post.at, sent_at=post.at)


def unsent(
    record: Delivery,
    state: DeliveryState,
    *,
    revision: str,
    now: datetime,
    error_class: str,
    error: str,
    retry_at: datetime | None = None,
    unconfirmed_since: datetime | None = None,
    attempts: int,
) -> Delivery:
    """The record of a message that did not go, or that is unconfirmed (``unconfirmed_since``)."""
    return record._replace(
        state=state,
        revision=revision,
        updated_at=now,
        lease_until=None,
        unconfirmed_since=unconfirmed_since,
        retry_at=retry_at,
        attempts=attempts,
        error_class=error_class,
        error=error[:300],
    )
