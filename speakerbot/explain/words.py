"""What is said about a message: sentences for people. Instants are told in UTC."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from speakerbot.domain.delivery import DeliveryState

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.delivery.planning import MessagePlan
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.talk import Talk

NOTHING = "nothing"


def utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def so_far(plan: MessagePlan) -> str:
    """What became of a message whose time has come."""
    match plan.state:
        case DeliveryState.HELD_BACK:
            return f"held back: {plan.reason}"
        case DeliveryState.UNDELIVERABLE if plan.record:
            return f"undeliverable, {plan.record.attempts} tries: {plan.record.error}"
        case _ if plan.record:
            return recorded(plan.record)
        case DeliveryState.PLANNED:
            return due_since(plan.message.due_at)
        case DeliveryState.EXPIRED:
            return f"never sent: its time was over at {utc(plan.message.expires_at)}"
    return plan.reason


def recorded(record: Delivery) -> str:
    """What the ledger says."""
    match record.state:
        case DeliveryState.SENT if record.found:
            return f"the bot had posted it itself at {_at(record.sent_at)}"
        case DeliveryState.SENT:
            return f"sent {_at(record.sent_at)}{_where(record)}"
        case DeliveryState.CLAIMED:
            return f"run {record.run_id} has begun to send it, and has not told how that went"
        case DeliveryState.FAILED:
            tries = f"try {record.attempts} failed: {record.error}"
            return f"{tries}; next {_at(record.retry_at)}" if record.retry_at else tries
        case DeliveryState.UNDELIVERABLE:
            return f"undeliverable: {record.error}"
        case DeliveryState.UNKNOWN:
            return f"unknown whether it arrived: {record.error}"
    return f"not sent: {record.error or 'its time was over'}"


def _at(instant: datetime | None) -> str:
    return utc(instant) if instant else "at an unknown time"


def _where(record: Delivery) -> str:
    by = f" by {record.route}" if record.route else ""
    if not record.message_id:
        return by
    return f"{by}, message {record.message_id} in channel {record.channel_id}"


def due_since(at: datetime) -> str:
    return f"due since {utc(at)}"


def not_due(at: datetime) -> str:
    return f"not due until {utc(at)}"


def void(talk: Talk | None, talk_id: str) -> str:
    """Why a key that names a talk belongs to no message."""
    if talk is None:
        return f"there is no talk {talk_id}, or not any more"
    users = "users" if len(talk.speakers) > 1 else "user"
    speakers = ", ".join(each.user_id for each in talk.speakers)
    return (
        f"no message has this key: the talk is on {talk.date}, by {users} {speakers}. "
        "Reminders of an earlier date or speaker are void"
    )


def retry(key: str) -> str:
    return f"nothing by itself; `speakerbot deliveries retry {key}` has it tried again"
