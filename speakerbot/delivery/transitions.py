"""The steps out of a claim: how an attempt ends, and how the ledger is made to refuse a message."""

from __future__ import annotations

import os
import random
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim, Revisions, sent, unsent
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Receipt, RefusalClass, Refused

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


def sent_by_node_bot(record: Delivery, at: datetime, real: datetime) -> DeliveryChange:
    """Settles an open record of a message that the Node bot has sent instead, ``at`` that instant:
    its text and its way are not ours to tell. Loses against a run that has claimed it meanwhile.
    ``real`` is the real time."""
    after = record._replace(
        state=DeliveryState.SENT,
        revision=f"node_bot.{os.urandom(8).hex()}",
        updated_at=real,
        sent_at=at,
        attempts=0,
        route="",
        target="",
        text="",
        lease_until=None,
        unconfirmed_since=None,
        retry_at=None,
        error_class="",
        error="",
        service_faults=0,
    )
    return DeliveryChange(record, after)


FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(minutes=30)
NOT_YET_RECORDED = 1000
"""More than are accepted between two writes of results."""


LOOKED_FOR = timedelta(hours=24)
"""How long after its expiry a message that may have arrived is still looked for."""


def backoff(failures: int) -> timedelta:
    """How long to wait after so many failures: 30 s doubling up to 30 min, with jitter."""
    doubled = min(max(0, failures - 1), 8)
    longest = min(LAST_RETRY, FIRST_RETRY * (1 << doubled))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


class Endings:
    """One per run; serves all of its workers."""

    def __init__(self, revisions: Revisions, clock: Clock) -> None:
        self._revisions = revisions
        self._clock = clock
        self.latest: deque[str] = deque(maxlen=NOT_YET_RECORDED)
        """Ids of the messages this run knows of last, in the ledger or on their way there."""

    def sent(self, claim: Claim, receipt: Receipt) -> Delivery:
        self.latest.append(receipt.message_id)
        now = self._clock.real()
        return sent(claim.record, receipt, revision=self._revisions.next(), now=now)

    def unknown(self, claim: Claim, why: str) -> Delivery:
        """It may have arrived, and that cannot be found out: it is not sent again by itself."""
        detail = f"it may have arrived; {why}"
        return self.unsent(claim, DeliveryState.UNKNOWN, "unknown", detail)

    def retry_later(self, claim: Claim, refusal: Refused) -> Delivery:
        """A fault of the service counts no try, and is tried again until the message expires; what
        may have arrived is looked for a day longer, then given up as unknown."""
        record, real = claim.record, self._clock.real()
        maybe = record.unconfirmed_since if refusal.maybe_accepted else None
        unconfirmed = claim.unconfirmed_since or maybe
        state = DeliveryState.FAILED
        if unconfirmed and self._clock.decision() >= record.expires_at + LOOKED_FOR:
            state = DeliveryState.UNKNOWN
        faults = record.service_faults + (refusal.why == RefusalClass.SERVICE)
        wait = max(backoff(faults), timedelta(seconds=refusal.retry_after))
        return self.unsent(
            claim,
            state,
            refusal.why,
            refusal.detail,
            retry_at=real + wait,
            unconfirmed_since=unconfirmed,
            attempts=record.attempts - 1,
        )._replace(service_faults=faults)

    def no_route_left(self, claim: Claim, refusals: list[tuple[Route, Refused]]) -> Delivery:
        """Where the settings name a channel that refused us, it is their fault: no try is counted,
        and runs go on trying until the message expires."""
        detail = "; ".join(f"{route.name}: {refusal.detail}" for route, refusal in refusals)
        if any(route.configured for route, _ in refusals):
            return self.unsent(
                claim,
                DeliveryState.FAILED,
                "config",
                detail,
                retry_at=self._clock.real(),
                attempts=claim.record.attempts - 1,
            )
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
        unconfirmed_since: datetime | None = None,
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
            unconfirmed_since=unconfirmed_since,
            attempts=claim.record.attempts if attempts is None else attempts,
        )
