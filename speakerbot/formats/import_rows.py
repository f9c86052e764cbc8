"""What importing a file comes to, row by row: shown to people first, written after that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Difference = tuple[str, str, str]
"""A field, what it was and what it becomes; empty where there is nothing."""


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """One row of a file: what it is in the store, if anything, and what it makes of that."""

    place: str
    before: T | None
    after: T

    @property
    def change(self) -> Literal["new", "changed", "unchanged"]:
        if self.before is None:
            return "new"
        return "unchanged" if self.before == self.after else "changed"


@dataclass(slots=True)
class Import(Generic[T]):
    rows: list[Row[T]] = field(default_factory=list)

    @property
    def new(self) -> list[T]:
        return [row.after for row in self.rows if row.change == "new"]

    @property
    def updated(self) -> list[T]:
        return [row.after for row in self.rows if row.change == "changed"]

    @property
    def unchanged(self) -> int:
        return sum(1 for row in self.rows if row.change == "unchanged")


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """The fields of which one has another value, as people read them."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield name, _shown(old), _shown(new)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
