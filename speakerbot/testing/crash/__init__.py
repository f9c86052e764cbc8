"""Proves that a job's messages are sent exactly once, wherever a run dies.

Real processes go through the run service and its occurrence lock. They are killed by SIGKILL before
and after each write to the store and each request, in the middle of a request, and at random;
others run beside them with other clocks, or end by SIGTERM; stores raise; Discord answers with
errors of every shape, or not at all, for hours; people cancel, move and hand over talks meanwhile;
the Node bot sends its own reminders beside them.
Then runs follow as a scheduler would start them, and what a loopback Discord in a process of its
own has accepted is compared with what should have been sent: each message exactly once, at its
address, with its whole text::

    with Arena(folder) as arena:
        played = arena.play(RemindersWorld, of_seed(7))
        assert not played.problems, played.text()

By hand, and to replay what a test printed::

    python -m speakerbot.testing.crash --seed 7
    python -m speakerbot.testing.crash --seeds 5000

Another job takes part with a :class:`CrashWorld` of its own.
"""

from __future__ import annotations

from speakerbot.testing.crash.arena import Arena, Played
from speakerbot.testing.crash.reminders_world import RemindersWorld
from speakerbot.testing.crash.seeds import CrashProcess, CrashRound, CrashSchedule, of_seed
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
