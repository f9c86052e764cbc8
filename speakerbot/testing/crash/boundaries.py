"""The points at which a run may die: before and after each write to the store and each request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar, cast

from speakerbot.ports.store import Store

T = TypeVar("T")
Reached = Callable[[str], None]
"""Hears of every boundary as it is reached, from whichever thread; may not return."""

WRITES = {
    "talks": ("put", "reschedule", "delete", "write_flags"),
    "people": ("put", "change"),
    "ledger": ("swap", "prune"),
    "runs": ("put",),
    "occurrences": ("swap", "supersede"),
    "snapshots": ("take", "advance"),
    "calendar": ("advance",),
    "limits": ("reserve", "set_breaker", "remember_dms"),
    "guilds": ("set_channel",),
}
REQUESTS = ("open_dm", "send", "find", "posts", "edit", "unarchive")


def stepping(port: T, methods: tuple[str, ...], name: str, reached: Reached) -> T:
    """``port``, with a boundary before and after each call of ``methods``."""
    return cast("T", _Stepping(port, methods, name, reached))


class SteppingStore:
    """``store``, with a boundary before and after each write."""

    def __init__(self, store: Store, reached: Reached) -> None:
        self._store = store
        self.talks = stepping(store.talks, WRITES["talks"], "talks", reached)
        self.people = stepping(store.people, WRITES["people"], "people", reached)
        self.ledger = stepping(store.ledger, WRITES["ledger"], "ledger", reached)
        self.runs = stepping(store.runs, WRITES["runs"], "runs", reached)
        self.occurrences = stepping(store.occurrences, WRITES["occurrences"], "occ", reached)
        self.snapshots = stepping(store.snapshots, WRITES["snapshots"], "snapshots", reached)
        self.calendar = stepping(store.calendar, WRITES["calendar"], "calendar", reached)
        self.limits = stepping(store.limits, WRITES["limits"], "limits", reached)
        self.guilds = stepping(store.guilds, WRITES["guilds"], "guilds", reached)

    def prepare(self) -> None:
        self._store.prepare()

    def check(self) -> None:
        self._store.check()

    def at_once(self) -> AbstractContextManager[None]:
        return self._store.at_once()

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> None:
        self._store.close()


class _Stepping:
    def __init__(self, port: object, methods: tuple[str, ...], name: str, reached: Reached) -> None:
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
