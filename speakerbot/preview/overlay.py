"""A store for trying things out: it reads the real one, and keeps what is written to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import date, datetime
from functools import cached_property
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, cast

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.person import Person
from speakerbot.domain.server_event import EventChange, EventRecord
from speakerbot.domain.talk import Talk
from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot
from speakerbot.ports.store import Ledger, People, ServerEvents, Snapshots, Store, nouns

_Records = dict[str, Delivery | None]


def overlay(below: Store) -> Store:
    """Jobs decide, and their steps are carried out, on it as on the real one, which never changes.

    Deliveries, snapshots and what is remembered of events can be written; what writes anything else
    is a bug, and raises."""
    return cast("Store", _Overlay(below))


class _Overlay:
    def __init__(self, below: Store) -> None:
        self._below = below
        for noun, writes in nouns().items():
            setattr(self, noun, _ReadOnly(getattr(below, noun), writes))
        self.ledger = _Ledger(below.ledger)
        self.snapshots = _Snapshots(below.snapshots)
        self.people = _Remembered(below.people)
        self.calendar = _Unread()
        self.server_events = _ServerEvents(below.server_events)

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


class _ServerEvents:
    """``ports.ServerEvents``: what is below as it was when it was first asked for, and then as it
    was written here."""

    def __init__(self, below: ServerEvents) -> None:
        self._below = below

    @cached_property
    def _records(self) -> dict[str, EventRecord]:
        return {record.talk_id: record for record in self._below.all()}

    def all(self) -> Iterator[EventRecord]:
        return iter(list(self._records.values()))

    def swap(self, changes: Sequence[EventChange]) -> set[str]:
        won = [each for each in changes if self._records.get(each.talk_id) == each.before]
        for each in won:
            self._records.pop(each.talk_id, None)
            if each.after:
                self._records[each.talk_id] = each.after
        return {each.talk_id for each in won}


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


class _Ledger:
    """``ports.Ledger``: reads what is below, with what was written here on top of it."""

    def __init__(self, below: Ledger) -> None:
        self._below = below
        self._written: _Records = {}
        """None: deleted here."""
        self._covered: _Records = {}
        """What is below each key that was written here."""

    def get(self, keys: Sequence[str]) -> dict[str, Delivery]:
        below = [key for key in keys if key not in self._written]
        found = self._below.get(below) if below else {}
        here = {key: record for key in keys if (record := self._written.get(key))}
        return {**found, **here}

    def swap(self, changes: Sequence[DeliveryChange]) -> set[str]:
        current = self.get([change.key for change in changes])
        won = [change for change in changes if _starts_from(change, current.get(change.key))]
        for change in won:
            self._covered.setdefault(change.key, current.get(change.key))
            self._written[change.key] = change.after
        return {change.key for change in won}

    def list(self, *, state: str | None = None, limit: int = 100) -> Iterator[Delivery]:
        below = self._below.list(state=state, limit=limit + len(self._written))
        here = [each for each in self._here() if state is None or each.state == state]
        return self._merged(here, below, limit)

    def find(self, recipient_or_subject: str, *, limit: int = 100) -> Iterator[Delivery]:
        below = self._below.find(recipient_or_subject, limit=limit + len(self._written))
        here = [
            each for each in self._here() if recipient_or_subject in (each.recipient, each.subject)
        ]
        return self._merged(here, below, limit)

    def unsettled(self, expired_by: datetime) -> Iterator[Delivery]:
        return self._below.unsettled(expired_by)  # what looks ahead leaves them to the runs

    def flagged(self, subjects: Sequence[str]) -> Sequence[Delivery]:
        below = (r for r in self._below.flagged(subjects) if r.key not in self._written)
        here = (r for r in self._here() if r.flag_at and r.subject in subjects)
        return [*below, *here]

    def counts(self, *, since: datetime) -> dict[str, int]:
        counted = Counter(self._below.counts(since=since))
        counted.subtract(_counted(self._covered.values(), since))
        counted.update(_counted(self._written.values(), since))
        return dict(+counted)

    def prune(self, before: datetime, limit: int | None = None) -> int:  # noqa: ARG002
        return 0  # nothing grows old here

    def forget_texts(self, before: datetime, limit: int | None = None) -> int:  # noqa: ARG002
        return 0

    def _here(self) -> Iterator[Delivery]:
        return (record for record in self._written.values() if record is not None)

    def _merged(
        self, here: Iterable[Delivery], below: Iterable[Delivery], limit: int
    ) -> Iterator[Delivery]:
        newest_first = attrgetter("updated_at")
        mine = sorted(here, key=newest_first, reverse=True)
        rest = (record for record in below if record.key not in self._written)
        return islice(merge(mine, rest, key=newest_first, reverse=True), limit)


def _starts_from(change: DeliveryChange, current: Delivery | None) -> bool:
    before = change.before
    if before is None or current is None:
        return before is current
    return before.revision == current.revision


def _counted(records: Iterable[Delivery | None], since: datetime) -> Counter[str]:
    """As ``ports.Ledger.counts`` counts."""
    return Counter(
        record.state
        for record in records
        if record is not None
        and ((record.sent_at if record.state == DeliveryState.SENT else None) or record.updated_at)
        >= since
    )


class _Snapshots:
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
