"""Schedules at random: kills, SIGTERM, stores that raise, clocks that differ, faults of any shape,
outages of hours, and people who change their minds. ``make crash SEEDS=10000`` plays more of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from speakerbot.testing.crash.installed import play as play_through_command

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


def killed(said: str) -> int:
    """Without any, nothing was shown."""
    total = re.search(r"(\d+) killed\.$", said.strip())
    assert total, said
    return int(total[1])


def test_a_sample_holds(tmp_path: Path) -> None:
    said = play(0, SAMPLE, tmp_path)
    assert f"{SAMPLE} of {SAMPLE} held, seeds 0 to {SAMPLE - 1};" in said
    assert killed(said) > 0


@pytest.mark.slow_suite
def test_a_larger_sample_holds(tmp_path: Path) -> None:
    whole = f"{SAMPLE_IN_SLOW_SUITE} of {SAMPLE_IN_SLOW_SUITE} held"
    said = play(SAMPLE, SAMPLE_IN_SLOW_SUITE, tmp_path)
    assert whole in said
    assert killed(said) > 0


def test_a_sample_holds_through_the_installed_command(tmp_path: Path) -> None:
    said = play_installed(0, 4, tmp_path)
    assert "4 of 4 held" in said
    assert killed(said) > 0


def test_a_round_that_does_not_end_is_a_problem_that_names_its_seed(tmp_path: Path) -> None:
    (played,) = play_through_command([7], tmp_path, round_limit=0.05)
    assert "seed 7: no end after 0.05 s" in played.problems


@pytest.mark.slow_suite
def test_a_larger_sample_holds_through_the_installed_command(tmp_path: Path) -> None:
    said = play_installed(4, 40, tmp_path)
    assert "40 of 40 held" in said
    assert killed(said) > 0


def play_installed(first: int, seeds: int, folder: Path) -> str:
    """With real kills, real clocks and real waits."""
    command = [sys.executable, "-m", "speakerbot.testing.crash"]
    command += ["--first", str(first), "--seeds", "0", "--installed", str(seeds)]
    played = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ
    )
    assert played.returncode == 0, played.stdout + played.stderr
    return played.stdout
