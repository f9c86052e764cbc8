"""A run of any job is killed at every boundary; every message goes exactly once all the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from speakerbot.testing.crash import Arena, CrashProcess, CrashRound, CrashSchedule, WorldOf
from speakerbot.testing.crash.changes_world import ChangesWorld
from speakerbot.testing.crash.confirm_world import ConfirmWorld
from speakerbot.testing.crash.events_world import EventsWorld
from speakerbot.testing.crash.node_bot_world import WAYS, NodeBotWorld
from speakerbot.testing.crash.posts_worlds import (
    DigestWorld,
    EngagementWorld,
    StartingWorld,
    WeeklyWorld,
)
from speakerbot.testing.crash.reminders_world import EveningsWorld, InboxWorld, RemindersWorld
from speakerbot.testing.crash.seeds import LONG_LEASE, SHORT_LEASE, VARIANTS, Every, Gap, WorldEvent
from speakerbot.testing.discord import Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

SERVER = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
NO_SERVER = "SPEAKERBOT_TEST_MONGODB_URI names no server"
STORES = (
    pytest.param(None, id="sqlite"),
    pytest.param(
        SERVER,
        marks=[
            pytest.mark.slow_suite,  # of the random schedules, every fourth runs on MongoDB
            pytest.mark.mongodb_server,
            pytest.mark.skipif(not SERVER, reason=NO_SERVER),
        ],
        id="mongodb",
    ),
)
NODE_BOT_WAYS, NODE_BOT_REMINDERS = len(WAYS), 2
NODE_BOT_SENDS = 30.03
"""So many seconds into its minute it has read what to send, and has not saved the first one yet."""
NO_ANSWER = Fault(kind="lost_response", on="create_message", nth=1, accepted=True)
BEFORE_THE_MINUTE = 8
"""Boundaries in a row after which all is flagged before the minute begins."""
GAPS: tuple[Gap, ...] = ("window", "lease")
EVERY: tuple[Every, ...] = ("minute", "hour", "day")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    with Arena(tmp_path) as opened:
        yield opened


def hold(arena: Arena, world_of: WorldOf, schedule: CrashSchedule, mongodb: str | None) -> int:
    """Plays it; the promise has to hold. Returns how many processes died."""
    played = arena.play(world_of, schedule, mongodb)
    assert not played.problems, f"{schedule.text()}\n{played.text()}"
    return played.killed


def dying_at(boundary: int, gap: Gap) -> CrashSchedule:
    """Then two runs at once, by the same occurrence or the next."""
    return CrashSchedule(
        rounds=(
            CrashRound((CrashProcess(kill_at=boundary),)),
            CrashRound((CrashProcess(), CrashProcess()), gap=gap),
        ),
        variant=boundary % VARIANTS,
        lease=SHORT_LEASE if gap == "lease" else LONG_LEASE,
        history_nonces=boundary % 3 == 0,
        every=EVERY[boundary % 3],
        share=boundary % 2 == 0,
    )


@pytest.mark.parametrize("mongodb", STORES)
@pytest.mark.parametrize(
    ("world_of", "fewest"),
    [
        pytest.param(EngagementWorld, 15, id="engagement"),
        pytest.param(RemindersWorld, 40, id="reminders", marks=pytest.mark.slow_suite),
        pytest.param(InboxWorld, 30, id="inbox", marks=pytest.mark.slow_suite),
        pytest.param(ConfirmWorld, 40, id="confirm", marks=pytest.mark.slow_suite),
        pytest.param(EveningsWorld, 35, id="evenings", marks=pytest.mark.slow_suite),
        pytest.param(WeeklyWorld, 5, id="weekly", marks=pytest.mark.slow_suite),
        pytest.param(ChangesWorld, 35, id="changes", marks=pytest.mark.slow_suite),
        pytest.param(DigestWorld, 15, id="digest", marks=pytest.mark.slow_suite),
        pytest.param(StartingWorld, 25, id="starting", marks=pytest.mark.slow_suite),
        pytest.param(EventsWorld, 20, id="events", marks=pytest.mark.slow_suite),
    ],
)
def test_a_run_may_die_at_every_boundary(
    arena: Arena, world_of: WorldOf, fewest: int, mongodb: str | None
) -> None:
    """``fewest`` boundaries a run of any variant has at least."""
    alive = 0
    for boundary in count(1):
        died = hold(arena, world_of, dying_at(boundary, GAPS[boundary // 3 % 2]), mongodb)
        # Where the Node bot has posted (every other weekly), a run is over sooner.
        alive = 0 if died else alive + 1
        if alive == 2:
            break
    assert boundary > fewest, "it came to its end far too early"


@pytest.mark.parametrize("mongodb", STORES)
@pytest.mark.parametrize("dies_in_minute", [False, True], ids=["before it", "in it"])
@pytest.mark.slow_suite
def test_a_run_may_die_at_every_boundary_around_the_node_bots_minute(
    arena: Arena, dies_in_minute: bool, mongodb: str | None
) -> None:
    """Each reminder goes once in sum, by us or by the Node bot, and both come to send some."""
    alive = by_node_bot = by_us = 0
    for boundary in count(1):
        dying, living = CrashProcess(kill_at=boundary), CrashProcess()
        minute = CrashRound(
            (dying,) if dies_in_minute else (living, living),
            gap="minute",
            into_minute=boundary % 9 * 12.0,
            events=(WorldEvent("node_bot", 0, after=0.0),),
        )
        after = CrashRound((living, living), gap="window")
        schedule = CrashSchedule(
            rounds=(minute, after) if dies_in_minute else (CrashRound((dying,)), minute),
            # Its first ways: the Node bot could send both of its reminders.
            variant=boundary % 9 * NODE_BOT_WAYS,
            every=EVERY[boundary % 3],
        )
        played = arena.play(NodeBotWorld, schedule, mongodb)
        assert not played.problems, f"{schedule.text()}\n{played.text()}"
        by_node_bot += played.by_node_bot
        by_us += NODE_BOT_REMINDERS - played.by_node_bot
        alive = 0 if played.killed else alive + 1
        if alive == 2:
            break
    assert boundary > 25, "it came to its end far too early"
    assert by_node_bot > 0
    assert (by_us == 0) == dies_in_minute


@pytest.mark.parametrize("mongodb", STORES)
@pytest.mark.parametrize("then", ["goes on", "dies", "is told to stop", "gets no answer"])
@pytest.mark.slow_suite
def test_a_run_may_stall_at_every_boundary_until_the_node_bot_is_sending(
    arena: Arena, then: str, mongodb: str | None
) -> None:
    """What it had claimed by then, and what it had flagged, is the Node bot's or ours, never
    both's."""
    by_node_bot, over = [], 0
    for boundary in count(1):
        stalled = CrashProcess(
            kill_at=boundary + 1 if then == "dies" else None,
            term_at=boundary + 1 if then == "is told to stop" else None,
            stall_at=boundary,
            stall_until=NODE_BOT_SENDS,
        )
        minute = CrashRound(
            (stalled,),
            gap="minute",
            into_minute=-10.0,
            faults=(NO_ANSWER,) if then == "gets no answer" else (),
            events=(WorldEvent("node_bot", 0, after=0.25),),
        )
        after = CrashRound((CrashProcess(), CrashProcess()), gap="window")
        variant = boundary % 9 * NODE_BOT_WAYS
        schedule = CrashSchedule((minute, after), variant, every=EVERY[boundary % 3])
        played = arena.play(NodeBotWorld, schedule, mongodb)
        assert not played.problems, f"{schedule.text()}\n{played.text()}"
        by_node_bot.append(played.by_node_bot)
        over = 0 if played.by_node_bot else over + 1
        if over == BEFORE_THE_MINUTE:
            break
    assert NODE_BOT_REMINDERS in by_node_bot, "it has read before the flags were set"
    assert len(by_node_bot) > 5 + BEFORE_THE_MINUTE, "it came to its end far too early"


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
    assert hold(arena, RemindersWorld, schedule, None) == 1
