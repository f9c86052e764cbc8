"""What a person should know before a plan is applied. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from deploy.machines import Machine, WantedMachine
from deploy.plan import MachinePlan, PlanNote
from speakerbot.domain.occurrence import Due
from speakerbot.schedules import Schedule


def served_at_once(plan: MachinePlan, now: datetime) -> Iterator[PlanNote]:
    """Which creates, since creating launches, serve an occurrence right away."""
    for action in plan.actions:
        if action.kind in ("create", "replace") and action.wanted is not None:
            occurrence = open_occurrence(action.wanted.schedule, now)
            if occurrence:
                text = f"starts when created and serves {occurrence}, unless that has run"
                yield PlanNote(action.name, text, left=False)


def open_occurrence(schedule: Schedule, now: datetime) -> str | None:
    """The occurrence a run started at ``now`` may serve, as its people read it. Whether it has
    been served already only the store knows."""
    rules = schedule.rules
    due = rules.decide(rules.occurrence(now), None, now=now, real=now)
    if not schedule.enabled or not isinstance(due, Due):
        return None
    return f"the occurrence of {due.occurrence.astimezone(schedule.cron.zone):%a %d %b %H:%M %Z}"


def lost_databases(
    wanted: Sequence[WantedMachine], listed: Sequence[Machine]
) -> Iterator[PlanNote]:
    """Machines whose SQLite file would be gone after each run: their disk is not kept."""
    mounted = {machine.name for machine in listed if machine.config.get("mounts")}
    for want in wanted:
        url = str(want.config["env"].get("DATABASE_URL", ""))
        if url.startswith("sqlite") and want.name not in mounted:
            text = "DATABASE_URL is SQLite, and a scheduled machine's disk is not kept: "
            text += "use MongoDB, or attach a volume"
            yield PlanNote(want.name, text, left=False)
