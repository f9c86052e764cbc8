"""The points at which a run may die: before and after each write to the store and each request."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from speakerbot.ports.channel import OnLimited
from speakerbot.ports.store import Store, nouns

if TYPE_CHECKING:
    from speakerbot.delivery.session import Connect, CountingChannel

T = TypeVar("T")
Reached = Callable[[str], None]
"""Hears of every boundary as it is reached, from whichever thread; may not return."""

DISCORD = "discord"
"""What boundaries at the channel are called by."""
REQUESTS = ("open_dm", "send", "find", "posts", "edit", "unarchive")


def stepping(port: T, methods: Collection[str], name: str, reached: Reached) -> T:
    """``port``, with a boundary before and after each call of ``methods``."""
    return cast("T", _Stepping(port, methods, name, reached))


def stepping_store(store: Store, reached: Reached) -> Store:
    """``store``, with a boundary before and after each write of each noun."""
    return cast("Store", _SteppingStore(store, reached))


def stepping_connect(connect: Connect, reached: Reached) -> Connect:
    """``connect``, with a boundary before and after each request of the channel that it opens."""

    @asynccontextmanager
    async def stepped(on_limited: OnLimited) -> AsyncIterator[CountingChannel]:
        async with connect(on_limited) as channel:
            yield stepping(channel, REQUESTS, DISCORD, reached)

    def connected(on_limited: OnLimited) -> AbstractAsyncContextManager[CountingChannel]:
        return stepped(on_limited)

    return connected


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
