"""Wanted against listed machines: what is to be done, and what a person should know before.

Pure; ``apply`` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from deploy.diff import FieldChange, changed_fields
from deploy.machines import GONE, Machine, WantedMachine
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.domain.occurrence import Due
from speakerbot.errors import ConfigError
from speakerbot.schedules.schedule import TICKS, Schedule

Kind = Literal["create", "update", "replace", "delete"]
ORDER: tuple[Kind, ...] = ("create", "update", "replace", "delete")
MOST_DESTROYED = 0.3


@dataclass(frozen=True, slots=True)
class MachineAction:
    """One machine to change. ``wanted`` is None for a delete, ``machine`` for a create."""

    kind: Kind
    name: str
    reason: str = ""
    wanted: WantedMachine | None = None
    machine: Machine | None = None
    changes: tuple[FieldChange, ...] = ()
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PlanNote:
    """Something a person should know. ``left``: a difference that this plan does not remove."""

    name: str
    text: str
    left: bool = True


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """Actions in the order they are done, deletes last."""

    actions: tuple[MachineAction, ...]
    notes: tuple[PlanNote, ...]
    unchanged: tuple[Machine, ...]
    owned: int

    @property
    def left(self) -> int:
        """How many differences it does not remove."""
        return sum(note.left for note in self.notes)

    def count(self, kind: Kind) -> int:
        return sum(action.kind == kind for action in self.actions)

    def refuse_mass_destruction(self) -> None:
        """Raises ConfigError if more than 30 % of our machines would go. Duplicates do not count:
        their schedule keeps a machine."""
        lost = sum(a.kind in ("delete", "replace") and not a.duplicate for a in self.actions)
        if lost > MOST_DESTROYED * self.owned:
            raise ConfigError(
                f"{lost} of {self.owned} machines would be destroyed, more than 30 %: nothing was "
                "changed. If that is meant, add --allow-mass-change"
            )


EMPTY = MachinePlan((), (), (), 0)


def make_plan(
    wanted: Sequence[WantedMachine],
    listed: Iterable[Machine],
    *,
    image: str | None = None,
    prune: bool = False,
    refresh: bool = False,
) -> MachinePlan:
    """What makes the listed machines of an app equal to the wanted ones.

    ``image`` None keeps the image of each machine, and gives a new one the image of the others, or
    of the app. ``prune``: destroy machines nobody wants. ``refresh``: update machines that do not
    differ too, so that they see the app's present secrets. Raises ConfigError if a machine is to
    be created and no image is known.
    """
    present = [machine for machine in listed if machine.state not in GONE]
    by_name = {machine.name: machine for machine in present}
    planner = _Planner(_Images(image, present), prune, refresh)
    for want in wanted:
        planner.add(want, by_name.get(want.name))
    names, schedules = {w.name for w in wanted}, {w.schedule.name for w in wanted}
    for machine in present:
        if machine.owned and machine.name not in names:
            planner.drop(machine, further=machine.schedule in schedules)
    actions = sorted(planner.actions, key=lambda action: ORDER.index(action.kind))
    owned = sum(machine.owned for machine in present)
    notes = (*planner.notes, *planner.images.notes())
    return MachinePlan(tuple(actions), notes, tuple(planner.unchanged), owned)


class _Images:
    """Which image a machine gets."""

    def __init__(self, given: str | None, present: Sequence[Machine]) -> None:
        self.given = given
        ours = [m for m in present if m.owned and m.image]
        app = [m for m in present if not m.owned and m.image]
        app.sort(key=lambda machine: machine.state != "started")
        newest = sorted(ours, key=lambda machine: machine.created_at, reverse=True)
        self.lender = next(iter((*newest, *app)), None)
        """Whose image a new machine gets."""
        self.lent = False

    def of(self, machine: Machine | None) -> str:
        image = self.given or (machine.image if machine else None)
        if image is None and self.lender is not None:
            self.lent = True
            image = self.lender.image
        if image is None:
            raise ConfigError(
                "no image is known: the app runs no machine yet. Build one with `make cron-deploy`,"
                " or name one with --image"
            )
        return image

    def notes(self) -> Iterator[PlanNote]:
        """A person sees which image a new machine gets where none was named."""
        if self.lent and self.lender is not None:
            owner = "" if self.lender.owned else ", though speakerbot does not manage it"
            text = f"new machines get its image{owner}: {self.lender.image}; --image names another"
            yield PlanNote(self.lender.name, text, left=False)


class _Planner:
    def __init__(self, images: _Images, prune: bool, refresh: bool) -> None:
        self.images, self.prune, self.refresh = images, prune, refresh
        self.actions: list[MachineAction] = []
        self.notes: list[PlanNote] = []
        self.unchanged: list[Machine] = []

    def add(self, want: WantedMachine, machine: Machine | None) -> None:
        if machine is None:
            wanted = want.with_image(self.images.of(None))
            tick = want.schedule.interval if want.schedule.enabled else "disabled"
            reason = f"in {want.region}, {tick}"
            self.actions.append(MachineAction("create", want.name, reason, wanted))
        elif not machine.reachable:
            text = f"its host is {machine.host_status}: left as it is; run again later"
            self.notes.append(PlanNote(want.name, text))
        elif not machine.owned:
            text = "a machine of that name is not ours: remove it, or rename the schedule"
            self.notes.append(PlanNote(want.name, text))
        else:
            wanted = want.with_image(self.images.of(machine)).keeping(machine)
            self._compare(wanted, machine)

    def _compare(self, want: WantedMachine, machine: Machine) -> None:
        changes = changed_fields(want.config, machine)
        if machine.region != want.region:
            self._move(want, machine, changes)
        elif changes or self.refresh:
            reason = "" if changes else "to see the app's present secrets"
            self.actions.append(MachineAction("update", want.name, reason, want, machine, changes))
        else:
            self.unchanged.append(machine)

    def _move(
        self, want: WantedMachine, machine: Machine, changes: tuple[FieldChange, ...]
    ) -> None:
        region = FieldChange("region", machine.region, want.region)
        if self.prune:
            reason = "a machine cannot move: destroyed and created again"
            action = MachineAction("replace", want.name, reason, want, machine, (region, *changes))
            self.actions.append(action)
            return
        self.notes.append(
            PlanNote(want.name, f"{region}: a machine cannot move; --prune replaces it")
        )
        if changes:
            self.actions.append(MachineAction("update", want.name, "", want, machine, changes))

    def drop(self, machine: Machine, *, further: bool) -> None:
        """``further``: its schedule exists, and has the machines it wants."""
        what = "one machine too many of" if further else "there is no"
        why = f"{what} schedule {machine.schedule!r}"
        duplicate = further and not machine.name.startswith(f"cron-{machine.schedule}")
        if not machine.reachable:
            self.notes.append(
                PlanNote(machine.name, f"{why}, but its host is {machine.host_status}")
            )
        elif self.prune:
            action = MachineAction(
                "delete", machine.name, why, machine=machine, duplicate=duplicate
            )
            self.actions.append(action)
        else:
            self.notes.append(PlanNote(machine.name, f"{why}; it stays until --prune destroys it"))


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
    if schedule.timed:
        return None
    rules = schedule.rules
    due = rules.decide(rules.occurrence(now), None, now=now, real=now)
    if not schedule.enabled or not isinstance(due, Due):
        return None
    return f"the occurrence of {due.occurrence.astimezone(schedule.cron.zone):%a %d %b %H:%M %Z}"


def short_windows(
    wanted: Sequence[WantedMachine], jobs: JobRegistry, env: Mapping[str, str]
) -> Iterator[PlanNote]:
    """Messages for which a run has to wait, since their whole time may lie between two ticks."""
    for want in wanted:
        schedule = want.schedule
        if want.name != schedule.machine_names[0]:
            continue
        tick = TICKS[schedule.interval]
        own = {**env, **want.config.get("env", {})}
        waits = tick <= timedelta(hours=1)
        for message in jobs[schedule.job].short_windows(own, tick):
            what = (
                "the run of the tick before waits for it"
                if waits
                else f"it is missed where no {schedule.interval} tick falls into that: "
                'write "cron": "@hourly"'
            )
            yield PlanNote(want.name, f"{message}; {what}", left=False)


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
