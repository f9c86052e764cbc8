"""Results on stdout: tables for people, one JSON document for programs, plain rows for pipes."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from speakerbot.clock import utc_text

Row = Sequence[object]


def utc(at: datetime | None) -> str | None:
    """An instant as each of our JSON documents shows it: ISO 8601, in UTC, ending in Z."""
    return None if at is None else utc_text(at)


def on_terminal() -> bool:
    return sys.stdout.isatty()


def emit_json(document: Any) -> None:
    """Instants in it are written as :func:`utc` has them."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=utc) + "\n")


def say(text: str) -> None:
    """One line for people, on stdout."""
    sys.stdout.write(text + "\n")


def amount(number: int, noun: str) -> str:
    """``1 talk``, ``2,000 talks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(value: object) -> str:
    """A cell on one line, whatever it holds."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return " ".join(str(value).split()).translate(_CONTROLS)


_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")
"""Escape sequences in a topic must not steer the terminal of who reads it."""


def table(
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    empty: str,
    title: str = "",
    whole: Collection[str] = (),
) -> None:
    """A drawn table on a terminal; elsewhere tab-separated rows, neither wrapped nor shortened.

    The columns ``whole`` are never wrapped on a terminal either: dates, numbers."""
    if not on_terminal():
        _rows(columns, rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    Console().print(drawn if drawn.row_count else Text(empty, style="dim"))


def _rows(columns: Sequence[str], rows: Iterable[Row]) -> None:
    sys.stdout.write("\t".join(columns) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(plain(cell) for cell in row) + "\n")
