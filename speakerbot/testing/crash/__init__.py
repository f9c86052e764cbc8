"""Proves that a job's messages are sent exactly once, wherever a run dies.

Real processes are killed by SIGKILL before and after each write to the store and each request, in
the middle of a request, and at random; others run beside them, Discord answers with errors, or not
at all. Then runs follow as a scheduler would start them, and what a loopback Discord in a process
of its own has accepted is compared with what should have been sent::

    with Arena(RemindersWorld, folder) as arena:
        played = arena.play(of_seed(7))
        assert not played.problems, played.text()

By hand, and to replay what a test printed::

    python -m speakerbot.testing.crash --seed 7
    python -m speakerbot.testing.crash --schedules 5000

Another job takes part with a :class:`CrashWorld` of its own.
"""

from __future__ import annotations

from speakerbot.testing.crash.playing import Arena, Played
from speakerbot.testing.crash.reminders import RemindersWorld
from speakerbot.testing.crash.schedules import CrashProcess, CrashRound, CrashSchedule, of_seed
from speakerbot.testing.crash.world import CrashWorld, Expected, WorldOf

__all__ = [
    "Arena",
    "CrashProcess",
    "CrashRound",
    "CrashSchedule",
    "CrashWorld",
    "Expected",
    "Played",
    "RemindersWorld",
    "WorldOf",
    "of_seed",
]
