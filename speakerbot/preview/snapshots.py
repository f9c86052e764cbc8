"""Snapshots on which one may write without changing those below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot
from speakerbot.ports.store import Snapshots


class OverlaidSnapshots:
    """``ports.Snapshots`` over talks that stay as they are: what is at rest stays so."""

    def __init__(self, below: Snapshots) -> None:
        self._below = below
        self._taken_here = False
        self._written: dict[tuple[str, str], TalkSnapshot] = {}

    def taken(self) -> bool:
        return self._taken_here or self._below.taken()

    def take(self, at: datetime) -> None:  # noqa: ARG002  # nothing of it is ever announced
        if not self.taken():
            self._taken_here = True

    def differing(self) -> Iterator[TalkPair]:
        return iter(list(self._restless.values()))

    def pending(self) -> Iterator[TalkPair]:
        return (pair for pair in self.differing() if pair.entry and pair.entry.pending)

    def advance(self, steps: Sequence[tuple[TalkSnapshot | None, TalkSnapshot]]) -> None:
        for before, after in steps:
            pair = self._restless.get((after.talk_id, after.user_id))
            if pair is None or pair.entry != before:
                continue
            self._written[pair.key] = after
            self._restless[pair.key] = replace(pair, entry=after)
            if self._restless[pair.key].at_rest():
                del self._restless[pair.key]

    def all(self) -> Iterator[TalkSnapshot]:
        return (self._written.get((e.talk_id, e.user_id), e) for e in self._below.all())

    @cached_property
    def _restless(self) -> dict[tuple[str, str], TalkPair]:
        if self._taken_here:
            return {}
        return {pair.key: pair for pair in self._below.differing()}
