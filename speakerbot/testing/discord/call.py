"""One request to Discord's API, and what an operation needs to answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speakerbot.testing.discord.clock import LoopbackClock
from speakerbot.testing.discord.nonces import Nonces
from speakerbot.testing.discord.places import Channel
from speakerbot.testing.discord.refusals import missing_access, unknown_channel
from speakerbot.testing.discord.settings import Settings
from speakerbot.testing.discord.state import State


class Call(NamedTuple):
    """``ids`` are those in the path."""

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """A successful answer; ``json`` None is an empty body."""

    json: Any
    status: int = 200


@dataclass(slots=True)
class Context:
    """What all operations share."""

    settings: Settings
    state: State
    clock: LoopbackClock
    nonces: Nonces = field(default_factory=Nonces)

    def channel(self, channel_id: str) -> Channel:
        """One that the bot can see. Raises Refusal 10003, 50001."""
        channel = self.state.channel(channel_id)
        if channel is None:
            raise unknown_channel()
        if not channel.visible:
            raise missing_access()
        return channel
