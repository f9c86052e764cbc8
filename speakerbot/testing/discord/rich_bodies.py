"""Embeds and components as Discord gives them back: with what it adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

Json = dict[str, Any]


def embed_bodies(embeds: list[Json]) -> list[Json]:
    return [_embed(embed) for embed in embeds]


def component_bodies(components: list[Json]) -> list[Json]:
    """Components are numbered through the message, unless they have an ``id``."""
    return _numbered(components, count(1))


def _embed(embed: Json) -> Json:
    body = {"type": "rich", **embed}
    if "fields" in embed:
        body["fields"] = [{"inline": False, **field} for field in embed["fields"]]
    return body


def _numbered(components: list[Json], numbers: Iterator[int]) -> list[Json]:
    bodies = []
    for component in components:
        body = {"id": next(numbers), **component}
        if "components" in component:
            body["components"] = _numbered(component["components"], numbers)
        bodies.append(body)
    return bodies
