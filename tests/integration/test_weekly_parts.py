"""A week in two parts: wherever a run dies, and whatever is cancelled or booked meanwhile, each
talk of the list that was begun with is shown exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest

from jobs.weekly import JOB
from speakerbot.domain.talk import Talk
from speakerbot.testing.run_harness import Death, RunHarness

AFTER_LEASE = timedelta(minutes=6)
BOUNDARIES = 24
"""More than a run of this job reaches."""


def _book(harness: RunHarness, *days: int) -> None:
    harness.store.talks.put(
        [Talk(f"t{day}", str(day), "ada", "x" * 900, date(2026, 11, day)) for day in days]
    )


def _shown(harness: RunHarness) -> Counter[str]:
    """How often each day stands in the channel."""
    lines = [line for _, text in harness.sent() for line in text.splitlines() if line[:1].isdigit()]
    return Counter(line.partition("**")[2][8:10] for line in lines)


@pytest.fixture(autouse=True)
def _four_talks(harness: RunHarness) -> None:
    harness.settings = replace(
        harness.settings, announcements_channel_id="900", node_bot_coexist=False
    )
    _book(harness, 20, 21, 22, 23)


@pytest.mark.parametrize("nth", range(1, BOUNDARIES + 1))
def test_each_talk_of_the_first_list_is_shown_once(harness: RunHarness, nth: int) -> None:
    death = Death(None, nth)
    harness.run_until(death, job=JOB)
    begun = any(True for _ in harness.store.ledger.list())
    posted = _shown(harness)
    harness.store.talks.delete("t20")
    harness.store.talks.delete("t22")
    _book(harness, 24)
    for _ in range(3):
        harness.later(AFTER_LEASE)
        harness.run(job=JOB)
    shown = _shown(harness)
    assert set(shown.values()) == {1}, shown
    assert {"21", "23"} <= set(shown)
    assert set(shown) - {"21", "23", "20", "22"} == (set() if begun else {"24"})
    assert set(posted) <= set(shown)
    assert harness.run(job=JOB).states.count("sent") == 0
    if nth == BOUNDARIES:
        assert not death.dead, "all boundaries have been passed"
