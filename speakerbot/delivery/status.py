"""What people see of a delivery, and what they may do about it: have it tried again."""

from __future__ import annotations

from datetime import datetime

from speakerbot.domain.delivery import Delivery, DeliveryState, standing

RETRIED = (DeliveryState.FAILED, DeliveryState.UNDELIVERABLE, DeliveryState.UNKNOWN)


def status(record: Delivery, now: datetime, real: datetime) -> DeliveryState:
    """A record's state as people should read it: what failed is expired once its time is over.
    ``now`` is decision time, ``real`` the lease's."""
    if record.state == DeliveryState.FAILED:
        if now >= record.expires_at:
            return DeliveryState.EXPIRED
        if standing(record, real) == DeliveryState.UNDELIVERABLE:
            return DeliveryState.UNDELIVERABLE
    return record.state


def refusal(record: Delivery, now: datetime, real: datetime) -> str:
    """Why a person cannot have it tried again; empty if they can."""
    match status(record, now, real):
        case DeliveryState.SENT:
            return f"it was sent at {record.sent_at:%F %H:%M} UTC, and nothing is sent twice"
        case DeliveryState.CLAIMED if record.unconfirmed(real):
            return "the next run looks whether it arrived, and sends it if it did not"
        case DeliveryState.CLAIMED:
            return f"run {record.run_id} is sending it at this moment"
        case DeliveryState.EXPIRED:
            return f"its time was over at {record.expires_at:%F %H:%M} UTC"
    if now >= record.expires_at:
        return f"its time was over at {record.expires_at:%F %H:%M} UTC"
    return ""


def retried(record: Delivery, real: datetime, revision: str) -> Delivery:
    """The record for the next run to try at once, with all tries before it.

    A message that failed goes on by its route, and where it may have arrived that run looks for
    it first. One that was given up begins at its first route; of one whose outcome is unknown, a
    person has decided that it did not arrive.
    """
    again = record._replace(
        state=DeliveryState.FAILED,
        revision=revision,
        updated_at=real,
        retry_at=real,
        lease_until=None,
        attempts=0,
    )
    if record.state == DeliveryState.UNKNOWN:
        again = again._replace(unconfirmed_since=None)
    if record.state == DeliveryState.FAILED or again.unconfirmed_since:
        return again
    return again._replace(route="", target="")
