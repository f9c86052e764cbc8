"""Posts in channels are made exactly once and in order, wherever a run dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from speakerbot.testing.crash import (
    Arena,
    CrashProcess,
    CrashRound,
    CrashSchedule,
    WorldOf,
    of_seed,
)
from speakerbot.testing.crash.posts import DigestWorld, EngagementWorld, WeeklyWorld

SEEDS = range(12)
FEWEST = 10
"""Boundaries that a run of any of these has at least."""


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb_server)])
def server(request: pytest.FixtureRequest) -> str | None:
    """A MongoDB's address; None for SQLite."""
    if request.param == "sqlite":
        return None
    if not (url := os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")):
        pytest.skip("SPEAKERBOT_TEST_MONGODB_URI names no MongoDB server")
    return url


@pytest.fixture
def arena(request: pytest.FixtureRequest, tmp_path: Path, server: str | None) -> Iterator[Arena]:
    world_of: WorldOf = request.param
    with Arena(world_of, tmp_path, server) as opened:
        yield opened


def _dying_at(boundary: int, variant: int) -> CrashSchedule:
    return CrashSchedule((CrashRound((CrashProcess(kill_at=boundary),)),), variant=variant)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arena", "variant"),
    [(WeeklyWorld, 0), (WeeklyWorld, 1), (EngagementWorld, 0), (DigestWorld, 0)],
    indirect=["arena"],
    ids=["weekly in two parts", "weekly posted by the Node bot", "engagement", "digest"],
)
def test_a_run_may_die_at_every_boundary(arena: Arena, variant: int) -> None:
    for boundary in count(1):
        played = arena.play(_dying_at(boundary, variant))
        assert not played.problems, (boundary, played.text())
        if not played.killed:
            break
    assert boundary > FEWEST, "it has passed them all"


@pytest.mark.slow
@pytest.mark.parametrize("arena", [WeeklyWorld, EngagementWorld, DigestWorld], indirect=True)
def test_two_runs_at_once_may_die_anywhere(arena: Arena) -> None:
    for seed in SEEDS:
        played = arena.play(of_seed(seed))
        assert not played.problems, (seed, played.text())
