"""From plans to claims: one batch, one write each for the claims and the Node bot's flags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim, Revisions, dm_user, new_claim, restored
from speakerbot.delivery.nonces import longest_send
from speakerbot.delivery.planning import OUT_OF_TURN, MessagePlan, rendered
from speakerbot.domain.delivery import DeliveryChange, DeliveryState
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.templates import Templates


@dataclass(slots=True)
class Batches:
    """Runs in the store's thread. ``report`` hears of every plan that is not claimed."""

    store: Store
    templates: Templates
    revisions: Revisions
    clock: Clock
    run_id: str
    bot: str
    now: datetime
    """The run's decision time: what the Node bot's flags are set to."""
    lease: timedelta
    coexist: bool
    slow_newcomers: bool
    """New DM channels are opened at a pace of their own, beside everybody else."""
    report: Callable[[MessagePlan], None]

    def claim(self, plans: list[MessagePlan], room: int) -> list[Claim]:
        """Claims what is planned; of people without a known DM channel at most ``room``. An edit
        needs no claim and stands for itself."""
        plans = [rendered(plan, self.templates) for plan in plans]
        due = [plan for plan in plans if plan.state == DeliveryState.PLANNED]
        for plan in plans:
            if plan.state != DeliveryState.PLANNED:
                self.report(plan)
                self.leave_out(plan.then)
        edits = [
            Claim(plan, plan.text or "", plan.record, plan.record, None)
            for plan in due
            if plan.message.edit and plan.record
        ]
        made = list(self._make([plan for plan in due if not plan.message.edit], room))
        won = self.store.ledger.swap([DeliveryChange(claim.before, claim.record) for claim in made])
        for claim in made:
            if claim.message.key not in won:
                self.taken_over(claim)
                self.leave_out(claim.plan.then)
        return edits + self._with_flags([claim for claim in made if claim.message.key in won])

    def _make(self, plans: list[MessagePlan], room: int) -> Iterator[Claim]:
        users = {user for plan in plans if (user := dm_user(plan))}
        known = self.store.limits.dm_channels(self.bot, sorted(users)) if users else {}
        for plan in plans:
            claim = new_claim(
                plan,
                plan.text or "",
                run_id=self.run_id,
                revision=self.revisions.next(),
                now=self.clock.real(),
                flag_at=self._flag_at(plan),
                lease=self.lease,
                dm_channels=known,
            )
            if claim.newcomer and self.slow_newcomers:
                if not room:
                    self._hold_back(plan, "many new DM channels; a later run", "new_dm_pace")
                    continue
                room -= 1
            yield claim

    def _flag_at(self, plan: MessagePlan) -> datetime | None:
        """The time for the Node bot's flag. One that an earlier attempt has set stays: a flag of
        which the ledger does not know is the Node bot's own, and its message is not sent."""
        flag, before = plan.message.flag, plan.record
        if flag and flag.seen and before and before.flag_at == flag.seen:
            return flag.seen
        return self.now if flag and self.coexist else None

    def _with_flags(self, claims: list[Claim]) -> list[Claim]:
        """Sets the Node bot's flags; a claim whose flag changed since it was read is given back."""
        flagged = {
            claim.message.key: FlagWrite(flag.talk_id, flag.name, flag.seen, claim.record.flag_at)
            for claim in claims
            if (flag := claim.message.flag) and claim.record.flag_at
        }
        if not flagged:
            return claims
        # A process that slept since it made the claims may have lost them: their flags are not its.
        late = self.clock.real() + longest_send(self.lease)
        writes = [
            flagged[claim.message.key]
            for claim in claims
            if claim.message.key in flagged and (claim.record.lease_until or late) >= late
        ]
        written = self.store.talks.write_flags(writes) if writes else set()
        kept: list[Claim] = []
        lost: list[Claim] = []
        for claim in claims:
            write = flagged.get(claim.message.key)
            (kept if write is None or write.talk_id in written else lost).append(claim)
        self._give_back(lost)
        return kept

    def _give_back(self, claims: list[Claim]) -> None:
        if claims:
            self.store.ledger.swap(
                [
                    DeliveryChange(claim.record, restored(claim.before, self.revisions))
                    for claim in claims
                ]
            )
        for claim in claims:
            self._hold_back(claim.plan, "the talk changed meanwhile", "changed_meanwhile")

    def taken_over(self, claim: Claim) -> None:
        """Another run has it; should that one die, it is worth a look when its lease is over."""
        until = self.clock.real() + self.lease
        reason, skip = "another run is sending it", "in_progress"
        self.report(
            replace(
                claim.plan, state=DeliveryState.HELD_BACK, reason=reason, skip=skip, until=until
            )
        )

    def _hold_back(self, plan: MessagePlan, reason: str, skip: str) -> None:
        self.report(replace(plan, state=DeliveryState.HELD_BACK, reason=reason, skip=skip))
        self.leave_out(plan.then)

    def leave_out(self, plans: Iterable[MessagePlan]) -> None:
        """Those that follow a message which did not go."""
        for plan in plans:
            self.report(
                replace(plan, state=DeliveryState.HELD_BACK, reason=OUT_OF_TURN, skip="in_order")
            )
