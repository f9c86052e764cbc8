"""What the loopback remembers; also the lines of its record file and of its control API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from speakerbot.testing.discord.snowflakes import created_at


class Edit(msgspec.Struct, frozen=True, gc=False, tag="edit"):
    """What a message shows from then on."""

    message_id: str
    at: datetime
    content: str
    extras: dict[str, Any] | None = None


class Message(msgspec.Struct, gc=False, tag="message", omit_defaults=True):
    """A message that was accepted. ``content`` is the present one; the first is in ``original``."""

    id: str
    channel_id: str
    author_id: str
    content: str
    nonce: str | None = None
    allowed_mentions: dict[str, Any] | None = None
    users_notified: tuple[str, ...] = ()
    """Ids of the users that the content mentions and ``allowed_mentions`` permits."""
    roles_notified: tuple[str, ...] = ()
    everyone_notified: bool = False
    extras: dict[str, Any] | None = None
    """Embeds, components and what else was in the request."""
    edits: tuple[Edit, ...] = ()
    original: str | None = None
    """The content before the first edit."""
    deleted: bool = False

    @property
    def at(self) -> datetime:
        """When it was accepted, in UTC, to the millisecond."""
        return created_at(self.id)

    def apply(self, edit: Edit) -> None:
        self.original = self.content if self.original is None else self.original
        self.edits = (*self.edits, edit)
        self.content, self.extras = edit.content, edit.extras


class Deletion(msgspec.Struct, frozen=True, gc=False, tag="deletion"):
    message_id: str
    at: datetime


class DmOpened(msgspec.Struct, frozen=True, gc=False, tag="dm_opened"):
    """A direct message channel was made."""

    channel_id: str
    user_id: str
    at: datetime


class Request(msgspec.Struct, frozen=True, gc=False, tag="request"):
    """A request that arrived. ``status`` None: it was never answered."""

    at: datetime
    method: str
    path: str
    operation: str
    """Discord's own name, e.g. ``create_message``; ``unknown`` for a path that does not exist."""
    status: int | None


Record = Message | Edit | Deletion | DmOpened | Request
