"""A message this run has claimed, and the writes about it before its outcome is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from speakerbot.delivery.nonces import nonce_of
from speakerbot.delivery.planning import MessagePlan
from speakerbot.domain.delivery import Delivery, DeliveryState, claimed
from speakerbot.domain.message import Message, Route
from speakerbot.ports.channel import Posted


class ClaimLost(Exception):
    """Another run took the claim over while this one waited."""


@dataclass(slots=True)
class Claim:
    """``record`` is what the store holds now; ``before`` is what it held before this run."""

    plan: MessagePlan
    text: str
    """Rendered now; without the mention some routes put in front."""
    record: Delivery
    before: Delivery | None
    unconfirmed_since: datetime | None
    """Since when an earlier attempt may have been accepted; None once that is settled."""
    dm_user: str | None = None
    """Whose direct messages it may go to, or may have gone to."""
    dm_channel: str | None = None
    """Their channel; None: it has to be opened first."""

    again: bool = False
    """Its try failed, and this run makes another."""

    @property
    def newcomer(self) -> bool:
        """It cannot go without a DM channel, and there is none yet."""
        routes = self.message.routes
        return self.dm_channel is None and bool(routes) and routes[0].name == "dm"

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
    text: str,
    *,
    run_id: str,
    bot: str,
    revision: str,
    now: datetime,
    flag_at: datetime | None,
    lease: timedelta,
    dm_channels: Mapping[str, str],
) -> Claim:
    """A claim on the message, to be won by swapping ``plan.record`` for its record."""
    message = plan.message
    first = message.routes[0] if message.routes else None
    fresh = Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=DeliveryState.CLAIMED,
        revision=revision,
        run_id=run_id,
        bot=bot,
        nonce=nonce_of(message.key, first) if first else "",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=now,
        updated_at=now,
        route=first.name if first else "",
        target=first.target if first else "",
        text=first.full_text(text) if first else text,
        attempts=1,
        lease_until=now + lease,
        unconfirmed_since=now,
        flag_at=flag_at,
        flag_was=message.flag.seen if message.flag else None,
        note=message.note,
    )
    unconfirmed = plan.record.unconfirmed_since if plan.record else None
    user = dm_user(plan)
    dm = dm_channels.get(user or "")
    return Claim(plan, text, claimed(fresh, plan.record), plan.record, unconfirmed, user, dm)


def dm_user(plan: MessagePlan) -> str | None:
    """Whose direct messages it may go to now, or went to the last time."""
    targets = [route.target for route in plan.message.routes if route.name == "dm"]
    if plan.record and plan.record.route == "dm":
        targets.append(plan.record.target)
    return targets[0] if targets else None


def sent(
    record: Delivery, *, revision: str, now: datetime, channel_id: str, message_id: str
) -> Delivery:
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
        channel_id=channel_id,
        message_id=message_id,
    )


def found(
    record: Delivery, post: Posted, *, revision: str, now: datetime, channel_id: str
) -> Delivery:
    """The record of a post that stood there before our first attempt; due when it was made."""
    ours = sent(record, revision=revision, now=now, channel_id=channel_id, message_id=post.id)
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
