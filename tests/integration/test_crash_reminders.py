"""The reminders job is killed at every boundary and at random; every message goes exactly once.

``SPEAKERBOT_CRASH_SCHEDULES=5000`` plays so many random schedules instead of as many as fit into
the time of an ordinary test run. The slow suite plays others, for longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

from speakerbot.testing.crash import (
    Arena,
    CrashProcess,
    CrashRound,
    CrashSchedule,
    RemindersWorld,
    of_seed,
)
from speakerbot.testing.crash.schedules import SHORT_LEASE, VARIANTS, Gap
from speakerbot.testing.discord import Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

SERVER = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
NO_SERVER = "SPEAKERBOT_TEST_MONGODB_URI names no server"
STORES = (
    "sqlite",
    pytest.param(
        "mongodb",
        marks=[pytest.mark.mongodb_server, pytest.mark.skipif(not SERVER, reason=NO_SERVER)],
    ),
)
WANTED = os.environ.get("SPEAKERBOT_CRASH_SCHEDULES")
GAPS: tuple[Gap, ...] = ("window", "lease")
SAMPLE = range(int(WANTED or 300))
"""Seeds of the random schedules of an ordinary test run."""
SECONDS = float("inf") if WANTED else 5.0
"""That they may take on one store."""
SECONDS_IN_SLOW_SUITE = 90.0
COMMAND = "python -m speakerbot.testing.crash"


@pytest.fixture(params=STORES)
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    mongodb = SERVER if request.param == "mongodb" else None
    with Arena(RemindersWorld, tmp_path, mongodb) as opened:
        yield opened


def hold(arena: Arena, schedule: CrashSchedule, replay: str) -> int:
    """Plays it; the promise has to hold. Returns how many processes died."""
    played = arena.play(schedule)
    assert not played.problems, f"again: {COMMAND} {replay}\n{played.text()}"
    return played.killed


def dying_at(boundary: int, gap: Gap) -> CrashSchedule:
    return CrashSchedule(
        rounds=(
            CrashRound((CrashProcess(kill_at=boundary),)),
            CrashRound((CrashProcess(), CrashProcess()), gap=gap),
        ),
        variant=boundary % VARIANTS,
        lease=SHORT_LEASE if gap == "lease" else 300.0,
        history_nonces=boundary % 3 == 0,
    )


def test_a_run_may_die_at_every_boundary(arena: Arena) -> None:
    """Then two runs at once, after Discord has forgotten its nonces, and before; on a MongoDB,
    where a schedule takes longer, either in turn."""
    for boundary in count(1):
        gaps = GAPS[boundary % 2 :][:1] if arena.mongodb else GAPS
        died = 0
        for gap in gaps:
            schedule = dying_at(boundary, gap)
            died += hold(arena, schedule, f"--schedule '{schedule.text()}'")
        if not died:
            assert boundary > 30, "it came to its end far too early"
            return


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_run_may_die_between_acceptance_and_answer(arena: Arena, nth: int) -> None:
    lost = Fault(kind="hang", on="create_message", nth=nth, accepted=True)
    schedule = CrashSchedule(
        rounds=(
            CrashRound((CrashProcess(kill_unanswered=True),), faults=(lost,)),
            CrashRound((CrashProcess(), CrashProcess()), gap="window"),
        ),
        variant=nth,
    )
    assert hold(arena, schedule, f"--schedule '{schedule.text()}'") == 1


def play(arena: Arena, seeds: Iterable[int], seconds: float) -> None:
    begin = monotonic()
    died = played = 0
    for seed in seeds:
        died += hold(arena, of_seed(seed), f"--seed {seed}")
        played += 1
        if monotonic() - begin > seconds:
            break
    assert died > played / 3, "schedules are there to kill"


def test_anything_may_happen(arena: Arena) -> None:
    play(arena, SAMPLE, SECONDS)


@pytest.mark.slow_suite
def test_anything_may_happen_for_longer(arena: Arena) -> None:
    play(arena, count(len(SAMPLE)), SECONDS_IN_SLOW_SUITE)
