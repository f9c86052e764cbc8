"""What a job writes down, as data. Jobs only say it; the runner carries it out here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from speakerbot import booking

if TYPE_CHECKING:
    from speakerbot.domain.confirmation import Answer
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.message import Message
    from speakerbot.domain.server_event import EventChange
    from speakerbot.domain.service_request import ServiceRequest
    from speakerbot.domain.talk_changes import TalkSnapshot
    from speakerbot.ports.store import Store

BATCH = 200
"""Snapshots that advance in one write."""


@dataclass(frozen=True, slots=True)
class FollowTalks:
    """Brings what calendar programs are told of talks up to date, from that day on."""

    since: date


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Takes the first snapshot of all talks, if there is none."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Void:
    """The ledger is to refuse this message for ever. ``record`` is what it has of it now."""

    message: Message
    record: Delivery | None
    reason: str


@dataclass(frozen=True, slots=True)
class AdvanceSnapshot:
    """From exactly one entry (None: there is none) to the next; only once ``void``, where there is
    one, has won in the ledger: an entry advances past a notice that no run will send any more."""

    before: TalkSnapshot | None
    after: TalkSnapshot
    void: Void | None = None


@dataclass(frozen=True, slots=True)
class KeepAnswer:
    """A speaker has answered."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class RememberEvents:
    """What is remembered of the server's events; of each talk at most one change."""

    changes: tuple[EventChange, ...]


Step = FollowTalks | TakeSnapshot | AdvanceSnapshot | KeepAnswer | RememberEvents


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request that is made only once its change has been won: what twice would do harm."""

    claim: EventChange
    request: ServiceRequest[Any]


def claimed(
    asks: Iterable[ServiceRequest[Any] | Claimed], store: Store
) -> list[ServiceRequest[Any]]:
    """Those to be made, in their order. Claims are taken in one go."""
    asked = list(asks)
    claims = [each.claim for each in asked if isinstance(each, Claimed)]
    talks = store.server_events.swap(claims) if claims else set()
    return [
        each.request if isinstance(each, Claimed) else each
        for each in asked
        if not isinstance(each, Claimed) or each.claim.talk_id in talks
    ]


def carry_out(steps: Iterable[Step], store: Store, real: datetime) -> None:
    """Each in turn, before the next one is asked for; snapshots advance in batches. ``real`` is the
    real time. A crash between any two leaves work that the same steps, decided again, complete."""
    batch: list[AdvanceSnapshot] = []
    for step in steps:
        if isinstance(step, AdvanceSnapshot):
            batch.append(step)
            if len(batch) < BATCH:
                continue
        _advance(batch, store, real)
        batch = []
        match step:
            case TakeSnapshot():
                store.snapshots.take(step.at)
            case KeepAnswer(answer):
                store.answers.put([answer])
            case RememberEvents(changes):
                store.server_events.swap(changes)
            case FollowTalks():
                booking.follow(store.calendar, real, step.since)
    _advance(batch, store, real)


def _advance(batch: list[AdvanceSnapshot], store: Store, real: datetime) -> None:
    won = _voided([step.void for step in batch if step.void], store, real)
    advancing = [
        (step.before, step.after)
        for step in batch
        if step.void is None or step.void.message.key in won
    ]
    if advancing:
        store.snapshots.advance(advancing)


def _voided(voids: list[Void], store: Store, real: datetime) -> set[str]:
    """The keys of those that the ledger now refuses."""
    if not voids:
        return set()
    from speakerbot.delivery.transitions import void  # most runs write nothing down

    return store.ledger.swap([void(v.message, v.record, v.reason, real) for v in voids])
