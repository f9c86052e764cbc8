"""What is wrong with a file, collected so that people are told everything at once."""

from __future__ import annotations

from speakerbot.errors import InputRefused
from speakerbot.text import shorten

MOST_SHOWN = 50
LONGEST_SHOWN = 1000
"""Characters of a problem."""


class ImportProblems:
    """``source`` names the file. Every problem names its place in it, and the field."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []

    def add(self, place: str, what: str, *, field: str = "") -> None:
        where = ", ".join(part for part in (place, field) if part)
        shown = shorten(what, LONGEST_SHOWN)  # a cell may be a book
        self.found.append(f"{where}: {shown}" if where else shown)

    def refuse(self) -> None:
        """Raises InputRefused if anything is wrong."""
        if not self.found:
            return
        shown = self.found[:MOST_SHOWN]
        if more := len(self.found) - len(shown):
            shown.append(f"… and {more:,} more")
        raise InputRefused(self.source, shown)


class Unreadable(Exception):
    """Nothing of the file can be read from that place on. Whoever reads it makes it one of the
    problems."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(what)
        self.place = place
