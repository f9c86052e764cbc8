"""How values stand in columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@overload
def to_ms(instant: datetime) -> int: ...
@overload
def to_ms(instant: datetime | None) -> int | None: ...
def to_ms(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // _MILLISECOND


@overload
def from_ms(ms: int) -> datetime: ...
@overload
def from_ms(ms: int | None) -> datetime | None: ...
def from_ms(ms: int | None) -> datetime | None:
    return None if ms is None else _EPOCH + ms * _MILLISECOND


def instant(ms: Any) -> Any:
    """As :func:`from_ms`; what is not an instant stays as it is, for its reader to judge."""
    try:
        return from_ms(ms)
    except (TypeError, OverflowError):
        return ms


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def from_json(text: Any) -> Any:
    """What a JSON text holds; what is not JSON stays as it is, for its reader to judge."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return text


def placeholders(count: int) -> str:
    """Placeholders for that many values."""
    return ",".join("?" * count)
