"""A week in two parts: wherever a run dies, and whatever is cancelled or booked meanwhile, each
talk of the list that was begun with is shown exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest

from jobs.weekly import JOB
from speakerbot.domain.talk import Talk
from speakerbot.testing.trial import Death, Trial

AFTER_LEASE = timedelta(minutes=6)
BOUNDARIES = 24
"""More than a run of this job reaches."""


def _book(trial: Trial, *days: int) -> None:
    trial.store.talks.put(
        [Talk(f"t{day}", str(day), "ada", "x" * 900, date(2026, 11, day)) for day in days]
    )


def _shown(trial: Trial) -> Counter[str]:
    """How often each day stands in the channel."""
    lines = [line for _, text in trial.sent() for line in text.splitlines() if line[:1].isdigit()]
    return Counter(line.partition("**")[2][8:10] for line in lines)


@pytest.fixture(autouse=True)
def _four_talks(trial: Trial) -> None:
    trial.settings = replace(trial.settings, announcements_channel_id="900", node_bot_coexist=False)
    _book(trial, 20, 21, 22, 23)


@pytest.mark.parametrize("nth", range(1, BOUNDARIES + 1))
def test_each_talk_of_the_first_list_is_shown_once(trial: Trial, nth: int) -> None:
    death = Death(None, nth)
    trial.run_until(death, job=JOB)
    begun = any(True for _ in trial.store.ledger.list())
    posted = _shown(trial)
    trial.store.talks.delete("t20")
    trial.store.talks.delete("t22")
    _book(trial, 24)
    for _ in range(3):
        trial.later(AFTER_LEASE)
        trial.run(job=JOB)
    shown = _shown(trial)
    assert set(shown.values()) == {1}, shown
    assert {"21", "23"} <= set(shown)
    assert set(shown) - {"21", "23", "20", "22"} == (set() if begun else {"24"})
    assert set(posted) <= set(shown)
    assert trial.run(job=JOB).states.count("sent") == 0
    if nth == BOUNDARIES:
        assert not death.dead, "all boundaries have been passed"
