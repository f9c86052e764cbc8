"""The crash harness itself: it sees what is wrong, kills what it says, and replays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.testing.crash import RemindersWorld, of_seed
from speakerbot.testing.crash.boundaries import stepping
from speakerbot.testing.crash.forks import CRASHED, Child, call
from speakerbot.testing.crash.running import dying_at
from speakerbot.testing.crash.schedules import read
from speakerbot.testing.crash.verdict import Evidence, Kept, judge, quiet
from speakerbot.testing.discord import DiscordMessage, DmOpened

AT = datetime(2026, 11, 20, 16, tzinfo=UTC)
WORLD = RemindersWorld(1, 0)
EXPECTED = WORLD.expected()


def sent(key: str) -> DiscordMessage:
    wanted = EXPECTED[key]
    channel_id = wanted.channel_id or f"dm of {wanted.user_id}"
    return DiscordMessage(
        f"1{len(wanted.text)}{key[-1]}", channel_id, "bot", f"Hi! {wanted.text}", key
    )


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


GOOD = Evidence(
    tuple(sent(key) for key in EXPECTED),
    tuple(
        DmOpened(f"dm of {wanted.user_id}", wanted.user_id, AT)
        for wanted in EXPECTED.values()
        if wanted.user_id
    ),
    Kept({key: record(key) for key in EXPECTED}, ()),
)
FIRST = next(iter(EXPECTED))


def problems(messages: Sequence[DiscordMessage] | None = None, **of_first: str) -> str:
    records = dict(GOOD.kept.records)
    records[FIRST] = records[FIRST]._replace(**of_first)  # type: ignore[arg-type]
    kept = Kept(records, ())
    evidence = replace(GOOD, kept=kept, messages=GOOD.messages if messages is None else messages)
    return "\n".join(judge(WORLD, evidence))


def test_all_sent_once_is_fine() -> None:
    assert problems() == ""
    assert quiet(WORLD, GOOD.kept)


def test_what_is_wrong_is_named() -> None:
    assert "sent 0 times" in problems(GOOD.messages[1:])
    assert "sent 2 times" in problems([*GOOD.messages, GOOD.messages[0]])
    elsewhere = DiscordMessage("1", "9", "bot", f"Hi! {EXPECTED[FIRST].text}")
    assert "sent to 9" in problems([elsewhere, *GOOD.messages[1:]])
    assert "nobody expected" in problems([*GOOD.messages, DiscordMessage("1", "9", "bot", "spam")])
    assert "the ledger says claimed" in problems(state="claimed")
    assert "names another message" in problems(message_id="8")
    in_store = replace(GOOD, kept=replace(GOOD.kept, problems=("a flag is wrong",)))
    assert judge(WORLD, in_store) == ["a flag is wrong"]


@pytest.mark.parametrize("state", ["claimed", "failed"])
def test_what_waits_is_not_quiet(state: str) -> None:
    waiting = {FIRST: record(FIRST)._replace(state=state)}  # type: ignore[arg-type]
    assert not quiet(WORLD, Kept({**GOOD.kept.records, **waiting}, ()))
    assert not quiet(WORLD, Kept({FIRST: record(FIRST)}, ()))


def test_a_seed_always_makes_the_same_schedule_and_its_text_brings_it_back() -> None:
    for seed in range(100):
        assert of_seed(seed) == of_seed(seed) == read(of_seed(seed).text())
    assert len({of_seed(seed).text() for seed in range(100)}) == 100


def test_a_child_says_how_far_it_came_and_dies_where_it_is_told_to(tmp_path: Path) -> None:
    class Store:
        def write(self) -> None:
            pass

    def code(mouth: int) -> int:
        store = stepping(Store(), ("write",), "store", dying_at(3, mouth))
        store.write()
        store.write()
        return 0

    ended = Child(code, tmp_path / "log").wait()
    assert ended.code == -signal.SIGKILL
    steps = ended.said.decode().splitlines()
    assert steps == ["1 before store.write", "2 after store.write", "3 before store.write"]


def test_a_child_is_killed_from_outside_when_it_is_time(tmp_path: Path) -> None:
    def code(mouth: int) -> int:
        os.write(mouth, b"ready")
        time.sleep(60)
        return 0

    child = Child(code, tmp_path / "log")
    assert child.wait(kill_when=lambda: True).code == -signal.SIGKILL


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
def test_one_command_replays_a_schedule() -> None:
    command = [sys.executable, "-m", "speakerbot.testing.crash", "--schedule", of_seed(3).text()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1 held." in done.stdout
