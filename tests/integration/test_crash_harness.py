"""The crash harness itself: it sees what is wrong, kills what it says, and replays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.errors import Unreachable
from speakerbot.testing.crash import Arena, RemindersWorld, of_seed
from speakerbot.testing.crash.__main__ import WORLDS, job_of
from speakerbot.testing.crash.boundaries import stepping
from speakerbot.testing.crash.job_process import stalling, suffering
from speakerbot.testing.crash.judge import Evidence, Kept, Promise, judge, quiet
from speakerbot.testing.crash.node_bot_world import NodeBotWorld
from speakerbot.testing.crash.processes import CRASHED, Child, call
from speakerbot.testing.crash.seeds import (
    CrashProcess,
    CrashRound,
    CrashSchedule,
    WorldEvent,
    around_node_bot,
    plays_on_mongodb,
    read,
)
from speakerbot.testing.crash.world import Arrival, SharedClock
from speakerbot.testing.discord import DiscordMessage

AT = datetime(2026, 11, 20, 16, tzinfo=UTC)
WORLD = RemindersWorld(1, 0)
EXPECTED = WORLD.expected()
FIRST, SECOND, *_ = EXPECTED
"""Both by direct message; the first one's thread is the next way."""


def sent(
    key: str, way: Arrival | None = None, *, channel_id: str = "", content: str = ""
) -> DiscordMessage:
    wanted = way or EXPECTED[key].ways[0]
    channel = channel_id or wanted.channel_id or f"dm of {wanted.user_id}"
    return DiscordMessage(f"id of {key}", channel, "bot", content or str(wanted.text), key)


def record(key: str) -> Delivery:
    return Delivery(
        key,
        "reminder",
        "user:1",
        DeliveryState.SENT,
        "r",
        "run",
        AT,
        AT,
        AT,
        AT,
        message_id=sent(key).id,
    )


MESSAGES = tuple(sent(key) for key in EXPECTED)
DMS = {
    f"dm of {way.user_id}": way.user_id
    for wanted in EXPECTED.values()
    for way in wanted.ways
    if way.user_id
}
KEPT = Kept({key: record(key) for key in EXPECTED}, "finished")


def promise(*, refuses: bool = False) -> Promise:
    return Promise(dict(EXPECTED), refuses=refuses)


def problems(
    messages: Sequence[DiscordMessage] = MESSAGES, *, refuses: bool = False, **of_first: str
) -> str:
    records = {**KEPT.records, FIRST: KEPT.records[FIRST]._replace(**of_first)}  # type: ignore[arg-type]
    evidence = Evidence(messages, DMS)
    return "\n".join(judge(promise(refuses=refuses), evidence, replace(KEPT, records=records)))


def test_all_sent_once_is_fine() -> None:
    assert problems() == ""
    assert quiet(promise(), KEPT)


def test_what_is_wrong_is_named() -> None:
    assert "sent 0 times" in problems(MESSAGES[1:])
    assert "sent 2 times" in problems([*MESSAGES, MESSAGES[0]])
    spam = DiscordMessage("1", "9", "bot", "spam")
    assert "nobody expected 'spam'" in problems([*MESSAGES, spam])
    assert "the ledger says claimed" in problems(state="claimed")
    assert "names another message" in problems(message_id="8")
    found = judge(promise(), Evidence(MESSAGES, DMS), replace(KEPT, problems=("a wrong flag",)))
    assert found == ["a wrong flag"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel_id": f"dm of {EXPECTED[SECOND].ways[0].user_id}"},
        {"channel_id": "a channel nobody opened"},
        {"content": str(EXPECTED[FIRST].ways[0].text)[:-1]},
    ],
    ids=["another's direct messages", "no direct messages", "not the whole text"],
)
def test_the_right_address_and_the_whole_text_count(wrong: dict[str, str]) -> None:
    found = problems([sent(FIRST, **wrong), *MESSAGES[1:]])  # type: ignore[arg-type]
    assert f"{FIRST}: sent 0 times" in found
    assert "nobody expected" in found


def test_another_route_is_right_only_where_discord_refuses_what_it_should_not() -> None:
    by_thread = [sent(FIRST, EXPECTED[FIRST].ways[1]), *MESSAGES[1:]]
    assert "sent 0 times" in problems(by_thread)
    assert problems(by_thread, refuses=True) == ""


def test_a_message_is_given_up_only_where_discord_refuses_it() -> None:
    assert "sent 0 times" in problems(MESSAGES[1:], state="undeliverable")
    given_up = {"state": "undeliverable", "message_id": ""}
    assert problems(MESSAGES[1:], refuses=True, **given_up) == ""
    assert "but it arrived" in problems(state="undeliverable", refuses=True)
    assert "sent 2 times" in problems([*MESSAGES, MESSAGES[0]], refuses=True)


@pytest.mark.parametrize("before", [0, 1])
def test_what_was_called_off_does_not_come_any_more(before: int) -> None:
    called_off, evidence = promise(), Evidence(MESSAGES[1 - before :], DMS)
    called_off.end([FIRST], evidence)
    assert judge(called_off, evidence, KEPT) == []
    later = Evidence((*evidence.messages, MESSAGES[0]), DMS)
    assert f"{before} before it was called off" in "\n".join(judge(called_off, later, KEPT))


def test_people_change_each_talk_once() -> None:
    world = RemindersWorld(1, 0)
    handed_over = world.change(WorldEvent("hand_over", 0))
    assert handed_over is not None
    assert list(handed_over.ended) == [FIRST]
    assert len(handed_over.begun) == 1
    assert not set(handed_over.begun) & set(EXPECTED)
    assert world.change(WorldEvent("cancel", 0)) is None


@pytest.mark.parametrize("state", ["claimed", "failed"])
def test_what_waits_is_not_quiet(state: str) -> None:
    waiting = {FIRST: record(FIRST)._replace(state=state)}  # type: ignore[arg-type]
    assert not quiet(promise(), replace(KEPT, records={**KEPT.records, **waiting}))
    assert not quiet(promise(), replace(KEPT, records={FIRST: record(FIRST)}))
    assert not quiet(promise(), replace(KEPT, standing="open"))


def test_a_seed_always_makes_the_same_schedule_and_its_text_brings_it_back() -> None:
    for seed in range(100):
        assert of_seed(seed) == of_seed(seed) == read(of_seed(seed).text())
    assert len({of_seed(seed).text() for seed in range(100)}) == 100


def test_every_world_comes_to_play_on_either_store() -> None:
    played = {(job_of(seed), plays_on_mongodb(seed)) for seed in range(200)}
    assert played == {(job, server) for job in WORLDS for server in (True, False)}


def test_a_schedule_around_the_node_bot_has_one_round_in_its_minute_or_across_its_begin() -> None:
    begins, stalls = [], []
    for seed in range(100):
        schedule = around_node_bot(seed)
        assert schedule == around_node_bot(seed) == read(schedule.text())
        minutes = [each for each in schedule.rounds if each.gap == "minute"]
        assert [event.what for each in minutes for event in each.events] == ["node_bot"]
        processes = [process for each in minutes for process in each.processes]
        assert not any(process.clock_ahead for process in processes)
        begins += [each.into_minute for each in minutes]
        stalls += [each.stall_until for each in processes if each.stall_at]
    assert -1 < min(begins) < 0 < max(begins) < 120
    assert min(stalls) < 1 < max(stalls)
    assert any(30 < until < 31 for until in stalls), "until the Node bot is sending"


def test_what_the_node_bot_has_sent_must_not_go_again() -> None:
    theirs = msgspec.structs.replace(MESSAGES[0], nonce=None)
    left = promise()
    left.leave_to_node_bot(Evidence((theirs, *MESSAGES[1:]), DMS))
    assert left.by_node_bot == {FIRST}
    ours = replace(KEPT, records={key: KEPT.records[key] for key in EXPECTED if key != FIRST})
    assert quiet(left, ours)
    assert judge(left, Evidence((theirs, *MESSAGES[1:]), DMS), ours) == []
    twice = judge(left, Evidence((theirs, *MESSAGES), DMS), ours)
    assert twice == [f"{FIRST}: sent 2 times, once of them by the Node bot"]
    claimed = KEPT.records[FIRST]._replace(state=DeliveryState.CLAIMED)
    open_claim = replace(KEPT, records={**KEPT.records, FIRST: claimed})
    assert not quiet(left, open_claim), "it is to be settled"
    found = judge(left, Evidence((theirs, *MESSAGES[1:]), DMS), open_claim)
    assert found == [f"{FIRST}: the Node bot sent it, and the ledger says claimed for ever"]


def test_who_sleeps_wakes_when_another_process_puts_time_forward(tmp_path: Path) -> None:
    clock = SharedClock()
    clock.real()

    def sleep(_: int) -> int:
        clock.sleep(3600)
        return 0

    def put_forward(_: int) -> int:
        clock.time.put_forward(timedelta(hours=1))
        return 0

    sleeper, begin = Child(sleep, tmp_path / "log"), time.monotonic()
    assert Child(put_forward, tmp_path / "log").wait().code == 0
    assert sleeper.wait().code == 0
    assert time.monotonic() - begin < 30
    assert clock.time.ahead == timedelta(hours=1)


def test_a_child_says_how_far_it_came_and_dies_where_it_is_told_to(tmp_path: Path) -> None:
    class Store:
        def write(self) -> None:
            pass

    def code(mouth: int) -> int:
        store = stepping(Store(), ("write",), "store", suffering(CrashProcess(3), mouth))
        store.write()
        store.write()
        return 0

    ended = Child(code, tmp_path / "log").wait()
    assert ended.code == -signal.SIGKILL
    steps = ended.said.decode().splitlines()
    assert steps == ["1 before store.write", "2 after store.write", "3 before store.write"]


def test_a_child_stalls_where_it_is_told_to_and_only_then_suffers_the_rest(tmp_path: Path) -> None:
    def code(mouth: int) -> int:
        def stall(until: float) -> None:
            os.write(mouth, f"stalls until {until}\n".encode())

        reached = suffering(CrashProcess(kill_at=2, stall_at=2, stall_until=30.5), mouth, stall)
        reached("first")
        reached("second")
        return 0

    ended = Child(code, tmp_path / "log").wait()
    assert ended.code == -signal.SIGKILL
    assert ended.said.decode().splitlines() == ["1 first", "2 second", "stalls until 30.5"]


def test_a_stall_lasts_until_the_node_bots_minute_is_so_far(tmp_path: Path) -> None:
    world = NodeBotWorld(1, 0)
    clock = world.clock
    assert clock is not None
    assert world.minute is not None
    wakes_at = world.minute + timedelta(seconds=30.5)

    def stalls(_: int) -> int:
        stalling(world, clock)(30.5)
        return 0 if clock.real() >= wakes_at else 1

    def put_forward(_: int) -> int:
        clock.put_forward_to(wakes_at)
        clock.put_forward_to(wakes_at - timedelta(hours=1))  # it is later already
        return 0

    stalled = Child(stalls, tmp_path / "log")
    assert Child(put_forward, tmp_path / "log").wait().code == 0
    assert stalled.wait().code == 0


def test_a_run_ends_in_order_at_sigterm(tmp_path: Path) -> None:
    """What it has not begun it gives back; nothing else would be seen of a plain kill."""
    schedule = CrashSchedule((CrashRound((CrashProcess(term_at=12),)),))
    with Arena(tmp_path) as arena:
        played = arena.play(RemindersWorld, schedule)
    assert played.problems == []
    assert played.killed == 0
    assert played.trace[0].startswith("exit 143:")


def test_a_store_raises_where_it_is_told_to_and_requests_do_not_count(tmp_path: Path) -> None:
    def code(mouth: int) -> int:
        reached = suffering(CrashProcess(raise_at=2, raises=2), mouth)
        raised = []
        for name in ("before store.write", "before discord.send", "after store.write", "a", "b"):
            try:
                reached(name)
            except Unreachable:
                raised.append(name)
        return 0 if raised == ["after store.write", "a"] else 1

    assert Child(code, tmp_path / "log").wait().code == 0


def test_a_child_is_killed_from_outside_when_it_is_time(tmp_path: Path) -> None:
    def code(mouth: int) -> int:
        os.write(mouth, b"ready")
        time.sleep(60)
        return 0

    child = Child(code, tmp_path / "log")
    assert child.wait(kill_when=lambda: True).code == -signal.SIGKILL


def test_a_child_that_hangs_is_killed_and_told(tmp_path: Path) -> None:
    def code(_: int) -> int:
        time.sleep(60)
        return 0

    ended = Child(code, tmp_path / "log").wait(too_long=0.1)
    assert (ended.code, ended.hung) == (-signal.SIGKILL, True)
    assert not Child(lambda _: 0, tmp_path / "log").wait().hung


def test_a_childs_traceback_is_kept(tmp_path: Path) -> None:
    def code(_: int) -> int:
        raise KeyError("what went wrong")

    log = tmp_path / "log"
    assert Child(code, log).wait().code == CRASHED
    assert "what went wrong" in log.read_text()
    with pytest.raises(RuntimeError, match="what went wrong"):
        call(lambda: code(0), log)
    assert call(lambda: [1, 2], log) == [1, 2]


@pytest.mark.slow
def test_one_command_replays_a_seed_or_a_schedule() -> None:
    for which in (["--seed", "3"], ["--schedule", CrashSchedule(()).text(), "--job", "digest"]):
        command = [sys.executable, "-m", "speakerbot.testing.crash", *which]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("held\n")
