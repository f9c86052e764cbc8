"""The points at which a run may die: before and after each write to the store and each request."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.channels.discord.channel import DiscordChannel
from speakerbot.ports.channel import Channel, ChannelAccess, ChannelHost, Channels
from speakerbot.ports.store import Store, nouns

T = TypeVar("T")
Reached = Callable[[str], None]
"""Is told of every boundary as it is reached, from whichever thread; may not return."""

DISCORD = "discord"
"""What boundaries at the channel are called by."""
REQUESTS = frozenset(name for name in vars(DiscordApi) if not name.startswith("_"))


def stepping(port: T, methods: Collection[str], name: str, reached: Reached) -> T:
    """``port``, with a boundary before and after each call of ``methods``."""
    return cast("T", _Stepping(port, methods, name, reached))


def stepping_store(store: Store, reached: Reached) -> Store:
    """``store``, with a boundary before and after each write of each noun."""
    return cast("Store", _SteppingStore(store, reached))


def stepping_channels(channels: Channels, reached: Reached) -> Channels:
    """``channels``, with a boundary before and after each request of those that make requests."""
    return {name: _stepping_access(access, reached) for name, access in channels.items()}


def _stepping_access(access: ChannelAccess, reached: Reached) -> ChannelAccess:
    @asynccontextmanager
    async def stepped(host: ChannelHost) -> AsyncIterator[Channel]:
        async with access.open(host) as channel:
            if isinstance(channel, DiscordChannel):
                channel.api = stepping(channel.api, REQUESTS, DISCORD, reached)
            yield channel

    return replace(access, open=stepped)


class _SteppingStore:
    def __init__(self, store: Store, reached: Reached) -> None:
        self._store = store
        for noun, writes in nouns().items():
            setattr(self, noun, stepping(getattr(store, noun), writes, noun, reached))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Stepping:
    def __init__(self, port: object, methods: Collection[str], name: str, reached: Reached) -> None:
        self._port = port
        self._methods = methods
        self._name = name
        self._reached = reached

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._methods:
            return found
        between = _between_async if inspect.iscoroutinefunction(found) else _between
        return between(found, f"{self._name}.{name}", self._reached)


def _between(call: Callable[..., Any], name: str, reached: Reached) -> Callable[..., Any]:
    @wraps(call)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        reached(f"before {name}")
        answer = call(*args, **kwargs)
        reached(f"after {name}")
        return answer

    return stepped


def _between_async(call: Callable[..., Any], name: str, reached: Reached) -> Callable[..., Any]:
    @wraps(call)
    async def stepped(*args: Any, **kwargs: Any) -> Any:
        reached(f"before {name}")
        answer = await call(*args, **kwargs)
        reached(f"after {name}")
        return answer

    return stepped
