"""The state of the loopback Fly and the rules by which it changes. No HTTP here."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

from speakerbot.testing.fly.clock import FakeTime
from speakerbot.testing.fly.faults import FlyFault
from speakerbot.testing.fly.limits import FlyLimits
from speakerbot.testing.fly.machine import PERIODS, CommandOutcome, FlyMachine

GUEST_CPUS = {"shared": (1, 2, 4, 6, 8), "performance": (1, 2, 4, 6, 8, 10, 12, 14, 16)}
Runner = Callable[[FlyMachine, float], CommandOutcome]


class FlyRefusal(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, error: str, code: str = "unknown") -> None:
        super().__init__(error)
        self.status, self.code = status, code


class FlyWorld:
    """One app and its machines.

    ``run`` is called with a machine and the time whenever its command starts, and says how that
    goes. ``images`` None: every image exists. ``tokens``: token to the app it is for.
    """

    def __init__(
        self,
        *,
        app: str = "community",
        run: Runner = lambda _machine, _now: CommandOutcome(),
        time: FakeTime | None = None,
        images: Iterable[str] | None = None,
        limited: bool = True,
        seed: int = 0,
    ) -> None:
        self.app, self.run, self.time = app, run, time or FakeTime()
        self.images = None if images is None else set(images)
        self.tokens = {"fm2_good": app, "fm2_other": "another-app"}
        self.limits = FlyLimits(self.time.now, on=limited)
        self.machines: dict[str, FlyMachine] = {}
        self.faults: list[FlyFault] = []
        self.requests: list[str] = []
        self.on_crash: Callable[[], object] = lambda: None
        self.client_dead = False
        self.page = 1000
        self.lease_under_data = False
        self.refused_regions: set[str] = set()
        """Where there is no room for another machine."""
        self.replacing = 1.0
        """Seconds that the update of a stopped machine takes."""
        self.random = random.Random(seed)  # noqa: S311 - fuzz, and repeatable
        self._ids = (f"{number:014x}" for number in itertools.count(0x17811953C92E18))
        self._versions = (f"01H{number:023d}" for number in itertools.count(1))

    def named(self, name: str) -> FlyMachine:
        """The living machine of that name."""
        return next(machine for machine in self.living() if machine.name == name)

    def living(self) -> list[FlyMachine]:
        """Those that are not destroyed, oldest first, with runs that are over ended."""
        for machine in self.machines.values():
            machine.settle(self.time.now())
        return [machine for machine in self.machines.values() if machine.state != "destroyed"]

    def find(self, machine_id: str) -> FlyMachine:
        machine = self.machines.get(machine_id)
        if machine is None or machine.state == "destroyed":
            raise FlyRefusal(404, f"machine not found: {machine_id}")
        machine.settle(self.time.now())
        return machine

    def create(
        self, name: str, region: str, config: dict[str, Any], *, skip_launch: bool = False
    ) -> FlyMachine:
        """Makes a machine and launches it."""
        self._check_config(config)
        name = name or f"quiet-sound-{len(self.machines)}"
        if any(machine.name == name for machine in self.living()):
            raise FlyRefusal(
                409, f"already_exists: unique machine name violation: {name}", "name_taken"
            )
        if region in self.refused_regions:
            raise FlyRefusal(503, "insufficient resources available", "insufficient_capacity")
        now = self.time.now()
        machine = FlyMachine(next(self._ids), name, region, config, next(self._versions), now, now)
        self.machines[machine.id] = machine
        machine.add_event(now, "launch", "created", "user")
        machine.silenced = skip_launch
        if skip_launch:
            machine.state = "stopped"
        else:
            machine.phase = now
            machine.start(now, self.run(machine, now), "user")
        return machine

    def update(self, machine: FlyMachine, config: dict[str, Any], *, skip_launch: bool) -> None:
        """Replaces the whole config. A running machine is rebooted: its job dies."""
        self._check_config(config)
        now = self.time.now()
        if machine.state in ("started", "stopping"):
            machine.killed += 1
            machine.stop(now, CommandOutcome(exit_code=143), requested=True)
            if not skip_launch:
                machine.start(now, self.run(machine, now), "user")
        elif machine.state == "stopped":
            machine.state, machine.replaced_at = "replacing", now + self.replacing
        machine.config, machine.version = config, next(self._versions)
        machine.updated_at, machine.taken_back = now, None
        machine.silenced = machine.silenced or skip_launch
        machine.add_event(now, "update", "replaced", "user")

    def take_back(
        self,
        machine: FlyMachine,
        config: dict[str, Any],
        version: str,
        *,
        seconds: float,
        quiet: bool,
    ) -> None:
        """Takes the update just made back in that many seconds: its host is full. The machine is
        ``replacing`` until then, unless ``quiet``."""
        at = self.time.now() + seconds
        machine.taken_back = (at, config, version)
        if machine.state == "replacing" and not quiet:
            machine.replaced_at = at

    def delete(self, machine: FlyMachine, *, force: bool) -> None:
        if machine.state != "stopped" and not force:
            text = "failed_precondition: unable to destroy machine, not currently stopped"
            raise FlyRefusal(412, text)
        machine.killed += machine.state in ("started", "stopping")
        machine.state = "destroyed"

    def start(self, machine: FlyMachine) -> None:
        if machine.state == "started":
            raise FlyRefusal(412, "failed_precondition: machine is already started")
        if machine.state == "replacing":
            raise FlyRefusal(412, "failed_precondition: machine is being replaced")
        if machine.state == "stopping":
            raise FlyRefusal(412, "failed_precondition: machine is still stopping")
        now = self.time.now()
        machine.phase = machine.phase or now
        machine.start(now, self.run(machine, now), "user")

    def stop(self, machine: FlyMachine) -> None:
        """Asks its job to end, if one runs, and answers at once."""
        if machine.state == "started":
            machine.ask_to_stop(self.time.now())

    def pass_time(self, seconds: float, *, fuzz: float = 60.0, missed: float = 0.0) -> None:
        """Lets time pass and schedules fire: up to ``fuzz`` seconds late, a share of ``missed``
        ticks not at all. Nothing catches up."""
        end = self.time.now() + seconds
        ticks = sorted(
            (at + self.random.uniform(0, fuzz), machine.id)
            for machine in self.living()
            for at in self._ticks(machine, end)
            if self.random.random() >= missed
        )
        for at, machine_id in ticks:
            self.time.seconds = max(self.time.seconds, min(at, end))
            machine = self.machines[machine_id]
            machine.settle(self.time.now())
            if machine.state == "stopped":
                machine.start(self.time.now(), self.run(machine, self.time.now()))
        self.time.seconds = end
        self.living()

    def revive(self) -> None:
        """After a crash: a new client asks."""
        self.client_dead = False

    def _ticks(self, machine: FlyMachine, end: float) -> Iterable[float]:
        period = PERIODS.get(str(machine.config.get("schedule")))
        if period is None or machine.phase is None or machine.silenced:
            return
        passed = (self.time.now() - machine.phase) // period
        for number in itertools.count(int(passed) + 1):
            if (at := machine.phase + number * period) > end:
                return
            yield at

    def _check_config(self, config: dict[str, Any]) -> None:
        image = config.get("image")
        if not isinstance(image, str) or not image:
            raise FlyRefusal(400, "invalid_argument: config.image is required")
        if self.images is not None and image.partition("@")[0] not in self.images:
            raise FlyRefusal(400, f"failed to get manifest {image}: MANIFEST_UNKNOWN")
        guest = config.get("guest", {})
        kind, cpus = guest.get("cpu_kind", "shared"), guest.get("cpus", 1)
        if cpus not in GUEST_CPUS.get(kind, ()):
            raise FlyRefusal(422, f"invalid config.guest.cpus, {kind} machines have no {cpus} CPUs")
        memory = guest.get("memory_mb", 256)
        if memory % 256:
            text = f"invalid config.guest.memory_mb, {memory} is not a multiple of 256"
            raise FlyRefusal(422, text)
