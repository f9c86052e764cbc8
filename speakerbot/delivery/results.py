"""Outcomes on their way into the ledger: in batches, so a message costs no round trip of its own.

A crash loses at most the batch at hand; those claims stay in doubt, and recovery settles them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from speakerbot.delivery.claims import Claim, Revisions, restored
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.ledger import Change, Delivery
from speakerbot.delivery.storethread import StoreThread
from speakerbot.ports import FlagWrite, Store

BATCH = 200
FLUSH_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claim: the record to keep, None to keep none."""

    claim: Claim
    after: Delivery | None
    given_back: bool = False


@dataclass(slots=True)
class Results:
    """Collects outcomes and writes them. ``report`` hears of each once it is in the store."""

    store: Store
    thread: StoreThread
    destinations: Destinations
    bot: str
    report: Callable[[Result], None]
    revisions: Revisions
    _waiting: list[Result] = field(default_factory=list)

    def add(self, claim: Claim, after: Delivery) -> bool:
        """True: a batch is full and wants to be flushed."""
        return self._add(Result(claim, after))

    def give_back(self, claim: Claim) -> bool:
        """Puts the record back as it was before this run; no attempt is counted."""
        return self._add(Result(claim, restored(claim.before, self.revisions), given_back=True))

    def _add(self, result: Result) -> bool:
        self._waiting.append(result)
        return len(self._waiting) >= BATCH

    async def flush(self) -> None:
        """Writes all that waits. Raises what the store raises; then the claims stay in doubt."""
        batch, self._waiting = self._waiting, []
        learned = self.destinations.take_learned()
        if not batch and not learned:
            return
        await self.thread(self._write, batch, learned)
        for result in batch:
            if user_id := result.claim.message.user_id:
                self.destinations.done_with(user_id)
            self.report(result)

    def _write(self, batch: list[Result], learned: dict[str, str | None]) -> None:
        # The flag goes first: a record that says "failed" promises that the Node bot may send.
        if flags := [flag for result in batch for flag in flag_restored(result)]:
            self.store.talks.write_flags(flags)
        if learned:
            self.store.limits.remember_dms(self.bot, learned)
        won = self.store.ledger.swap([Change(r.claim.record, r.after) for r in batch])
        for result in batch:
            after = result.after
            if after is not None and after.key not in won and after.state == "sent":
                self._insist(after)

    def _insist(self, sent: Delivery) -> None:
        """Another run took the claim over while ours was under way. It was accepted all the same,
        and that is what the ledger must say in the end."""
        for _ in range(5):
            current = self.store.ledger.get([sent.key]).get(sent.key)
            if current is not None and current.state == "sent":
                return
            mine = replace(sent, revision=self.revisions.next())
            if self.store.ledger.swap([Change(current, mine)]):
                return


def flag_restored(result: Result) -> list[FlagWrite]:
    """Gives the Node bot its flag back where we surely did not send."""
    flag, record, after = result.claim.message.flag, result.claim.record, result.after
    unsure = after is not None and (after.state in ("sent", "unknown") or after.doubt_since)
    if flag is None or record.flag_at is None or unsure:
        return []
    return [FlagWrite(flag.talk_id, flag.name, seen=record.flag_at, to=record.flag_was)]
