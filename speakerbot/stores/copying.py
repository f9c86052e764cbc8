"""Copies what a store holds into another, through the ports alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from speakerbot.clock import real_now
from speakerbot.domain.delivery import DeliveryChange
from speakerbot.ports.store import Store

T = TypeVar("T")
_CHUNK = 500
_ALL = 1_000_000_000


def copy(source: Store, target: Store) -> None:
    """Copies talks, people, the announcement channels, the ledger, the snapshot and the calendar
    into the empty ``target``; ``source`` is only read. Shared limits and run records stay behind:
    they are not the data."""
    if source.snapshots.taken():
        target.snapshots.take(real_now())  # of no talks yet
    for entries in _chunks(source.snapshots.all()):
        target.snapshots.advance([(None, entry) for entry in entries])
    for shown in _chunks(source.calendar.all()):
        target.calendar.advance([(None, entry) for entry in shown])
    for talks in _chunks(source.talks.all()):
        target.talks.put(talks)
    for people in _chunks(source.people.all()):
        target.people.put(people)
    for records in _chunks(source.ledger.list(limit=_ALL)):
        target.ledger.swap([DeliveryChange(None, record) for record in records])
    for guild in source.guilds.all():
        target.guilds.set_channel(
            str(guild["guildId"]),
            str(guild["proactiveAnnouncementsChannelId"]),
            by=str(guild["updatedBy"]),
            at=guild["updatedAt"],
        )


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
