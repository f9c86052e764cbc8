"""What people see of a delivery, and what they may do about it: have it tried again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from speakerbot.domain.delivery import Delivery, standing

Status = Literal[
    "claimed", "in_doubt", "sent", "failed", "undeliverable", "expired", "unknown"
]  # fmt: skip
RETRIED = ("failed", "undeliverable", "unknown")


def status(record: Delivery, now: datetime, real: datetime) -> Status:
    """A record's state as people should read it: a claim nobody holds any more is in doubt, and
    what failed is expired once its time is over. ``now`` is decision time, ``real`` the lease's."""
    if record.state == "claimed":
        return "in_doubt" if record.in_doubt(real) else "claimed"
    if record.state == "failed":
        if now >= record.expires_at:
            return "expired"
        if standing(record, real) == "undeliverable":
            return "undeliverable"
    return record.state


def refusal(record: Delivery, now: datetime, real: datetime) -> str:
    """Why a person cannot have it tried again; empty if they can."""
    match status(record, now, real):
        case "sent":
            return f"it was sent at {record.sent_at:%F %H:%M} UTC, and nothing is sent twice"
        case "claimed":
            return f"run {record.run_id} is sending it at this moment"
        case "in_doubt":
            return "the next run looks whether it arrived, and sends it if it did not"
        case "expired":
            return f"its time was over at {record.expires_at:%F %H:%M} UTC"
    if now >= record.expires_at:
        return f"its time was over at {record.expires_at:%F %H:%M} UTC"
    return ""


def retried(record: Delivery, real: datetime, revision: str) -> Delivery:
    """The record for the next run to try at once, with all tries before it.

    A message that failed goes on by its route, and where it may have arrived that run looks for
    it first. One that was given up begins at its first route; of one that nobody knows about, a
    person has decided that it did not arrive.
    """
    again = record._replace(
        state="failed",
        revision=revision,
        updated_at=real,
        retry_at=real,
        lease_until=None,
        attempts=0,
    )
    if record.state == "unknown":
        again = again._replace(doubt_since=None)
    if record.state == "failed" or again.doubt_since:
        return again
    return again._replace(route="", target="")
