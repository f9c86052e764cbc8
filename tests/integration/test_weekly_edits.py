"""Edits of the weekly post: true in the end, wherever a run dies and whoever edits at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest

from jobs import weekly
from speakerbot.clock import Clock, real_now
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange
from speakerbot.domain.talk import Talk
from speakerbot.runs.job import Job
from speakerbot.stores import open_store
from speakerbot.testing.crash.boundaries import Reached
from speakerbot.testing.crash.job_process import Place, run_once, suffering
from speakerbot.testing.crash.posts_worlds import WeeklyWorld
from speakerbot.testing.crash.processes import Child, call
from speakerbot.testing.crash.seeds import CrashProcess
from speakerbot.testing.discord import NO_LIMITS, DiscordMessage, LoopbackProcess, loopback_process


class EditWorld(WeeklyWorld):
    """The weekly job as ``--edit-only`` runs it."""

    def __init__(self, number: int) -> None:
        super().__init__(number, variant=0)
        self.job = Job("weekly", lambda context: weekly.decide(replace(context, edit_only=True)))

    def settings(self, base: Settings) -> Settings:
        return replace(super().settings(base), weekly_mode="edit")


class Bench:
    """A store and a loopback Discord in which this week's post, in two parts, stands already."""

    def __init__(self, folder: Path, discord: LoopbackProcess, number: int) -> None:
        self.discord, self._log = discord, folder / f"{number}.log"
        self.url = f"sqlite:///{folder / f'{number}.db'}"
        self._place = Place(self.url, discord.base_url, timedelta(minutes=5))
        self._posting, self._editing = WeeklyWorld(number, variant=0), EditWorld(number)
        self._clock = Clock(offset=self._posting.now - real_now())
        self._before = len(discord.client.messages())
        call(self._fill, self._log)
        self._run(self._posting)
        call(self._change, self._log)

    def edit(self, *, kill_at: int | None = None, reached: Reached | None = None) -> int:
        """The exit code of a run that dies at a boundary, or lets ``reached`` know of each."""
        return self._run(self._editing, kill_at, reached)

    def _run(
        self, world: WeeklyWorld, kill_at: int | None = None, reached: Reached | None = None
    ) -> int:
        def code(mouth: int) -> int:
            step = reached or suffering(CrashProcess(kill_at), mouth)
            return run_once(world, self._place, self._clock, step)

        return Child(code, self._log).wait().code

    def _fill(self) -> None:
        store = open_store(self.url)
        store.prepare()
        self._posting.fill(store)
        store.close()

    def _change(self) -> None:
        """The first part's topic is another one, the second part's talks are cancelled."""
        store = open_store(self.url)
        store.talks.put([Talk("t17", "17", "ada", "Another topic", date(2026, 11, 17))])
        store.talks.delete("t18")
        store.talks.delete("late")
        store.close()

    def posts(self) -> list[DiscordMessage]:
        return self.discord.client.messages()[self._before :]

    def records(self) -> list[Delivery]:
        """Of the parts, in their order."""
        return call(self.read_records, self._log)

    def read_records(self) -> list[Delivery]:
        """The same, in a process that may have threads."""
        store = open_store(self.url)
        try:
            return sorted(store.ledger.list(), key=lambda record: record.key)
        finally:
            store.close()


TRUE = [
    '## Upcoming Talks\n\n1. **2026-11-17** - ada: "Another topic"',
    "*Nothing more this week.*",
]


@pytest.fixture(scope="module")
def discord() -> Iterator[LoopbackProcess]:
    with loopback_process(NO_LIMITS) as running:
        yield running


@pytest.mark.slow
def test_an_edit_run_may_die_at_every_boundary(tmp_path: Path, discord: LoopbackProcess) -> None:
    for boundary in count(1):
        bench = Bench(tmp_path, discord, boundary)
        killed = bench.edit(kill_at=boundary) < 0
        assert bench.edit() == 0
        assert [post.content for post in bench.posts()] == TRUE, boundary
        assert [record.text for record in bench.records()] == TRUE, boundary
        if not killed:
            break
    assert boundary > 10, "it has passed them all"


def test_two_edits_at_once_leave_nobody_sure_so_the_next_run_edits_again(
    tmp_path: Path, discord: LoopbackProcess
) -> None:
    bench = Bench(tmp_path, discord, 10**6)

    def somebody_else_edits(name: str) -> None:
        """Between our request and our record."""
        if name != "before ledger.swap":
            return
        [first, _] = bench.read_records()
        store = open_store(bench.url)
        theirs = first._replace(text="theirs", revision="theirs")
        store.ledger.swap([DeliveryChange(first, theirs)])
        store.close()

    assert bench.edit(reached=somebody_else_edits) == 0
    assert bench.records()[0].text == "", "nobody knows what it shows"
    assert bench.edit() == 0
    assert [post.content for post in bench.posts()] == TRUE
    assert [record.text for record in bench.records()] == TRUE
