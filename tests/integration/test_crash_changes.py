"""Notices of changes are sent exactly once, wherever a run dies: in the store's writes that note
what is to be announced and what was heard, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from speakerbot.testing.crash import Arena, CrashProcess, CrashRound, CrashSchedule, of_seed
from speakerbot.testing.crash.changes import ChangesWorld

SEEDS = range(12)
FEWEST = 20
"""Boundaries that a run has at least."""


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb_server)])
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    server = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
    if request.param == "mongodb" and not server:
        pytest.skip("SPEAKERBOT_TEST_MONGODB_URI names no MongoDB server")
    with Arena(ChangesWorld, tmp_path, server if request.param == "mongodb" else None) as opened:
        yield opened


@pytest.mark.slow
def test_a_run_may_die_at_every_boundary(arena: Arena) -> None:
    for boundary in count(1):
        schedule = CrashSchedule((CrashRound((CrashProcess(kill_at=boundary),)),), variant=boundary)
        played = arena.play(schedule)
        assert not played.problems, (boundary, played.text())
        if not played.killed:
            break
    assert boundary > FEWEST, "it has passed them all"


@pytest.mark.slow
def test_two_runs_at_once_may_die_anywhere(arena: Arena) -> None:
    for seed in SEEDS:
        played = arena.play(of_seed(seed))
        assert not played.problems, (seed, played.text())
