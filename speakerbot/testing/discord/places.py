"""People and channels of the loopback's world."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Literal

from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.refusals import ClosedDmCode

ChannelKind = Literal["dm", "channel", "thread"]
DmState = Literal["open", "closed", "cannot_be_opened"]


@dataclass(slots=True)
class User:
    id: str
    name: str
    bot: bool = False
    dms: DmState = "open"
    closed_code: ClosedDmCode = 50007
    """The answer while they are not open."""
    member: bool = True
    """Of the guild."""


@dataclass(slots=True)
class Channel:
    id: str
    kind: ChannelKind
    name: str = ""
    user_id: str | None = None
    """Whose direct messages these are."""
    parent_id: str | None = None
    """Of a thread."""
    acquainted: bool = False
    """The bot has written here before."""
    visible: bool = True
    writable: bool = True
    history: bool = True
    archived: bool = False
    sends_unarchive: bool = True
    locked: bool = False
    messages: list[Message] = field(default_factory=list)
    """Oldest first, without deleted ones."""
    last_message_id: str | None = None
    """Of the last message that was sent here, deleted or not."""

    def find(self, message_id: str) -> Message | None:
        begin = bisect_left(self.messages, int(message_id), key=lambda message: int(message.id))
        found = self.messages[begin : begin + 1]
        return found[0] if found and found[0].id == message_id else None
