"""Imports: the options they share, and what each row comes to, shown before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.output import emit_json, on_terminal, plain, say, table

if TYPE_CHECKING:
    from speakerbot.formats.import_rows import Difference, Import, Row

T = TypeVar("T")

File = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        allow_dash=True,
        metavar="FILE",
        help="CSV, .xlsx, JSON lines or a JSON array; - is standard input.",
    ),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="What a column holds whose name does not say it; ignore leaves it out.",
    ),
]
MOST_DRAWN = 200
"""Rows of a drawn table; more are printed plainly, which takes a hundredth of the time."""
SHOWN_CHANGES = 3


def show_rows(
    rows: Sequence[Row[T]],
    columns: Sequence[str],
    cells: Callable[[T], Sequence[object]],
    differences: Callable[[Row[T]], Iterable[Difference]],
) -> None:
    """Each row with what it is now and, where it changes something, ``field: old → new``."""
    lines = (
        (row.place, row.change, *cells(row.after), "; ".join(_changes(differences(row))))
        for row in rows
    )
    header = ("row", "" if on_terminal() else "change", *columns, "changes")
    if on_terminal() and len(rows) > MOST_DRAWN:
        for line in lines:
            say("  ".join(plain(cell) for cell in line if cell != ""))
        return
    table(header, lines, empty="", whole=("row", "", "when"))


def _changes(differences: Iterable[Difference]) -> Iterator[str]:
    for name, old, new in differences:
        yield f"{name.replace('_', ' ')}: {old or '(none)'} → {new or '(none)'}"


def say_notes(notes: Iterable[str]) -> None:
    """What was understood of a file that people had better check."""
    for note in notes:
        say(plain(f"note: {note}"))


def emit_import(
    plan: Import[T],
    document: Callable[[T], dict[str, Any]],
    differences: Callable[[Row[T]], Iterable[Difference]],
    notes: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    """The same as one JSON document."""
    emit_json(
        {
            "dry_run": dry_run,
            "counts": counts(plan),
            "rows": [
                {
                    "row": row.place,
                    "change": row.change,
                    "changes": {
                        name: {"old": old or None, "new": new or None}
                        for name, old, new in differences(row)
                    },
                    **document(row.after),
                }
                for row in plan.rows
            ],
            "notes": list(notes),
        }
    )


def counts(plan: Import[T]) -> dict[str, int]:
    return {
        "new": len(plan.new),
        "changed": len(plan.updated),
        "unchanged": plan.unchanged,
    }


def summary(plan: Import[T], noun: str, *, dry_run: bool) -> str:
    """``imported 9 talks: 8 new, 1 changed, 0 unchanged``; ``noun`` fits the number."""
    each = ", ".join(f"{number:,} {change}" for change, number in counts(plan).items())
    return f"{'would import' if dry_run else 'imported'} {len(plan.rows):,} {noun}: {each}"
