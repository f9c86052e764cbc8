"""What one rendering may cost: time, output, and the size of every value on the way.

Python cannot interrupt ``'a' * 10**10``, and a signal reaches no worker thread: so nothing large
is ever begun. Every value of a template passes through here; from small values, a step whose cost
is bounded by their sizes makes the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

SECONDS = 1.0
MOST = 64 * 1024
"""Characters of output; characters and items of one value."""
MOST_SOURCE = 16 * 1024
"""Characters of a template: compiling takes time as well."""
MOST_WORK = 16 * 1024 * 1024
"""Size of a value times that of the arguments it is worked on with: some 10 ms."""
MOST_BITS = 64
"""Of a number."""


class LimitExceeded(Exception):
    """A template asked for too much; the message says of what."""


@dataclass(slots=True)
class Budget:
    """Of one rendering. ``seconds`` is real time."""

    seconds: float = SECONDS
    written: int = 0
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def look(self, value: Any) -> Any:
        """The value, if it is small enough and there is time left."""
        if time.monotonic() > self._end:
            raise LimitExceeded(f"rendering takes longer than {self.seconds:g} s")
        size(value)
        return value

    def work(self, value: Any, arguments: Iterable[Any]) -> None:
        """Asks before a filter or a method works on ``value``: some cost the product of all."""
        others = sum(size(argument) + _magnitude(argument) for argument in arguments)
        if size(value) * (1 + others) > MOST_WORK:
            raise LimitExceeded("an argument is too large")

    def write(self, value: Any) -> str:
        """The value as text, counted as output."""
        text = str(self.look(value))
        self.written += len(text)
        if self.written > MOST:
            raise LimitExceeded(f"the text is longer than {MOST // 1024} kB")
        return text


def size(value: Any) -> int:
    """Characters and items in it, all levels; LimitExceeded as soon as they are too many."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        total += 1
        if isinstance(item, (str, bytes, range)):
            total += len(item)
        elif isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set)):
            waiting += item
        elif isinstance(item, int) and item.bit_length() > MOST_BITS:
            raise LimitExceeded("a number is too large")
        if total > MOST:
            raise LimitExceeded(f"a value has more than {MOST:,} characters or items")
    return total


def listed(value: Any) -> Any:
    """What comes one by one, as a list whose size can be seen."""
    return list(islice(value, MOST + 1)) if isinstance(value, Iterator) else value


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Asks before ``left operator right`` is computed."""
    match operator, left, right:
        case "*", str() | bytes() | list() | tuple(), int():
            _check_length(len(left) * right)
        case "*", int(), str() | bytes() | list() | tuple():
            _check_length(left * len(right))
        case "**", int(), int():
            if left.bit_length() * right > MOST_BITS:
                raise LimitExceeded("a number is too large")
        case "%", str() | bytes(), _:
            raise LimitExceeded("% is not possible here: join texts with ~")


def _check_length(length: int) -> None:
    if length > MOST:
        raise LimitExceeded(f"a value has more than {MOST:,} characters or items")


def _magnitude(argument: Any) -> int:
    return abs(argument) if isinstance(argument, int) else 0


budget: ContextVar[Budget] = ContextVar("budget")
"""The budget of the rendering under way in this thread; unset while a template is compiled."""
