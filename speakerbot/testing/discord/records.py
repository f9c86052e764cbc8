"""What the loopback remembers: the lines of its control API, and of its append-only file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from speakerbot.testing.discord.clock import created_at

_encode = msgspec.json.Encoder().encode


class MessageEdit(msgspec.Struct, frozen=True, gc=False, tag="edit"):
    """What a message shows from then on."""

    message_id: str
    at: datetime
    content: str
    extras: dict[str, Any] | None = None


class ReactionChange(msgspec.Struct, frozen=True, gc=False, tag="reaction"):
    """Somebody put a reaction under a message, or took theirs away."""

    message_id: str
    at: datetime
    emoji: str
    """Itself, or ``name:id`` of a custom one."""
    user_id: str
    added: bool


class DiscordMessage(msgspec.Struct, gc=False, tag="message", omit_defaults=True):
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
    edits: tuple[MessageEdit, ...] = ()
    original: str | None = None
    """The content before the first edit."""
    reactions: dict[str, tuple[str, ...]] = {}
    """Each emoji with the ids of those who reacted with it, both in the order they came in."""
    deleted: bool = False

    @property
    def at(self) -> datetime:
        """When it was accepted, in UTC, to the millisecond."""
        return created_at(self.id)

    def apply(self, edit: MessageEdit) -> None:
        self.original = self.content if self.original is None else self.original
        self.edits = (*self.edits, edit)
        self.content, self.extras = edit.content, edit.extras

    def react(self, change: ReactionChange) -> None:
        """Does nothing where it is so already."""
        present = self.reactions.get(change.emoji, ())
        if change.added:
            if change.user_id not in present:
                self.reactions[change.emoji] = (*present, change.user_id)
        elif others := tuple(user for user in present if user != change.user_id):
            self.reactions[change.emoji] = others
        else:
            self.reactions.pop(change.emoji, None)


class MessageDeletion(msgspec.Struct, frozen=True, gc=False, tag="deletion"):
    message_id: str
    at: datetime


EventStatus = Literal["scheduled", "active", "completed", "canceled"]


class ScheduledEvent(msgspec.Struct, frozen=True, gc=False, tag="event", omit_defaults=True):
    """An event of the guild, outside Discord, as it was from some moment on; the last record of it
    is how it is now."""

    id: str
    guild_id: str
    creator_id: str
    name: str
    description: str | None
    location: str
    starts_at: datetime
    ends_at: datetime
    status: EventStatus = "scheduled"
    interested: tuple[str, ...] = ()
    """Ids of the users who said so."""
    deleted: bool = False

    @property
    def is_open(self) -> bool:
        """Neither over nor deleted."""
        return self.status in ("scheduled", "active") and not self.deleted

    def at(self, now: datetime) -> ScheduledEvent:
        """As it is then: it begins and ends by itself."""
        status = self.status
        if status == "scheduled" and self.starts_at <= now:
            status = "active"
        if status == "active" and self.ends_at <= now:
            status = "completed"
        return self if status == self.status else msgspec.structs.replace(self, status=status)


class DmOpened(msgspec.Struct, frozen=True, gc=False, tag="dm_opened"):
    """A direct message channel was made."""

    channel_id: str
    user_id: str
    at: datetime


class RecordedRequest(msgspec.Struct, frozen=True, gc=False, tag="request"):
    """A request that arrived. ``status`` None: it was never answered."""

    at: datetime
    method: str
    path: str
    operation: str
    """Discord's own name, e.g. ``create_message``; ``unknown`` for a path that does not exist."""
    status: int | None


LoopbackRecord = (
    DiscordMessage
    | MessageEdit
    | MessageDeletion
    | ReactionChange
    | ScheduledEvent
    | DmOpened
    | RecordedRequest
)
_decode = msgspec.json.Decoder(LoopbackRecord).decode


class RecordFile:
    """Each ``write`` is one system call, so a kill of this process loses no line it returned from
    (a power cut may). Other processes may read the file at any time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, records: Iterable[LoopbackRecord]) -> None:
        self._file.write(lines(records))

    def close(self) -> None:
        self._file.close()


def lines(records: Iterable[LoopbackRecord]) -> bytes:
    return b"".join(_encode(record) + b"\n" for record in records)


def read_lines(data: bytes) -> Iterator[LoopbackRecord]:
    """Leaves out a last line that was not finished."""
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield _decode(line)


def read_record(path: Path) -> list[LoopbackRecord]:
    """The records of a file; none if it does not exist. Messages have
    their edits and reactions applied."""
    records = list(read_lines(path.read_bytes())) if path.exists() else []
    messages = {record.id: record for record in records if isinstance(record, DiscordMessage)}
    for record in records:
        if isinstance(record, MessageEdit):
            messages[record.message_id].apply(record)
        elif isinstance(record, MessageDeletion):
            messages[record.message_id].deleted = True
        elif isinstance(record, ReactionChange):
            messages[record.message_id].react(record)
    return records
