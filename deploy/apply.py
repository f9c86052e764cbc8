"""Does what a plan says, several machines side by side. It may be killed anywhere and run again:
every step first looks at what is there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from deploy.api_errors import Conflict, FlyRefused, Gone, ImageMissing, NameTaken
from deploy.diff import changed_fields
from deploy.fly import ATTEMPTS, Fly
from deploy.machines import Machine, WantedMachine
from deploy.plan import MachineAction
from speakerbot.errors import SpeakerbotError, Unreachable

LANES: Final = 8
"""Machines worked on side by side: each waits mostly, and Fly's rates hold for all together."""
FIRST_ATTEMPTS: Final = 2
"""Tries of a request before its machine has to wait until all others are done."""
DOWN_AFTER: Final = 3
"""Machines in a row that did not answer before Fly itself is asked."""
SETTLE_SECONDS: Final = 60.0
STOPS_WITHIN: Final = 60.0
"""Seconds for a job that was asked to end: Fly kills it after those of its ``stop_config``."""
TAKEN_BACK_SECONDS: Final = 2.0
"""Fly takes an update back up to seconds after it was done: so long before the last look."""
_ONE_MACHINE = (Conflict, Gone, ImageMissing, FlyRefused, Unreachable)
"""What goes wrong with one machine says nothing about the next; anything else ends the work."""
_AGAIN_LATER = (ImageMissing, Unreachable)
"""Worth another try when the other machines are done."""

Outcome = Literal["done", "skipped", "failed", "interrupted", "not_started"]
OUTCOMES: tuple[Outcome, ...] = ("done", "skipped", "failed", "interrupted", "not_started")


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of one action. ``interrupted``: it was under way when apply ended; the text says
    at which step."""

    action: MachineAction
    outcome: Outcome
    text: str = ""
    error: SpeakerbotError | None = None


@dataclass(frozen=True, slots=True)
class ApplyEvent:
    """Something happened to a machine. ``result`` where it is finished; ``loud`` where a person
    who waits wants to know."""

    action: MachineAction
    text: str
    result: ActionResult | None = None
    loud: bool = False


class ApplyReport:
    """What became of each action, at any moment: also after apply has raised or was cancelled.

    ``tell`` is called with each event as it comes.
    """

    def __init__(
        self,
        actions: Iterable[MachineAction],
        tell: Callable[[ApplyEvent], None] = lambda _event: None,
    ) -> None:
        self.actions = sorted(actions, key=_last)
        self.tell = tell
        self.under_way: dict[str, str] = {}
        """What is being done, by machine."""
        self._asked: set[str] = set()
        """Machines that Fly has been asked to change, and may have changed."""
        self._finished: dict[str, ActionResult] = {}

    def doing(
        self, action: MachineAction, text: str, *, loud: bool = False, asks: bool = False
    ) -> None:
        """``text`` says what is done to its machine or waited for; ``asks``: from now on Fly may
        change it."""
        self.under_way[action.name] = text
        if asks:
            self._asked.add(action.name)
        self.tell(ApplyEvent(action, text, loud=loud))

    def retried(self, action: MachineAction, text: str) -> None:
        """A request did not succeed and is asked again."""
        self.tell(ApplyEvent(action, text, loud=True))

    def finish(self, result: ActionResult) -> None:
        """Takes the place of what was said of that machine before."""
        self.under_way.pop(result.action.name, None)
        self._finished.pop(result.action.name, None)
        self._finished[result.action.name] = result
        self.tell(ApplyEvent(result.action, result.text, result, loud=True))

    @property
    def results(self) -> list[ActionResult]:
        """One for each action: the finished ones in the order in which they ended."""
        left = [action for action in self.actions if action.name not in self._finished]
        return [*self._finished.values(), *map(self._unfinished, left)]

    def _unfinished(self, action: MachineAction) -> ActionResult:
        if action.name in self.under_way:
            asked = "; `cron plan` shows whether that was done" * (action.name in self._asked)
            return ActionResult(
                action, "interrupted", f"while {self.under_way[action.name]}{asked}"
            )
        return ActionResult(action, "not_started")


async def apply(fly: Fly, report: ApplyReport, *, wait_for_runs: float) -> None:
    """Does the report's actions: machines at rest first, deletes last; then looks once more, since
    Fly may take an update back seconds later.

    ``wait_for_runs``: seconds to wait, in all, for running jobs; then their machines are skipped.
    A machine that does not answer is tried again after the others, and fails alone. Raises
    TokenRefused, ConfigError and Unreachable where going on makes no sense: the report then holds
    what was done.
    """
    worker = _Worker(fly, report, wait_for_runs)
    deletes = [action for action in report.actions if action.kind == "delete"]
    late = await worker.try_each(a for a in report.actions if a.kind != "delete")
    if not any(action.kind in ("create", "replace") for action in late):
        late += await worker.try_each(deletes)
        deletes = []
    await worker.try_again(late)
    await worker.try_again(await worker.try_each(deletes))
    await worker.look_again()


def _last(action: MachineAction) -> tuple[bool, bool]:
    running = action.machine is not None and not action.machine.at_rest
    return action.kind == "delete", running


class _Running(Exception):
    """The machine's job did not end in time."""


ActionOutcome = tuple[Literal["done", "skipped", "failed"], str]


class _Worker:
    """All actions, and what they share."""

    def __init__(self, fly: Fly, report: ApplyReport, wait_for_runs: float) -> None:
        self.fly, self.report, self.rate_limit = fly, report, fly.transport.rate_limit
        self.wait_for_runs = wait_for_runs
        self.deadline: float | None = None
        self.changed_at: float | None = None
        self.silent = 0
        """Machines in a row that did not answer."""
        self.missing_images: set[str] = set()

    async def try_each(self, actions: Iterable[MachineAction]) -> list[MachineAction]:
        """Returns those that did not answer: they must wait until everything else is done."""
        late: list[MachineAction] = []

        async def once(action: MachineAction) -> None:
            try:
                await self._do(action, FIRST_ATTEMPTS)
            except _AGAIN_LATER as error:
                await self._is_fly_there(error)
                self.report.doing(action, "waiting for its turn to be tried again")
                late.append(action)

        await _side_by_side(actions, once)
        return late

    async def try_again(self, actions: Iterable[MachineAction]) -> None:
        """With all the patience there is."""

        async def patiently(action: MachineAction) -> None:
            try:
                await self._do(action, self._attempts(action))
            except _AGAIN_LATER as error:
                await self._is_fly_there(error)
                if isinstance(error, ImageMissing) and action.wanted:
                    self.missing_images.add(str(action.wanted.config["image"]))
                self.report.finish(ActionResult(action, "failed", str(error), error))

        await _side_by_side(actions, patiently)

    async def look_again(self) -> None:
        """One list, a moment after the last change: an update that does not fit its host is taken
        back after it was answered with 200, even after it was seen."""
        done = [r for r in self.report.results if r.outcome == "done" and r.action.wanted]
        if self.changed_at is None or not done:
            return
        pause = self.changed_at + TAKEN_BACK_SECONDS - self.rate_limit.now()
        await self.rate_limit.sleep(max(0.0, pause))
        listed = {machine.name: machine for machine in await self.fly.machines()}
        for result in done:
            if problem := _taken_back(result.action, listed.get(result.action.name)):
                self.report.finish(ActionResult(result.action, "failed", problem))

    def _attempts(self, action: MachineAction) -> int:
        """A missing image is waited for once, not once for each machine."""
        image = action.wanted and action.wanted.config["image"]
        return FIRST_ATTEMPTS if image in self.missing_images else ATTEMPTS

    async def _is_fly_there(self, error: SpeakerbotError) -> None:
        """Raises Unreachable if it is not one host but Fly that does not answer."""
        self.silent += isinstance(error, Unreachable)
        if self.silent >= DOWN_AFTER:
            self.silent = 0
            await self.fly.machines()

    async def _do(self, action: MachineAction, attempts: int) -> None:
        """Raises ImageMissing and Unreachable, which may pass; every other end is reported."""
        fly = self.fly.patient(attempts, lambda text: self.report.retried(action, text))
        one = _MachineWorker(self, fly, action, attempts)
        try:
            outcome, text = await one.do()
            result = ActionResult(action, outcome, text)
        except _AGAIN_LATER:
            raise
        except _Running:
            text = "its job is still running: run apply again later"
            result = ActionResult(action, "skipped", text)
        except _ONE_MACHINE as error:
            result = ActionResult(action, "failed", str(error), error)
        self.silent = 0
        self.report.finish(result)


class _MachineWorker:
    """One action."""

    def __init__(self, all_: _Worker, fly: Fly, action: MachineAction, attempts: int) -> None:
        self.all, self.fly, self.action, self.attempts = all_, fly, action, attempts
        self.rate_limit, self.report = all_.rate_limit, all_.report
        self.stopped = False
        """The job of its machine was asked to end, so that the machine could be changed."""

    def doing(self, text: str, *, loud: bool = False, asks: bool = False) -> None:
        self.report.doing(self.action, text, loud=loud, asks=asks)

    async def do(self) -> ActionOutcome:
        machine, wanted = self.action.machine, self.action.wanted
        if machine is None:
            assert wanted is not None, "a create has a wanted machine"  # noqa: S101
            return await self._create(wanted)
        if wanted is None:
            return await self._delete(machine)
        if self.action.kind == "replace":
            outcome, text = await self._delete(machine)
            return (outcome, text) if outcome != "done" else await self._create(wanted)
        return await self._update(wanted, machine, forced=not self.action.changes)

    async def _create(self, wanted: WantedMachine) -> ActionOutcome:
        """Never asked twice without looking in between: the answer alone may have been lost."""
        pauses = self.rate_limit.backoff(self.attempts)
        while True:
            self.doing("creating it", asks=True)
            try:
                machine = await self.fly.create(wanted)
            except (Unreachable, NameTaken, ImageMissing) as error:
                found = await self._find(wanted.name)
                if found is not None:
                    return await self._adopt(wanted, found)
                pause = next(pauses, None)
                if pause is None:
                    raise
                if isinstance(error, NameTaken):
                    raise  # taken, but not in this app's list: waiting does not help
                self.report.retried(self.action, f"{error}; again in {pause:.0f} s")
                await self.rate_limit.sleep(pause)
            else:
                return self._changed(f"created as {machine.id}")

    def _changed(self, text: str) -> ActionOutcome:
        self.all.changed_at = self.rate_limit.now()
        return "done", text

    async def _find(self, name: str) -> Machine | None:
        return next((m for m in await self.fly.machines() if m.name == name), None)

    async def _adopt(self, wanted: WantedMachine, machine: Machine) -> ActionOutcome:
        """Ours, made by a request whose answer was lost or by another apply."""
        if not machine.owned:
            return "failed", "a machine of that name is not ours"
        if changed_fields(wanted.config, machine):
            return await self._update(wanted, machine)
        return self._changed(f"created as {machine.id}")

    async def _update(
        self, wanted: WantedMachine, machine: Machine, *, forced: bool = False
    ) -> ActionOutcome:
        """Also where it fails, a machine that was stopped for it is started again."""
        try:
            outcome, text = await self._updated(wanted, machine, forced=forced)
        except SpeakerbotError:
            await self._start_again(wanted, machine)
            raise
        return outcome, f"{text}{await self._start_again(wanted, machine)}"

    async def _start_again(self, wanted: WantedMachine, machine: Machine) -> str:
        """What to add to what became of it. Where it cannot be started, its next tick does that."""
        if not self.stopped or not wanted.schedule.enabled:
            return ""
        self.doing("starting it again")
        try:
            await self.fly.start(machine.id)
        except Conflict:
            return ", and started again"  # by its own tick, a moment ago
        except (FlyRefused, Gone, Unreachable) as error:
            return f", but it could not be started again ({error}): its next tick starts it"
        self.stopped = False
        return ", and started again"

    async def _updated(
        self, wanted: WantedMachine, machine: Machine, *, forced: bool
    ) -> ActionOutcome:
        for pause in self._pauses():
            machine = await self._at_rest(machine)
            self.doing("taking its lease")
            try:
                async with self.fly.lease(machine) as nonce:
                    machine = await self.fly.get(machine.id)
                    if not forced and not changed_fields(wanted.config, machine):
                        return "done", "it is as wanted already"
                    if not machine.at_rest:
                        continue  # its schedule fired while we took the lease
                    self.doing("updating it", asks=True)
                    updated = await self.fly.update(machine, wanted.config, nonce)
                return await self._settled(wanted, updated)
            except Conflict as error:
                await self._somebody_else(error, pause)
        return "skipped", "somebody else is changing it: run apply again later"

    async def _settled(self, wanted: WantedMachine, updated: Machine) -> ActionOutcome:
        """An update that does not fit its host is taken back after it was answered with 200."""
        self.doing("waiting for Fly to put the update in place")
        end = self.rate_limit.now() + SETTLE_SECONDS
        while (machine := await self.fly.get(updated.id)).changing:
            if self.rate_limit.now() >= end:
                text = f"Fly has been {machine.state} it for {SETTLE_SECONDS:.0f} s: run again"
                return "failed", text
            await self.fly.wait_stopped(updated, min(10.0, end - self.rate_limit.now()))
        if changes := changed_fields(wanted.config, machine):
            return "failed", _reverted(change.field for change in changes)
        return self._changed("updated")

    async def _delete(self, machine: Machine) -> ActionOutcome:
        for pause in self._pauses():
            try:
                machine = await self._at_rest(machine)
                self.doing("taking its lease")
                async with self.fly.lease(machine) as nonce:
                    self.doing("destroying it", asks=True)
                    await self.fly.delete(machine, nonce)
            except Gone:
                return "done", "it was gone already"
            except Conflict as error:
                await self._somebody_else(error, pause)
                continue
            return "done", "destroyed"
        return "skipped", "somebody else is changing it: run apply again later"

    def _pauses(self) -> Iterator[float | None]:
        """After each try at a machine that is leased; None after the last. Together they outlast a
        lease of our own, whose answer was lost and which only time ends."""
        yield from self.rate_limit.backoff()
        yield None

    async def _somebody_else(self, error: Conflict, pause: float | None) -> None:
        if pause is None:
            return
        self.report.retried(self.action, f"{error}; again in {pause:.0f} s")
        await self.rate_limit.sleep(pause)

    async def _at_rest(self, machine: Machine) -> Machine:
        """The machine, read again if it ran; raises _Running when the time for waiting is over. A
        timed job is not waited for: it is asked to end, and gives back what it has not begun."""
        said, deadline = False, None
        while not machine.at_rest:
            if machine.timed and machine.running and not said:
                self.doing("stopping its job, which may stay for days", loud=True, asks=True)
                await self.fly.stop(machine.id)
                self.stopped = said = True
                deadline = self.rate_limit.now() + STOPS_WITHIN
            if (left := self._patience_left(deadline)) <= 0:
                raise _Running
            if not said:
                self.doing(f"waiting for its job to end, for up to {left:.0f} s", loud=True)
                said = True
            await self.fly.wait_stopped(machine, left)
            machine = await self.fly.get(machine.id)
        return machine

    def _patience_left(self, deadline: float | None) -> float:
        """Seconds, up to ``deadline`` where there is one, else to the one that all share."""
        now = self.rate_limit.now()
        if deadline is None:
            if self.all.deadline is None:
                self.all.deadline = now + self.all.wait_for_runs
            deadline = self.all.deadline
        return deadline - now


def _taken_back(action: MachineAction, machine: Machine | None) -> str:
    """What is wrong with a machine that was made or updated a moment ago; empty if nothing is."""
    assert action.wanted is not None  # noqa: S101
    if machine is None:
        return "Fly has removed it again: run apply again"
    if not machine.reachable:
        return f"its host is {machine.host_status} now: run apply again later"
    return _reverted(change.field for change in changed_fields(action.wanted.config, machine))


def _reverted(fields: Iterable[str]) -> str:
    names = ", ".join(fields)
    return names and f"Fly took the update back ({names}), its host may be full: run again"


async def _side_by_side(
    actions: Iterable[MachineAction], work: Callable[[MachineAction], Awaitable[None]]
) -> None:
    """Works on the actions in their order, LANES at a time. The first error ends them all."""
    waiting = deque(actions)

    async def lane() -> None:
        while waiting:
            await work(waiting.popleft())

    lanes = [asyncio.create_task(lane()) for _ in range(min(LANES, len(waiting)))]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
