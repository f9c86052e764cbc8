"""Snapshots on which one may write without changing those below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime

from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot
from speakerbot.ports.store import Snapshots


class OverlaidSnapshots:
    """``ports.Snapshots`` over talks that stay as they are: what is at rest stays so."""

    def __init__(self, below: Snapshots) -> None:
        self._below = below
        self._taken_here = False
        self._written: dict[tuple[str, str], TalkSnapshot] = {}
        self._restless: dict[tuple[str, str], TalkPair] | None = None

    def taken(self) -> bool:
        return self._taken_here or self._below.taken()

    def take(self, at: datetime) -> None:  # noqa: ARG002  # nothing of it is ever announced
        if not self.taken():
            self._taken_here = True

    def differing(self, since: date | None = None) -> Iterator[TalkPair]:
        pairs = list(self._restless_from(since).values())
        return (pair for pair in pairs if since is None or pair.concerns(since))

    def pending(self) -> Iterator[TalkPair]:
        return (pair for pair in self.differing() if pair.entry and pair.entry.pending)

    def advance(self, steps: Sequence[tuple[TalkSnapshot | None, TalkSnapshot]]) -> None:
        restless = self._restless_from(None)
        for before, after in steps:
            pair = restless.get((after.talk_id, after.user_id))
            if pair is None or pair.entry != before:
                continue
            self._written[pair.key] = after
            restless[pair.key] = replace(pair, entry=after)
            if restless[pair.key].at_rest():
                del restless[pair.key]

    def all(self) -> Iterator[TalkSnapshot]:
        return (self._written.get((e.talk_id, e.user_id), e) for e in self._below.all())

    def _restless_from(self, since: date | None) -> dict[tuple[str, str], TalkPair]:
        """What is not at rest; read once, by the first run, whose day no later one goes back
        behind."""
        if self._restless is None:
            below = () if self._taken_here else self._below.differing(since)
            self._restless = {pair.key: pair for pair in below}
        return self._restless
