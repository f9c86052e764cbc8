"""A loopback Fly: the Machines API with its state, limits, faults and oddities, for tests.

``python -m speakerbot.testing.fly --port N`` serves one. In a test, make a :class:`FlyWorld`, serve
it with :func:`serve`, and let its time pass with :meth:`FlyWorld.pass_time`.
"""

from __future__ import annotations

from speakerbot.testing.fly.clock import FakeTime
from speakerbot.testing.fly.faults import FlyFault
from speakerbot.testing.fly.machine import CommandOutcome, FlyMachine
from speakerbot.testing.fly.server import serve
from speakerbot.testing.fly.world import FlyWorld

__all__ = ["CommandOutcome", "FakeTime", "FlyFault", "FlyMachine", "FlyWorld", "serve"]
