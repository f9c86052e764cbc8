"""Schedules at random: kills, SIGTERM, stores that raise, clocks that differ, faults of any shape,
outages of hours, and people who change their minds. ``make crash SEEDS=10000`` plays more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

SAMPLE = 16
SAMPLE_IN_SLOW_SUITE = 800


def play(first: int, seeds: int, folder: Path) -> str:
    """As `make crash` does. What it prints names every seed that breaks the promise."""
    command = [sys.executable, "-m", "speakerbot.testing.crash", "--processes", "2"]
    command += ["--first", str(first), "--seeds", str(seeds), "--installed", "0"]
    played = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ
    )
    assert played.returncode == 0, played.stdout + played.stderr
    return played.stdout


def test_a_sample_holds(tmp_path: Path) -> None:
    assert f"{SAMPLE} of {SAMPLE} held, seeds 0 to {SAMPLE - 1}." in play(0, SAMPLE, tmp_path)


@pytest.mark.slow_suite
def test_a_larger_sample_holds(tmp_path: Path) -> None:
    whole = f"{SAMPLE_IN_SLOW_SUITE} of {SAMPLE_IN_SLOW_SUITE} held"
    assert whole in play(SAMPLE, SAMPLE_IN_SLOW_SUITE, tmp_path)


def test_a_sample_holds_through_the_installed_command(tmp_path: Path) -> None:
    assert "2 of 2 held" in play_installed(0, 2, tmp_path)


@pytest.mark.slow_suite
def test_a_larger_sample_holds_through_the_installed_command(tmp_path: Path) -> None:
    assert "40 of 40 held" in play_installed(2, 40, tmp_path)


def play_installed(first: int, seeds: int, folder: Path) -> str:
    """With real kills, real clocks and real waits."""
    command = [sys.executable, "-m", "speakerbot.testing.crash"]
    command += ["--first", str(first), "--installed", str(seeds)]
    played = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ
    )
    assert played.returncode == 0, played.stdout + played.stderr
    return played.stdout
