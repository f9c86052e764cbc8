"""The values a text is made with: escaped, and shortened where the text gets too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speakerbot.text import escape, length, name_custom_emoji, shorten

Place = tuple[Any, ...]
"""Keys and indexes that lead to one text among nested values."""


def escaped(value: Any) -> Any:
    """The same with every text in it escaped for Discord, at any depth."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escaped(item) for item in value]
    return value


def cut_longest(values: Mapping[str, Any], over: int) -> dict[str, Any] | None:
    """The same with its longest text shortened by ``over`` characters, but to no less than half:
    others may be nearly as long. None if there is nothing left to shorten."""
    longest = max(_texts(values, ()), key=lambda found: length(escape(found[1])), default=None)
    if longest is None or not longest[1]:
        return None
    place, text = longest[0], name_custom_emoji(longest[1])
    now, shown = length(text), length(escape(text))
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
