"""Runs a machine's real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speakerbot.testing.fly.machine import CommandOutcome, FlyMachine


@dataclass(frozen=True, slots=True)
class RealCommand:
    """A runner for :class:`FlyWorld`: the image's entrypoint with the machine's arguments.

    Blocks until the command ends; ``limit`` seconds at most, then it is killed (exit code 137).
    ``env`` stands for the app's secrets.
    """

    entrypoint: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    app: str = "community"
    limit: float = 120.0

    def __call__(self, machine: FlyMachine, _now: float) -> CommandOutcome:
        config = machine.config
        variables = {
            **os.environ,
            **self.env,
            **config.get("env", {}),
            "FLY_APP_NAME": self.app,
            "FLY_MACHINE_ID": machine.id,
            "FLY_REGION": machine.region,
        }
        command = [*self.entrypoint, *config.get("init", {}).get("cmd", [])]
        began = time.monotonic()
        try:
            run = subprocess.run(command, env=variables, timeout=self.limit, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return CommandOutcome(exit_code=137, seconds=self.limit)
        return CommandOutcome(exit_code=run.returncode, seconds=time.monotonic() - began)
