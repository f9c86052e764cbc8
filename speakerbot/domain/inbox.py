"""A message in somebody's inbox: kept in the store for them to read, instead of sent elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """Instants are aware, in UTC, real time."""

    key: str
    """The delivery's: an inbox holds each message once."""
    recipient: str
    """``user:<discord id>`` or ``person:<id>``."""
    text: str
    created_at: datetime
    read_at: datetime | None = None
    """None: unread."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the key's hash: what people and addresses call it by."""
        import hashlib  # most runs hash nothing

        return hashlib.sha256(self.key.encode()).hexdigest()[:16]
