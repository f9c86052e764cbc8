"""What a terminal can show beside tables: one thing in full, and how far a command has come."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cli.output import on_terminal, plain, say

T = TypeVar("T")

NARROW = 90
WORTH_A_BAR = 2_000


def narrow() -> bool:
    """A terminal without room for every column."""
    return on_terminal() and shutil.get_terminal_size().columns < NARROW


def ago(at: datetime, now: datetime) -> str:
    """How long ago that was, in one unit; the date where it is more than a month, or to come."""
    passed = now - at
    if not timedelta(minutes=-1) < passed < timedelta(days=31):
        return plain(at)
    minutes = max(0, passed // timedelta(minutes=1))
    for unit, size in (("d", 24 * 60), ("h", 60), ("min", 1)):
        if minutes >= size:
            return f"{minutes // size} {unit} ago"
    return "just now"


def show(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a field a line; fields without a value are left out on a terminal."""
    pairs = [(name, _cell(value)) for name, value in fields]
    if not on_terminal():
        for name, value in pairs:
            say(f"{name}\t{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            grid.add_row(name, Text(value))
    Console().print(grid)


def _cell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else plain(value)


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with a bar on stderr where that is a terminal and there are many."""
    if total < WORTH_A_BAR or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        items, description=what, total=total, console=Console(stderr=True), transient=True
    )


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One of a list of things that are too long for a table."""

    word: str
    style: str
    rest: str
    """Of the first line."""
    key: str
    note: str


def entries(items: Iterable[ListEntry], *, empty: str) -> None:
    """The key is left for the terminal to wrap, so that it is whole when it is copied."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console, shown = Console(), False
    for entry in items:
        shown = True
        console.print(Text(f"{entry.word:<14}", entry.style).append(entry.rest, "default"))
        console.print(Text(f"  {entry.key}"), soft_wrap=True)
        if entry.note:
            console.print(Padding(Text(entry.note, "dim"), (0, 0, 0, 2)))
    if not shown:
        console.print(Text(empty, style="dim"))
