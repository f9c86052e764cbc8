"""A store for trying things out: it reads the real one, and keeps what is written to itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from functools import cached_property
from typing import Any, cast

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import People, Store, nouns
from speakerbot.preview.ledger import OverlaidLedger
from speakerbot.preview.snapshots import OverlaidSnapshots


def overlay(below: Store) -> Store:
    """Jobs decide, and their steps are carried out, on it as on the real one, which never changes.

    Deliveries and snapshots can be written; what writes anything else is a bug, and raises."""
    return cast("Store", _Overlay(below))


class _Overlay:
    def __init__(self, below: Store) -> None:
        self._below = below
        for noun, writes in nouns().items():
            setattr(self, noun, _ReadOnly(getattr(below, noun), writes))
        self.ledger = OverlaidLedger(below.ledger)
        self.snapshots = OverlaidSnapshots(below.snapshots)
        self.people = _Remembered(below.people)
        self.calendar = _Unread()

    def describe(self) -> str:
        return self._below.describe()

    def at_once(self) -> AbstractContextManager[None]:
        return nullcontext()


class _ReadOnly:
    """A noun that stays as it is while one looks ahead."""

    def __init__(self, below: object, writes: Collection[str]) -> None:
        self._below, self._writes = below, writes

    def __getattr__(self, name: str) -> Any:
        if name in self._writes:
            raise NotImplementedError(f"{name}: nothing is written while one looks ahead")
        return getattr(self._below, name)


class _Unread:
    """A calendar: looking ahead at messages changes no talk, and jobs do not read it."""

    def get(self, talk_id: str) -> CalendarEntry | None:  # noqa: ARG002
        return None

    def all(self) -> Iterator[CalendarEntry]:
        return iter(())

    def differing(
        self,
        since: date | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        return iter(())

    def advance(self, steps: Sequence[tuple[CalendarEntry | None, CalendarEntry]]) -> None:
        raise NotImplementedError("talks do not change while one looks ahead")


class _Remembered(_ReadOnly):
    """People, all of them read at most once: a month's daily digests each look at everybody."""

    def __init__(self, below: People) -> None:
        super().__init__(below, nouns()["people"])
        self._people = below

    def all(self) -> Iterator[Person]:
        return iter(self._all)

    @cached_property
    def _all(self) -> tuple[Person, ...]:
        return tuple(self._people.all())
