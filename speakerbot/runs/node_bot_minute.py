"""The minute in which the Node bot sends its own reminders, from a MongoDB store that we share.

What it has read before our claim it sends too. So from 15:59:30 to 16:02 UTC no run claims a
reminder that the Node bot knows as well, or sets its flag for one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time
from typing import TYPE_CHECKING

from speakerbot.domain.delivery import DeliveryState, SkipReason

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.delivery.planning import MessagePlan
    from speakerbot.domain.job_registry import JobDeclaration
    from speakerbot.domain.message import Message

BEGINS, ENDS = time(15, 59, 30), time(16, 2)
"""UTC."""


def is_shared(job: JobDeclaration, settings: Settings) -> bool:
    """Whether the Node bot sends from the same store what this job sends."""
    on_mongodb = settings.database_url.startswith("mongodb")
    return job.keeps_clear_of_node_bot and settings.node_bot_coexist and on_mongodb


def end_of_minute(real: datetime, since: datetime | None = None) -> datetime | None:
    """When it is over, where ``real`` lies in it, or it came after ``since``; both UTC."""
    begins, ends = (datetime.combine(real.date(), at, real.tzinfo) for at in (BEGINS, ENDS))
    return ends if begins <= real and (since or real) < ends else None


def must_wait(message: Message, until: datetime) -> bool:
    """Whether the message is also the Node bot's, and still true when the minute is over."""
    return message.flag is not None and message.expires_at > until


def held_until(plan: MessagePlan, end: datetime) -> MessagePlan:
    """The same message, for a later run."""
    reason = f"the Node bot sends its own at this minute; not before {end:%H:%M} UTC"
    return replace(
        plan,
        state=DeliveryState.HELD_BACK,
        reason=reason,
        skip=SkipReason.NODE_BOT_MINUTE,
        until=end,
    )
