"""Outcomes on their way into the ledger: in batches, so a message costs no round trip of its own.

A crash loses at most the batch at hand; those claims stay unconfirmed, and recovery settles them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from speakerbot.delivery.claims import Claim, Revisions, restored
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.ports.store import FlagWrite, Store

BATCH = 200
FLUSH_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claim: the record to keep, None to keep none."""

    claim: Claim
    after: Delivery | None
    given_back: bool = False
    again: bool = False
    """This run tries it once more: what is told of it is told then."""


@dataclass(slots=True)
class Results:
    """Collects outcomes and writes them. ``report`` is called with each once it is in the store,
    in the store's thread: showing it delays no message, and is never done twice at once."""

    store: Store
    thread: StoreThread
    report: Callable[[Result], None]
    done_with: Callable[[Claim], None]
    """Called with each claim once its result is in the store."""
    revisions: Revisions
    notifies: Callable[[Delivery], bool]
    """Whether people are told at once of what was sent so."""
    _waiting: list[Result] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def full(self) -> bool:
        """Enough wait to be flushed."""
        return len(self._waiting) >= BATCH

    def add(self, claim: Claim, after: Delivery, *, again: bool = False) -> None:
        self._waiting.append(Result(claim, after, again=again))

    def give_back(self, claim: Claim) -> None:
        """Puts the record back as it was before this run; no attempt is counted."""
        before = restored(claim.before, self.revisions)
        self._waiting.append(Result(claim, before, given_back=True))

    async def flush(self) -> None:
        """Writes all that waits, and all that somebody else is writing. Raises what the store
        raises; then the claims stay unconfirmed."""
        # What was taken is written, even if whoever waits for it is cancelled.
        await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        async with self._writing:
            batch, self._waiting = self._waiting, []
            if batch:
                await self.thread(self._write, batch)
            for result in batch:
                self.done_with(result.claim)

    def _write(self, batch: list[Result]) -> None:
        # The flag goes first: a record that says "failed" promises that the Node bot may send.
        if flags := [each for result in batch for each in flag_restored(result, self.notifies)]:
            self.store.talks.write_flags(flags)
        won = self.store.ledger.swap([DeliveryChange(r.claim.record, r.after) for r in batch])
        for result in batch:
            after = result.after
            if after is not None and after.key not in won and after.state == DeliveryState.SENT:
                insist = self._forget_text if result.claim.message.edit else self._insist
                insist(after)
            if not result.again:
                self.report(result)

    def _insist(self, sent: Delivery) -> None:
        """Another run took the claim over while ours was under way. It was accepted all the same,
        and that is what the ledger must say in the end."""
        for _ in range(5):
            current = self.store.ledger.get([sent.key]).get(sent.key)
            if current is not None and current.state == DeliveryState.SENT:
                return
            mine = sent._replace(revision=self.revisions.next())
            if self.store.ledger.swap([DeliveryChange(current, mine)]):
                return

    def _forget_text(self, edited: Delivery) -> None:
        """Another run edited the post while ours did. Nobody knows whose text it shows now, so
        the next run edits it in any case."""
        for _ in range(5):
            current = self.store.ledger.get([edited.key]).get(edited.key)
            if current is None:
                return
            unknown = current._replace(text="", revision=self.revisions.next())
            if self.store.ledger.swap([DeliveryChange(current, unknown)]):
                return


def flag_restored(result: Result, notifies: Callable[[Delivery], bool]) -> list[FlagWrite]:
    """Gives the Node bot its flag back where we surely did not send, or only put the message where
    people are not notified of it; as this run found it, where the claim is given back."""
    flag, record, after = result.claim.message.flag, result.claim.record, result.after
    if flag is None or record.flag_at is None:
        return []
    if after and not result.given_back:
        told = after.state == DeliveryState.SENT and notifies(after)
        if told or after.state == DeliveryState.UNKNOWN or after.unconfirmed_since:
            return []
    was = flag.seen if result.given_back else record.flag_was
    if was == record.flag_at:
        return []
    return [FlagWrite(flag.talk_id, flag.name, seen=record.flag_at, to=was)]
