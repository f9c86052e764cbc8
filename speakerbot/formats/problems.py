"""What is wrong with a file, collected so that people are told everything at once."""

from __future__ import annotations

from speakerbot.errors import InputRefused

MOST_SHOWN = 50


class ImportProblems:
    """``source`` names the file. Every problem names its place in it, and the field."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []

    def add(self, place: str, what: str, *, field: str = "") -> None:
        where = ", ".join(part for part in (place, field) if part)
        self.found.append(f"{where}: {what}" if where else what)

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
