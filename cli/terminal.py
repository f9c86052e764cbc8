"""What a terminal can show beside tables: one thing in full, and how far a command has come."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cli.output import on_terminal, plain, say

T = TypeVar("T")

NARROW = 90
WORTH_A_BAR = 2_000


def narrow() -> bool:
    """A terminal without room for every column."""
    return on_terminal() and shutil.get_terminal_size().columns < NARROW


def show(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a field a line; fields without a value are left out on a terminal."""
    pairs = [(name, plain(value)) for name, value in fields]
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
