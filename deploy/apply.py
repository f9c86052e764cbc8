"""Does what a plan says, one machine after the other. It may be killed anywhere and run again:
every step first looks at what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from deploy.api_errors import Conflict, FlyRefused, Gone, ImageMissing, NameTaken, NoCapacity
from deploy.diff import changed_fields
from deploy.fly import Fly
from deploy.machines import Machine, WantedMachine
from deploy.plan import MachineAction
from speakerbot.errors import SpeakerbotError, Unreachable

_ONE_MACHINE = (Conflict, Gone, ImageMissing, NoCapacity, FlyRefused)
"""What goes wrong with one machine says nothing about the next; anything else ends the work."""


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of one action."""

    action: MachineAction
    outcome: Literal["done", "skipped", "failed"]
    text: str = ""
    error: SpeakerbotError | None = None


async def apply(
    actions: Iterable[MachineAction],
    fly: Fly,
    *,
    wait_for_runs: float,
    done: Callable[[ActionResult], None],
) -> list[ActionResult]:
    """Does the actions: machines at rest first, deletes last. ``done`` is called with each result
    as it comes.

    ``wait_for_runs``: seconds to wait, in all, for running jobs; then their machines are skipped.
    Raises TokenRefused, ConfigError and Unreachable where going on makes no sense.
    """
    worker = _Worker(fly, wait_for_runs)
    results = []
    for action in sorted(actions, key=_last):
        try:
            outcome, text = await worker.do(action)
            result = ActionResult(action, outcome, text)
        except _ONE_MACHINE as error:
            result = ActionResult(action, "failed", str(error), error)
        results.append(result)
        done(result)
    return results


def _last(action: MachineAction) -> tuple[bool, bool]:
    running = action.machine is not None and not action.machine.at_rest
    return action.kind == "delete", running


class _Running(Exception):
    """The machine's job did not end in time."""


ActionOutcome = tuple[Literal["done", "skipped", "failed"], str]


class _Worker:
    def __init__(self, fly: Fly, wait_for_runs: float) -> None:
        self.fly, self.rate_limit = fly, fly.transport.rate_limit
        self.wait_for_runs = wait_for_runs
        self.deadline: float | None = None

    async def do(self, action: MachineAction) -> ActionOutcome:
        try:
            return await self._do(action)
        except _Running:
            return "skipped", "its job is still running: run apply again later"

    async def _do(self, action: MachineAction) -> ActionOutcome:
        machine, wanted = action.machine, action.wanted
        if machine is None:
            assert wanted is not None, "a create has a wanted machine"  # noqa: S101
            return await self._create(wanted)
        if wanted is None:
            return await self._delete(machine)
        if action.kind == "replace":
            outcome, text = await self._delete(machine)
            return (outcome, text) if outcome != "done" else await self._create(wanted)
        return await self._update(wanted, machine, forced=not action.changes)

    async def _create(self, wanted: WantedMachine) -> ActionOutcome:
        """Never asked twice without looking in between: the answer alone may have been lost."""
        pauses = self.rate_limit.backoff()
        while True:
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
                await self.rate_limit.sleep(pause)
            else:
                return "done", f"created as {machine.id}"

    async def _find(self, name: str) -> Machine | None:
        return next((m for m in await self.fly.machines() if m.name == name), None)

    async def _adopt(self, wanted: WantedMachine, machine: Machine) -> ActionOutcome:
        """Ours, made by a request whose answer was lost or by another apply."""
        if not machine.owned:
            return "failed", "a machine of that name is not ours"
        if changed_fields(wanted.config, machine):
            return await self._update(wanted, machine)
        return "done", f"created as {machine.id}"

    async def _update(
        self, wanted: WantedMachine, machine: Machine, *, forced: bool = False
    ) -> ActionOutcome:
        for pause in self.rate_limit.backoff():
            machine = await self._at_rest(machine)
            try:
                async with self.fly.lease(machine) as nonce:
                    machine = await self.fly.get(machine.id)
                    if not forced and not changed_fields(wanted.config, machine):
                        return "done", "it is as wanted already"
                    if not machine.at_rest:
                        continue  # its schedule fired while we took the lease
                    updated = await self.fly.update(machine, wanted.config, nonce)
                return await self._verify(wanted, updated)
            except Conflict:
                await self.rate_limit.sleep(pause)
        return "skipped", "somebody else is changing it: run apply again later"

    async def _verify(self, wanted: WantedMachine, machine: Machine) -> ActionOutcome:
        """An update that does not fit its host is taken back after it was answered with 200."""
        await self.fly.wait_stopped(machine, 30)
        changes = changed_fields(wanted.config, await self.fly.get(machine.id))
        if changes:
            fields = ", ".join(change.field for change in changes)
            return "failed", f"Fly took the update back ({fields}), its host may be full: run again"
        return "done", "updated"

    async def _delete(self, machine: Machine) -> ActionOutcome:
        for pause in self.rate_limit.backoff():
            try:
                machine = await self._at_rest(machine)
                async with self.fly.lease(machine) as nonce:
                    await self.fly.delete(machine, nonce)
            except Gone:
                return "done", "it was gone already"
            except Conflict:
                await self.rate_limit.sleep(pause)
                continue
            return "done", "destroyed"
        return "skipped", "somebody else is changing it: run apply again later"

    async def _at_rest(self, machine: Machine) -> Machine:
        """The machine, read again if it ran; raises _Running when the time for waiting is over."""
        while not machine.at_rest:
            now = self.rate_limit.now()
            self.deadline = now + self.wait_for_runs if self.deadline is None else self.deadline
            if now >= self.deadline:
                raise _Running
            await self.fly.wait_stopped(machine, self.deadline - now)
            machine = await self.fly.get(machine.id)
        return machine
