"""The steps out of a claim: how an attempt ends, and how the ledger is made to refuse a message."""

from __future__ import annotations

import os
import random
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from speakerbot.clock import Clock
from speakerbot.delivery.circuit_breakers import Misconfigured
from speakerbot.delivery.claims import Claim, Revisions, sent, unsent
from speakerbot.domain.delivery import MAX_ATTEMPTS, Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Refused

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.domain.message import Message


def void(message: Message, before: Delivery | None, reason: str, real: datetime) -> DeliveryChange:
    """Makes the ledger refuse the message for ever, in one atomic step against whoever may send it:
    from its record, which must say that it has surely not arrived, to ``expired`` at this
    moment. Loses against a run that has claimed it meanwhile. ``real`` is the real time."""
    record = before or Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=DeliveryState.EXPIRED,
        revision="",
        run_id="",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=real,
        updated_at=real,
    )
    after = record._replace(
        state=DeliveryState.EXPIRED,
        revision=f"void.{os.urandom(8).hex()}",
        updated_at=real,
        expires_at=real,
        retry_at=None,
        error_class="expired",
        error=reason,
    )
    return DeliveryChange(before, after)


FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(minutes=30)
NOT_YET_RECORDED = 1000
"""More than are accepted between two writes of results."""


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many tries: 30 s doubling up to 30 min, with jitter."""
    doubled = min(max(0, attempts - 1), MAX_ATTEMPTS)
    longest = min(LAST_RETRY, FIRST_RETRY * (1 << doubled))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


class Endings:
    """One per run; serves all of its workers."""

    def __init__(self, revisions: Revisions, clock: Clock) -> None:
        self._revisions = revisions
        self._clock = clock
        self.latest: deque[str] = deque(maxlen=NOT_YET_RECORDED)
        """Ids of the messages this run knows of last, in the ledger or on their way there."""

    def sent(self, claim: Claim, channel_id: str, message_id: str) -> Delivery:
        self.latest.append(message_id)
        return sent(
            claim.record,
            revision=self._revisions.next(),
            now=self._clock.real(),
            channel_id=channel_id,
            message_id=message_id,
        )

    def retry_later(self, claim: Claim, refusal: Refused, *, counted: bool = True) -> Delivery:
        """``counted`` False: the message itself was not tried."""
        record = claim.record
        doubt = claim.doubt or (record.unconfirmed_since if refusal.maybe_accepted else None)
        wait = max(backoff(record.attempts), timedelta(seconds=refusal.retry_after))
        state: DeliveryState = DeliveryState.FAILED
        if counted and record.attempts >= MAX_ATTEMPTS:
            state = DeliveryState.UNKNOWN if doubt else DeliveryState.UNDELIVERABLE
        return self.unsent(
            claim,
            state,
            refusal.why,
            refusal.detail,
            retry_at=self._clock.real() + wait,
            doubt=doubt,
            attempts=record.attempts if counted else record.attempts - 1,
        )

    def no_route_left(self, claim: Claim, refusals: list[tuple[Route, Refused]]) -> Delivery:
        """Raises Misconfigured where a channel of our settings was among them."""
        detail = "; ".join(f"{route.name}: {refusal.detail}" for route, refusal in refusals)
        if any(route.configured for route, _ in refusals):
            raise Misconfigured(detail)
        mendable = any(refusal.why == "permission" for _, refusal in refusals)
        if mendable and claim.record.attempts < MAX_ATTEMPTS:
            retry_at = self._clock.real() + backoff(claim.record.attempts)
            return self.unsent(claim, DeliveryState.FAILED, "permission", detail, retry_at=retry_at)
        return self.unsent(
            claim, DeliveryState.UNDELIVERABLE, "recipient", detail or "there is no route to try"
        )

    def unsent(
        self,
        claim: Claim,
        state: DeliveryState,
        error_class: str,
        error: str,
        *,
        retry_at: datetime | None = None,
        doubt: datetime | None = None,
        attempts: int | None = None,
    ) -> Delivery:
        return unsent(
            claim.record,
            state,
            revision=self._revisions.next(),
            now=self._clock.real(),
            error_class=error_class,
            error=error,
            retry_at=retry_at,
            doubt=doubt,
            attempts=claim.record.attempts if attempts is None else attempts,
        )
