"""Several real processes run the same job over one store at once: every message goes once, and
together they stay under Discord's limit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from speakerbot import bootstrap, logs
from speakerbot.channels.discord.access import bot_of
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, Message, Route
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.runner import Runner
from speakerbot.stores import open_store
from speakerbot.testing.crash.arena import scratch_store
from speakerbot.testing.crash.processes import Child, call, warm_up
from speakerbot.testing.discord import LoopbackProcess, LoopbackSettings, loopback_process

pytestmark = pytest.mark.slow

RATE = 45.0
FIRST_USER, FIRST_DM = 10**17, 2 * 10**17
SERVER = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
NO_SERVER = "SPEAKERBOT_TEST_MONGODB_URI names no server"
STORES = (
    "sqlite",
    pytest.param(
        "mongodb",
        marks=[pytest.mark.mongodb_server, pytest.mark.skipif(not SERVER, reason=NO_SERVER)],
    ),
)


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_store(tmp_path, SERVER if request.param == "mongodb" else None) as url:
        yield url


@pytest.fixture
def discord() -> Iterator[LoopbackProcess]:
    """As strict as Discord, and as far away; but it knows no nonces: claims alone have to do."""
    settings = LoopbackSettings(latency=0.08, jitter=0.03, nonce_window=0.0)
    with loopback_process(settings) as running:
        yield running


def job(count: int) -> Job:
    def decide(context: JobContext) -> Iterator[Decision]:
        for number in range(count):
            user = str(FIRST_USER + number)
            yield Message(
                "race", "bench:1", f"user:{user}", "2026-11-20", (Route("dm", user),),
                "reminder.day_of",
                {"username": user, "date": "2026-11-20", "topic": "Races", "starts_at": ""},
                datetime(2026, 11, 20, tzinfo=UTC), context.now + timedelta(days=1), "a race",
            )  # fmt: skip

    return Job("race", decide)


def know_everybody(url: str, count: int) -> None:
    store = open_store(url)
    store.prepare()
    known = {str(FIRST_USER + number): str(FIRST_DM + number) for number in range(count)}
    store.limits.remember_dms(bot_of("race"), known)
    store.close()


def run(url: str, base: str, count: int) -> int:
    logs.configure("json")
    settings = Settings(url, discord_token="race", discord_api_base=base, rate=RATE)
    store = open_store(url)
    Runner(
        job=job(count),
        options=RunOptions(),
        timeout=None,
        store=store,
        settings=settings,
        templates=bootstrap.templates(settings.templates),
        channels=bootstrap.channels(settings),
        observers=(),
        log=logs.get_logger(),
        clock=Clock(),
    ).run()
    store.close()
    return 0


@pytest.mark.parametrize(("processes", "count"), [(1, 150), (2, 200), (4, 200)])
def test_each_message_goes_once_and_none_is_rate_limited(
    store_url: str, discord: LoopbackProcess, tmp_path: Path, processes: int, count: int
) -> None:
    log = tmp_path / "runs.log"
    warm_up()
    call(lambda: know_everybody(store_url, count), log)
    begin = monotonic()
    children = [
        Child(lambda _: run(store_url, discord.base_url, count), log) for _ in range(processes)
    ]
    codes = [child.wait().code for child in children]
    took = monotonic() - begin
    assert codes == [0] * processes, log.read_text()
    sent = Counter(message.channel_id for message in discord.client.messages())
    assert sent == {str(FIRST_DM + number): 1 for number in range(count)}
    counts = discord.client.counts()
    assert counts.rate_limited == 0
    assert sum(sum(statuses.values()) for statuses in counts.by_operation.values()) == count
    assert took > (count - 10) / RATE
