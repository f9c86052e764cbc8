"""From plans to claims: one batch, one write each for the claims and the Node bot's flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim, Revisions, new_claim, restored
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.ledger import Change
from speakerbot.planning import Plan
from speakerbot.ports import FlagWrite, Store
from speakerbot.templates import Templates


@dataclass(slots=True)
class Batches:
    """Runs in the store's thread. ``report`` hears of every plan that is not claimed."""

    store: Store
    templates: Templates
    destinations: Destinations
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
    report: Callable[[Plan], None]

    def claim(self, plans: list[Plan], room: int) -> list[Claim]:
        """Claims what is planned; of people without a known DM channel at most ``room``."""
        due = [plan for plan in plans if plan.state == "planned"]
        for plan in plans:
            if plan.state != "planned":
                self.report(plan)
        due, newcomers = self._split(due, room)
        made = [self._make(plan, plan.message.key in newcomers) for plan in due]
        won = self.store.ledger.swap([Change(claim.before, claim.record) for claim in made])
        for claim in made:
            if claim.message.key not in won:
                self._hold_back(claim.plan, "another run is sending it", "in_progress")
        return self._with_flags([claim for claim in made if claim.message.key in won])

    def _split(self, plans: list[Plan], room: int) -> tuple[list[Plan], set[str]]:
        """The plans to claim, and the keys of those whose DM channel is yet to be opened."""
        users = {r.target for plan in plans for r in plan.message.routes[:1] if r.name == "dm"}
        known = self.store.limits.dm_channels(self.bot, sorted(users)) if users else {}
        self.destinations.know(known)
        if not self.slow_newcomers:
            return plans, set()
        taken: list[Plan] = []
        newcomers: set[str] = set()
        for plan in plans:
            first = plan.message.routes[0] if plan.message.routes else None
            if first and first.name == "dm" and first.target not in known:
                if len(newcomers) >= room:
                    self._hold_back(plan, "many new DM channels; a later run", "new_dm_pace")
                    continue
                newcomers.add(plan.message.key)
            taken.append(plan)
        return taken, newcomers

    def _make(self, plan: Plan, newcomer: bool) -> Claim:
        return new_claim(
            plan,
            self.templates.of(plan.message),
            run_id=self.run_id,
            revision=self.revisions.next(),
            now=self.clock.real(),
            flag_at=self.now if self.coexist and plan.message.flag else None,
            lease=self.lease,
            newcomer=newcomer,
        )

    def _with_flags(self, claims: list[Claim]) -> list[Claim]:
        """Sets the Node bot's flags; a claim whose flag changed since it was read is given back."""
        writes = {
            claim.message.key: FlagWrite(flag.talk_id, flag.name, flag.seen, claim.record.flag_at)
            for claim in claims
            if (flag := claim.message.flag) and claim.record.flag_at
        }
        if not writes:
            return claims
        written = self.store.talks.write_flags(list(writes.values()))
        kept: list[Claim] = []
        lost: list[Claim] = []
        for claim in claims:
            write = writes.get(claim.message.key)
            (kept if write is None or write.talk_id in written else lost).append(claim)
        self._give_back(lost)
        return kept

    def _give_back(self, claims: list[Claim]) -> None:
        if claims:
            self.store.ledger.swap(
                [Change(claim.record, restored(claim.before, self.revisions)) for claim in claims]
            )
        for claim in claims:
            self._hold_back(claim.plan, "the talk changed meanwhile", "changed_meanwhile")

    def _hold_back(self, plan: Plan, reason: str, skip: str) -> None:
        self.report(replace(plan, state="held_back", reason=reason, skip=skip))
