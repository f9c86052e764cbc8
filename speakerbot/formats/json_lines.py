"""JSON documents, one a line or in one array, as ``mongoexport`` and ``--jsonArray`` write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from speakerbot.formats.source import Source

Document = dict[str, Any]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PLACE = re.compile(r" \(byte (\d+)\)$")


def documents(source: Source) -> Iterator[tuple[str, Document]]:
    """Every document with its place. What is not a document becomes a problem of the source."""
    if source.text.lstrip().startswith("["):
        yield from _array(source)
        return
    for number, line in source.lines():
        yield from _document(source, f"line {number}", line.encode())


def _array(source: Source) -> Iterator[tuple[str, Document]]:
    data = source.text.encode()
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        source.problems.add(_line_of(data, error), _reason(error))
        return
    for number, item in enumerate(items, 1):
        yield from _document(source, f"document {number}", bytes(item))


def _document(source: Source, place: str, data: bytes) -> Iterator[tuple[str, Document]]:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        source.problems.add(place, _reason(error, data))
        return
    if isinstance(document, dict):
        yield place, document
    else:
        source.problems.add(place, "not a document: it must begin with { and end with }")


def _reason(error: Exception, data: bytes = b"") -> str:
    if isinstance(error, RecursionError):
        return "not JSON: nested too deeply"
    if _SURROGATE.search(data.decode()):
        # msgspec calls half of a surrogate pair a truncated text.
        return "not JSON, or it holds half a character (a lone \\ud800 to \\udfff)"
    what = str(error).removeprefix("JSON is malformed: ").replace("Input data was", "it is")
    hint = ""
    if data.strip() in (b"{", b"[", b"}", b"]"):
        hint = "; write each document on one line, as mongoexport does without --pretty"
    return f"not JSON: {_PLACE.sub(_from_one, what)}{hint}"


def _from_one(found: re.Match[str]) -> str:
    return f" at byte {int(found[1]) + 1}"


def _line_of(data: bytes, error: Exception) -> str:
    found = _PLACE.search(str(error))
    before = data.count(b"\n", 0, int(found[1])) if found else None
    return "" if before is None else f"line {before + 1}"


def write_lines(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One compact document a line."""
    for item in items:
        yield json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n"
