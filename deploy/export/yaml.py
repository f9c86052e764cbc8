"""Writes YAML: mappings, lists, and unusual scalars as JSON, which YAML reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][\w./@-]*")
_SCRIPT = re.compile(r"([!-~][ -~]*\n){2,}")
"""Several plain lines: shown as they are."""
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def to_yaml(document: Mapping[str, Any]) -> str:
    """The document in block style."""
    return "\n".join(_block(document, 0)) + "\n"


def _block(value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _item(f"{pad}{_key(key)}:", item, depth)
    else:
        for item in value:
            if isinstance(item, Mapping) and item:
                first, *rest = _block(item, depth + 1)
                yield f"{pad}- {first.lstrip()}"
                yield from rest
            else:
                yield from _item(f"{pad}-", item, depth)


def _item(head: str, item: Any, depth: int) -> Iterator[str]:
    if isinstance(item, (Mapping, list)) and item:
        yield head
        yield from _block(item, depth + 1)
    elif isinstance(item, str) and _SCRIPT.fullmatch(item):
        yield f"{head} |"
        yield from ("  " * (depth + 1) + line if line else "" for line in item.splitlines())
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(item: Any) -> str:
    if isinstance(item, str) and _PLAIN.fullmatch(item) and item.lower() not in _WORDS:
        return item
    text = json.dumps(item, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in text)


def _key(key: str) -> str:
    # GitHub's own `on` is written bare by everybody, whatever YAML 1.1 takes it for.
    return key if key == "on" else _scalar(key)
