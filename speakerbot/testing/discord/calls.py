"""What every operation gets and gives: the call, what all of them share, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speakerbot.testing.discord.clock import LoopbackClock
from speakerbot.testing.discord.rate_limits import SECOND
from speakerbot.testing.discord.records import DiscordMessage
from speakerbot.testing.discord.responses import missing_access, unknown_channel, unknown_guild
from speakerbot.testing.discord.settings import LoopbackSettings
from speakerbot.testing.discord.world import GuildState, LoopbackChannel


class Nonces:
    """Times are nanoseconds. How long and where a nonce is unique is in the settings."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, DiscordMessage]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def find(
        self, channel_id: str, nonce: str, settings: LoopbackSettings, now: int
    ) -> DiscordMessage | None:
        """The message that has it, if that was accepted within the window."""
        found = self._seen.get((_scope(channel_id, settings), nonce))
        if found is None or found[0] + _window(settings) <= now:
            return None
        return found[1]

    def remember(self, message: DiscordMessage, settings: LoopbackSettings, now: int) -> None:
        """Also forgets those that are over, so that memory holds one window only."""
        if message.nonce is None:
            return
        self._forget_ended(now - _window(settings))
        key = (_scope(message.channel_id, settings), message.nonce)
        self._seen.pop(key, None)
        self._seen[key] = (now, message)

    def _forget_ended(self, until: int) -> None:
        ended = []
        for key, (accepted, _) in self._seen.items():
            if accepted > until:
                break
            ended.append(key)
        for key in ended:
            del self._seen[key]


def _scope(channel_id: str, settings: LoopbackSettings) -> str:
    return channel_id if settings.nonce_scope == "channel" else ""


def _window(settings: LoopbackSettings) -> int:
    return round(settings.nonce_window * SECOND)


class ApiCall(NamedTuple):
    """``ids`` and ``emoji`` are those in the path."""

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    emoji: str = ""


class ApiResult(NamedTuple):
    """A successful answer; ``json`` None is an empty body."""

    json: Any
    status: int = 200


@dataclass(slots=True)
class ApiContext:
    """What all operations share."""

    settings: LoopbackSettings
    state: GuildState
    clock: LoopbackClock
    nonces: Nonces = field(default_factory=Nonces)

    def channel(self, channel_id: str) -> LoopbackChannel:
        """One that the bot can see. Raises ApiError 10003, 50001."""
        channel = self.state.channel(channel_id)
        if channel is None:
            raise unknown_channel()
        if not channel.visible:
            raise missing_access()
        return channel

    def guild(self, guild_id: str) -> str:
        """The open world's guild answers to any id. Raises ApiError 10004."""
        if self.state.strict and guild_id != self.state.guild_id:
            raise unknown_guild()
        return guild_id
