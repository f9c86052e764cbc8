"""The values a text is made with: what each text is given, and how they reach the template:
escaped, in lists that keep to the time, shortened where the text gets too long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speakerbot.domain.message import ReaderTime
from speakerbot.text import length, name_custom_emoji, shorten

if TYPE_CHECKING:
    from speakerbot.ports.channel import Capabilities

SAMPLES: Final = Path(__file__).with_name("samples.json")
SECONDS: Final = 1.0
"""How long making one text may take, unless told otherwise."""

Place = tuple[Any, ...]
"""Keys and indexes that lead to one text among nested values."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a job gives to one of its texts: the names of its values, the attributes of the
    objects among them, and which of both are lists."""

    names: frozenset[str]
    attributes: frozenset[str]
    lists: frozenset[str]


@cache
def samples() -> dict[str, list[dict[str, Any]]]:
    """Examples of each text's values, by its name; together they name every value there is."""
    text = SAMPLES.read_text("utf-8")
    read: dict[str, list[dict[str, Any]]] = json.loads(text, object_hook=_sample)
    return read


def _sample(value: dict[str, Any]) -> Any:
    """``{"reader_time": …, "style": …}`` as the value it stands for."""
    if "reader_time" not in value:
        return value
    at = datetime.fromisoformat(value["reader_time"])
    return ReaderTime(at, value["style"], f"{at:%A %Y-%m-%d, %H:%M}")


def given(name: str) -> Given:
    """What the text of that name is given, read from its examples."""
    examples = samples().get(name, [])
    nested = [pair for values in examples for item in values.values() for pair in _pairs(item)]
    pairs = [*nested, *(pair for values in examples for pair in values.items())]
    return Given(
        names=frozenset(key for values in examples for key in values),
        attributes=frozenset(key for key, _ in nested),
        lists=frozenset(key for key, item in pairs if isinstance(item, list)),
    )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Key and value of every object in it, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key, item
            yield from _pairs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item)


class RenderingStopped(Exception):
    """A template asked for too much; the message says of what."""


class Deadline:
    """Until when one text must be made, however often it takes to make it short enough."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises RenderingStopped when it has passed."""
        if time.monotonic() > self._end:
            raise RenderingStopped(f"rendering takes longer than {self.seconds:g} s")


class _TimedList(list[Any]):
    """A list over which no loop runs past the deadline, not even one that shows nothing."""

    def __init__(self, items: Iterator[Any], deadline: Deadline) -> None:
        super().__init__(items)
        self._deadline = deadline

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self._deadline.check()
            yield item


def prepared(value: Any, rules: Capabilities, deadline: Deadline) -> Any:
    """The same for a template of a channel with these rules: every text in it escaped, at any
    depth, times as the channel shows them, and lists that keep to the deadline."""
    if isinstance(value, str):
        return rules.escape(value)
    if isinstance(value, ReaderTime):
        return rules.reader_time(value)
    if isinstance(value, Mapping):
        return {key: prepared(item, rules, deadline) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _TimedList((prepared(item, rules, deadline) for item in value), deadline)
    return value


def cut_longest(values: Mapping[str, Any], over: int, rules: Capabilities) -> dict[str, Any] | None:
    """The same with its longest text shortened by ``over`` characters, but to no less than half:
    others may be nearly as long. None if there is nothing left to shorten."""

    def size(text: str) -> int:
        return rules.length(rules.escape(text))

    longest = max(_texts(values, ()), key=lambda found: size(found[1]), default=None)
    if longest is None or not longest[1]:
        return None
    place, text = longest[0], name_custom_emoji(longest[1])
    now, shown = length(text), size(text)
    # In proportion: a character that is escaped takes two places in the message.
    most = min(now * max(shown - over, shown // 2) // max(shown, 1), now - 1)
    if most < 1:
        return None
    cut: dict[str, Any] = _replaced(values, place, shorten(text, most))
    return cut


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*place, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(item, (*place, index))


def _replaced(value: Any, place: Place, text: str) -> Any:
    if not place:
        return text
    first, *rest = place
    if isinstance(value, Mapping):
        return {**value, first: _replaced(value[first], tuple(rest), text)}
    return [
        _replaced(item, tuple(rest), text) if index == first else item
        for index, item in enumerate(value)
    ]
