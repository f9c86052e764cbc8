"""Makes the ledger refuse a message for ever, as one atomic step against whoever may send it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from speakerbot.ledger import Change, Delivery

if TYPE_CHECKING:
    from datetime import datetime

    from speakerbot.messages import Message


def void(message: Message, before: Delivery | None, reason: str, real: datetime) -> Change:
    """From its record, which must say that it has surely not arrived, to ``expired`` at this
    moment. Loses against a run that has claimed it meanwhile. ``real`` is the real time."""
    record = before or Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state="expired",
        revision="",
        run_id="",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=real,
        updated_at=real,
    )
    after = record._replace(
        state="expired",
        revision=f"void.{os.urandom(8).hex()}",
        updated_at=real,
        expires_at=real,
        retry_at=None,
        error_class="expired",
        error=reason,
    )
    return Change(before, after)
