"""From plans to claims: one batch, one write each for the claims and the Node bot's flags."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from speakerbot.clock import Clock
from speakerbot.delivery.claims import (
    Claim,
    Revisions,
    longest_send,
    new_claim,
    next_route,
    restored,
)
from speakerbot.delivery.planning import OUT_OF_TURN, MessagePlan, Moment, rendered, weigh
from speakerbot.domain.delivery import DeliveryChange, DeliveryState, SkipReason
from speakerbot.domain.message import Message, Route
from speakerbot.ports.channel import Channels
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.templates import Templates

StillTrue = Callable[[Sequence[Message]], Collection[str]]
"""Of messages that were decided before, the keys of those that the job would still decide."""
Keep = Callable[[MessagePlan, datetime], bool]
"""Whether a planned message must wait after all, since the Node bot may have begun to send the same
after that real instant; where it must, that is noted for a later round."""


@dataclass(slots=True)
class Batches:
    """Runs in the store's thread. ``report`` is called with each plan that is not claimed."""

    store: Store
    channels: Channels
    templates: Templates
    revisions: Revisions
    clock: Clock
    run_id: str
    now: datetime
    """The run's decision time: what the Node bot's flags are set to."""
    zone: ZoneInfo
    lease: timedelta
    coexist: bool
    still_true: StillTrue
    keep: Keep
    report: Callable[[MessagePlan], None]

    def claim(
        self, plans: list[MessagePlan], unopened: Collection[Route] = (), room: int = 0
    ) -> tuple[list[Claim], list[MessagePlan]]:
        """Claims what is planned. Of messages whose next route is one of ``unopened``, at most
        ``room`` are returned to wait until it may be opened, unclaimed. An edit needs no claim and
        stands for itself."""
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
        began = self.clock.real()
        due = [plan for plan in due if not (plan.message.edit or self.keep(plan, began))]
        newcomers = [plan for plan in due if next_route(plan) in unopened]
        made = [self._new_claim(plan) for plan in due if next_route(plan) not in unopened]
        won = self.store.ledger.swap([DeliveryChange(claim.before, claim.record) for claim in made])
        for claim in made:
            if claim.message.key not in won:
                self.taken_over(claim)
                self.leave_out(claim.plan.then)
        mine = self._still_wanted([claim for claim in made if claim.message.key in won])
        # Asked on both sides of the flags: a machine, or a store, may stall in between, and what
        # the Node bot had read by then it sends.
        mine = self._with_flags(self._not_kept(mine, began))
        return edits + self._not_kept(mine, began, flagged=True), self._wait(newcomers, room)

    def _wait(self, newcomers: list[MessagePlan], room: int) -> list[MessagePlan]:
        for plan in newcomers[room:]:
            self._hold_back(plan, "many new DM channels; a later run", SkipReason.NEW_DM_PACE)
        return newcomers[:room]

    def _new_claim(self, plan: MessagePlan) -> Claim:
        routes = plan.message.routes
        return new_claim(
            plan,
            self.channels.get(routes[0].channel) if routes else None,
            run_id=self.run_id,
            revision=self.revisions.next(),
            now=self.clock.real(),
            flag_at=self._flag_at(plan),
            lease=self.lease,
        )

    def _still_wanted(self, claims: list[Claim]) -> list[Claim]:
        """The source is read again right after the claim was won: what was cancelled or moved
        before that is given back. What is only looked for is looked for in any case."""
        now = self.clock.decision()
        asked = [claim.message for claim in claims if now < claim.message.expires_at]
        holds = (
            {*self.still_true(asked), *(m.key for m in asked if not m.template)} if asked else ()
        )
        kept: list[Claim] = []
        lost: list[Claim] = []
        for claim in claims:
            over = now >= claim.message.expires_at
            (kept if over or claim.message.key in holds else lost).append(claim)
        self._give_back(lost)
        return kept

    def _not_kept(
        self, claims: list[Claim], began: datetime, *, flagged: bool = False
    ) -> list[Claim]:
        """Without those that must wait after all, which are given back; ``flagged``: with their
        flags, first."""
        kept = [claim for claim in claims if self.keep(claim.plan, began)]
        if not kept:
            return claims
        if flagged:
            self.store.talks.write_flags(
                [
                    FlagWrite(flag.talk_id, flag.name, claim.record.flag_at, flag.seen)
                    for claim in kept
                    if (flag := claim.message.flag) and claim.record.flag_at
                ]
            )
        self._swap_back(kept)
        gone = {claim.message.key for claim in kept}
        return [claim for claim in claims if claim.message.key not in gone]

    def weigh_again(self, plan: MessagePlan) -> MessagePlan:
        """What is to be done now about a message that was planned a while ago."""
        message, moment = plan.message, Moment(self.clock.decision(), self.clock.real(), self.zone)
        if message.template and message.key not in self.still_true([message]):
            return held_back(plan, "the talk changed meanwhile", SkipReason.CHANGED_MEANWHILE)
        for weighed in weigh([replace(message, follows=False)], self.store, moment):
            if isinstance(weighed, MessagePlan):
                return replace(weighed, then=plan.then)
        return plan

    def left_waiting(self, plan: MessagePlan) -> None:
        """Its turn never came."""
        self._hold_back(plan, "the run ended before its turn came", SkipReason.NEW_DM_PACE)

    def left_for_later(self, plans: Iterable[MessagePlan]) -> None:
        """Their channel has stopped."""
        for plan in plans:
            self._hold_back(
                plan, "its channel has stopped; a later run sends it", SkipReason.GIVEN_BACK
            )

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
            if (flag := claim.message.flag) and claim.record.flag_at and claim.message.template
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
            self._swap_back(claims)
        for claim in claims:
            self._hold_back(claim.plan, "the talk changed meanwhile", SkipReason.CHANGED_MEANWHILE)

    def _swap_back(self, claims: list[Claim]) -> None:
        self.store.ledger.swap(
            [
                DeliveryChange(claim.record, restored(claim.before, self.revisions))
                for claim in claims
            ]
        )

    def taken_over(self, claim: Claim) -> None:
        """Another run has it; should that one die, it is worth a look when its lease is over."""
        until = self.clock.real() + self.lease
        reason, skip = "another run is sending it", SkipReason.IN_PROGRESS
        self.report(
            replace(
                claim.plan, state=DeliveryState.HELD_BACK, reason=reason, skip=skip, until=until
            )
        )

    def _hold_back(self, plan: MessagePlan, reason: str, skip: SkipReason) -> None:
        self.report(held_back(plan, reason, skip))
        self.leave_out(plan.then)

    def leave_out(self, plans: Iterable[MessagePlan]) -> None:
        """Those that follow a message which did not go."""
        for plan in plans:
            self.report(held_back(plan, OUT_OF_TURN, SkipReason.IN_ORDER))


def held_back(plan: MessagePlan, reason: str, skip: SkipReason) -> MessagePlan:
    return replace(plan, state=DeliveryState.HELD_BACK, reason=reason, skip=skip)
