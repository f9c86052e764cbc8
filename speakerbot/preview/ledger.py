"""A ledger on which one may write without changing the one below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from operator import attrgetter

from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.ports.store import Ledger

Records = dict[str, Delivery | None]


class OverlaidLedger:
    """``ports.Ledger``: reads what is below, with what was written here on top of it."""

    def __init__(self, below: Ledger) -> None:
        self._below = below
        self._written: Records = {}
        """None: deleted here."""
        self._covered: Records = {}
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
