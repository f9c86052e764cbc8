"""What people would see, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

from speakerbot.testing.discord.places import ChannelKind
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.state import State


@dataclass(frozen=True, slots=True)
class Line:
    """One message: who wrote it, and what happened to it."""

    author: str
    message: Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """One channel with its messages, oldest first."""

    kind: ChannelKind
    channel_id: str
    name: str
    """Of the channel or thread; of the other person in direct messages."""
    user_id: str | None
    """The other person in direct messages."""
    lines: tuple[Line, ...]


def transcript(state: State) -> tuple[Conversation, ...]:
    """Channels in the order of their first message; deleted messages are left out."""
    ids = dict.fromkeys(m.channel_id for m in state.messages if not m.deleted)
    return tuple(_conversation(channel_id, state) for channel_id in ids)


def _conversation(channel_id: str, state: State) -> Conversation:
    channel = state.channels[channel_id]
    name = channel.name if channel.user_id is None else _name(channel.user_id, state)
    lines = tuple(Line(_name(m.author_id, state), m) for m in channel.messages)
    return Conversation(channel.kind, channel_id, name, channel.user_id, lines)


def _name(user_id: str, state: State) -> str:
    user = state.users.get(user_id)
    return user.name if user else f"user-{user_id}"
