"""A store for trying things out: it reads the real one, and keeps what is written to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Calendar, Ledger, People, Snapshots, Store
from speakerbot.preview.ledger import OverlaidLedger
from speakerbot.preview.snapshots import OverlaidSnapshots


class Overlay:
    """``ports.Store``: jobs decide and settle on it as on the real one, which never changes.

    Deliveries and snapshots can be written; so far no job writes anything else. Talks and people
    are taken to stay as they are.
    """

    def __init__(self, below: Store) -> None:
        self._below = below
        self.ledger: Ledger = OverlaidLedger(below.ledger)
        self.snapshots: Snapshots = OverlaidSnapshots(below.snapshots)
        self.people: People = _Remembered(below.people)
        self.talks = below.talks
        self.calendar: Calendar = _Unread()
        self.runs = below.runs
        self.occurrences = below.occurrences
        self.limits = below.limits
        self.guilds = below.guilds

    def prepare(self) -> None:
        pass

    def check(self) -> None:
        pass

    def at_once(self) -> AbstractContextManager[None]:
        return nullcontext()

    def describe(self) -> str:
        return self._below.describe()

    def close(self) -> None:
        """Leaves the real one open."""


class _Unread:
    """A calendar: looking ahead at messages changes no talk, and nobody asks for it there."""

    def get(self, talk_id: str) -> CalendarEntry | None:  # noqa: ARG002
        return None

    def all(self) -> Iterator[CalendarEntry]:
        return iter(())

    def differing(self) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        return iter(())

    def advance(self, steps: Sequence[tuple[CalendarEntry | None, CalendarEntry]]) -> None:
        raise NotImplementedError("talks do not change while one looks ahead")


class _Remembered:
    """People, all of them read at most once: a month's daily digests each look at everybody."""

    def __init__(self, below: People) -> None:
        self._below = below

    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        return self._below.by_users(user_ids)

    def get(self, user: str) -> Person | None:
        return self._below.get(user)

    def all(self) -> Iterator[Person]:
        return iter(self._all)

    def put(self, people: Sequence[Person]) -> None:
        raise NotImplementedError("people do not change while one looks ahead")

    def change(
        self, user: str, update: Callable[[Person], Person], newcomer: Callable[[], Person]
    ) -> tuple[Person, Person]:
        raise NotImplementedError("people do not change while one looks ahead")

    @cached_property
    def _all(self) -> tuple[Person, ...]:
        return tuple(self._below.all())
