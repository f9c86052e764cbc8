"""The Node bot's flags: set before a message goes, given back if it does not, and never mistaken
for the Node bot's own after a crash."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.domain.message import Decision
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import FlagWrite
from speakerbot.runs.job import Job, JobContext
from speakerbot.testing.discord import Fault
from speakerbot.testing.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


TALK = Talk("t1", "7", "Ada", "Kites", date(2026, 11, 20), thread_id="70")
AFTER_LEASE = timedelta(minutes=6)


@pytest.fixture
def job() -> Job:
    from jobs.reminders import JOB

    return JOB


@pytest.fixture(autouse=True)
def _one_talk(trial: Trial) -> None:
    offsets = parse_offsets("1d@16:00,0d@16:00")
    trial.settings = replace(trial.settings, reminder_offsets=offsets)
    trial.store.talks.put([TALK])
    trial.known("7", "77")


def flag(trial: Trial) -> datetime | None:
    talk = trial.store.talks.get("t1")
    assert talk is not None
    return talk.sent_day_of_at


def node_bot_sends(trial: Trial, at: datetime, *, over: datetime | None = None) -> None:
    """It has read what the flag was, and saves the document without looking again."""
    assert trial.store.talks.write_flags([FlagWrite("t1", "sentDayOfAt", over, at)])


def test_it_is_set_before_the_message_goes_and_stays(trial: Trial, job: Job) -> None:
    trial.die("before discord.send", job=job)
    assert flag(trial) is not None
    assert trial.sent() == []
    trial.later(AFTER_LEASE)
    assert trial.run(job=job).states == ["sent"]
    assert flag(trial) is not None


def test_two_crashes_in_a_row_do_not_make_our_flag_look_like_the_node_bots(
    trial: Trial, job: Job
) -> None:
    trial.die("after talks.write_flags", job=job)
    trial.later(AFTER_LEASE)
    trial.die("before talks.write_flags", job=job)
    trial.later(AFTER_LEASE)
    assert trial.run(job=job).states == ["sent"]
    assert len(trial.sent()) == 1


@pytest.mark.parametrize("crash", ["before talks.write_flags", "after talks.write_flags"])
def test_giving_a_claim_back_after_a_crash_does_not_lose_the_message(
    trial: Trial, job: Job, crash: str
) -> None:
    trial.die(crash, job=job)
    trial.later(AFTER_LEASE)
    trial.discord.settings = replace(trial.discord.settings, token="another")
    assert trial.run(job=job).states == ["held_back"]
    trial.discord.settings = replace(trial.discord.settings, token=None)
    assert trial.run(job=job).states == ["sent"]
    assert len(trial.sent()) == 1


def test_turning_coexistence_off_after_a_crash_does_not_lose_the_message(
    trial: Trial, job: Job
) -> None:
    trial.die("after talks.write_flags", job=job)
    trial.later(AFTER_LEASE)
    trial.settings = replace(trial.settings, node_bot_coexist=False)
    assert trial.run(job=job).states == ["sent"]


def test_a_refused_message_gives_the_flag_back(trial: Trial, job: Job) -> None:
    trial.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert trial.run(job=job).states == ["failed"]
    assert flag(trial) is None


def test_one_that_may_have_arrived_keeps_the_flag(trial: Trial, job: Job) -> None:
    trial.discord.inject(Fault(kind="lost_response", on="create_message"))
    assert trial.run(job=job).states == ["failed"]
    assert flag(trial) is not None


def test_the_node_bots_own_flag_counts_while_we_wait_to_try_again(trial: Trial, job: Job) -> None:
    trial.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert trial.run(job=job).states == ["failed"]
    trial.later(timedelta(minutes=31))
    node_bot_sends(trial, trial.clock.decision(), over=flag(trial))
    assert trial.run(job=job).states == ["already_sent"]
    assert trial.sent() == []


def test_a_flag_set_by_the_node_bot_between_reading_and_claiming_holds_us_back(
    trial: Trial, job: Job
) -> None:
    node_bot = trial.clock.decision() - timedelta(seconds=1)

    def decide_and_be_overtaken(context: JobContext) -> Iterator[Decision]:
        decided = list(job.decide(context))
        node_bot_sends(trial, node_bot)
        return iter(decided)

    assert trial.run(job=Job("reminders", decide_and_be_overtaken)).states == ["held_back"]
    assert flag(trial) == node_bot
    assert trial.run(job=job).states == ["already_sent"]
    assert trial.sent() == []


def hand_over(trial: Trial) -> None:
    """To somebody else, as the Node bot does: the flags stay."""
    talk = trial.store.talks.get("t1")
    assert talk is not None
    trial.store.talks.put([replace(talk, user_id="8", username="Bea")])
    trial.known("8", "88")


def test_a_talk_handed_over_after_its_reminder_reminds_the_new_speaker_once(
    trial: Trial, job: Job
) -> None:
    assert trial.run(job=job).states == ["sent"]
    hand_over(trial)
    trial.later(timedelta(hours=1))
    assert trial.run(job=job).states == ["sent"]
    assert trial.run(job=job).states == ["already_sent"]
    assert [channel for channel, _ in trial.sent()] == ["77", "88"]


@pytest.mark.parametrize(
    ("crash", "channels"),
    [
        ("before talks.write_flags", ["88"]),
        ("after talks.write_flags", ["88"]),
        ("before discord.send", ["88"]),
        ("after discord.send", ["77", "88"]),
    ],
)
def test_a_run_that_dies_over_the_first_speaker_does_not_silence_the_second(
    trial: Trial, job: Job, crash: str, channels: list[str]
) -> None:
    trial.die(crash, job=job)
    hand_over(trial)
    trial.later(AFTER_LEASE)
    assert trial.run(job=job).states == ["sent"]
    assert [channel for channel, _ in trial.sent()] == channels
    assert trial.run(job=job).states == ["already_sent"]


@pytest.mark.parametrize("crash", ["after talks.write_flags", "before ledger.swap"])
def test_a_claim_given_back_leaves_no_flag_that_silences_the_second_speaker(
    trial: Trial, job: Job, crash: str
) -> None:
    """The token is refused, and the run dies while it gives the flag and the claim back."""
    trial.discord.settings = replace(trial.discord.settings, token="another")
    trial.die(crash, job=job, nth=2)
    trial.discord.settings = replace(trial.discord.settings, token=None)
    hand_over(trial)
    assert trial.run(job=job).states == ["sent"]
    assert [channel for channel, _ in trial.sent()] == ["88"]


def test_a_refusal_of_the_second_speaker_keeps_them_from_nothing(trial: Trial, job: Job) -> None:
    """The flag goes back to what it was, the first speaker's; the next try still knows whose."""
    assert trial.run(job=job).states == ["sent"]
    first = flag(trial)
    hand_over(trial)
    trial.discord.inject(Fault(kind="rate_limit", retry_after=45, on="create_message"))
    assert trial.run(job=job).states == ["failed"]
    assert flag(trial) == first
    trial.later(timedelta(minutes=31))
    assert trial.run(job=job).states == ["sent"]
    assert [channel for channel, _ in trial.sent()] == ["77", "88"]


def test_a_talk_handed_back_is_not_announced_twice(trial: Trial, job: Job) -> None:
    assert trial.run(job=job).states == ["sent"]
    hand_over(trial)
    trial.later(timedelta(hours=1))
    assert trial.run(job=job).states == ["sent"]
    talk = trial.store.talks.get("t1")
    assert talk is not None
    trial.store.talks.put([replace(talk, user_id="7", username="Ada")])
    assert trial.run(job=job).states == ["already_sent"]
