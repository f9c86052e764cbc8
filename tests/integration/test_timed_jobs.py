"""Jobs declared ``timed``, by the one that announces what starts: every run looks, any number of
them share the work, and a schedule shows that it is alive by its last look."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs import JOBS
from speakerbot.channels.discord.access import bot_of
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.run import RunOutcome
from speakerbot.errors import Unreachable
from speakerbot.runs.service import RunEnd, RunRequest, Scheduling
from speakerbot.runs.timed_jobs import is_late, last_look
from speakerbot.schedules.reading import read_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.testing.discord import BOT_ID
from speakerbot.testing.run_harness import TOKEN
from tests.integration.machine import DAY, Machine, instant

HORIZON = timedelta(minutes=75)
CHANNEL = "77"
MILLISECOND = timedelta(milliseconds=1)
KEY = f"starting/talk:t21/channel:{CHANNEL}/{DAY}"


@pytest.fixture
def starting(machine: Machine) -> Machine:
    machine.job = "starting"
    machine.settings = replace(machine.settings, announcements_channel_id=CHANNEL)
    return machine


def start_at(machine: Machine, clock_time: str, days: int = 0) -> None:
    machine.book(DAY + timedelta(days=days), starts_at=instant(clock_time).time())


def after_naps(machine: Machine, naps: int, what: Callable[[], object]) -> None:
    """Has something happen while the run waits for the nth second."""

    def meanwhile() -> None:
        if len(machine.naps) == naps:
            what()

    machine.meanwhile = meanwhile


def stay(machine: Machine, at: str, **options: Any) -> RunEnd:
    return machine.run(at, horizon=HORIZON, **options)


def posts(machine: Machine) -> list[str]:
    return [each.content for each in machine.discord.messages]


def posted_at(machine: Machine) -> datetime:
    [record] = machine.store.ledger.list()
    assert record.state == DeliveryState.SENT
    assert record.sent_at is not None
    assert len(machine.discord.messages) == 1
    return record.sent_at


class TestWhileItStays:
    def test_the_post_goes_at_the_minute_and_never_early(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        stay(starting, "18:40")
        assert instant("18:45") <= posted_at(starting) <= instant("18:45") + 300 * MILLISECOND
        assert starting.discord.messages[0].channel_id == CHANNEL

    def test_without_a_horizon_only_what_is_due_goes(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.run("18:44")
        assert (starting.naps, posts(starting), starting.ends) == ([], [], ["not_due"])
        starting.run("18:50")
        assert posted_at(starting) >= instant("18:50")

    def test_what_is_over_is_not_announced(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.run("19:00")
        assert (posts(starting), starting.ends) == ([], ["not_due"])

    def test_a_talk_that_is_booked_meanwhile_is_announced(self, starting: Machine) -> None:
        start_at(starting, "19:30")
        after_naps(starting, 60, lambda: start_at(starting, "18:10", days=0))
        stay(starting, "18:00")
        assert instant("18:01") <= posted_at(starting) <= instant("18:01:03")

    @pytest.mark.parametrize("naps", [60, 240, 298])
    def test_one_that_is_cancelled_meanwhile_is_not(self, starting: Machine, naps: int) -> None:
        start_at(starting, "19:00")
        after_naps(starting, naps, lambda: starting.store.talks.delete("t21"))
        stay(starting, "18:40")
        assert posts(starting) == []

    def test_one_that_starts_later_than_was_thought_is_waited_for(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        after_naps(starting, 240, lambda: start_at(starting, "19:05"))
        stay(starting, "18:40")
        assert instant("18:50") <= posted_at(starting) <= instant("18:50") + 300 * MILLISECOND
        assert "<t:1795287900:R>" in posts(starting)[0]

    def test_one_that_is_moved_to_another_day_is_announced_on_that(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        to = DAY + timedelta(days=1)
        after_naps(starting, 240, lambda: starting.store.talks.reschedule("t21", to))
        stay(starting, "18:40")
        assert posts(starting) == []

    def test_one_that_is_completed_meanwhile_is_not_announced(self, starting: Machine) -> None:
        start_at(starting, "19:00")

        def complete() -> None:
            [talk] = starting.store.talks.all()
            starting.store.talks.put([replace(talk, completed=True)])

        after_naps(starting, 240, complete)
        stay(starting, "18:40")
        assert posts(starting) == []

    def test_its_horizon_is_counted_from_each_moment(self, starting: Machine) -> None:
        """The second talk is too far off when the run begins. A tick that comes meanwhile, and for
        which no machine is started, is not missed."""
        start_at(starting, "19:00")
        [talk] = starting.store.talks.all()
        starting.store.talks.put([replace(talk, id="later", starts_at=instant("19:08").time())])
        starting.run("18:40", horizon=timedelta(minutes=10))
        records = starting.store.ledger.get([KEY, KEY.replace("t21", "later")])
        assert [record.state for record in records.values()] == ["sent", "sent"]
        later = records[KEY.replace("t21", "later")].sent_at
        assert later is not None
        assert instant("18:53") <= later <= instant("18:53") + 300 * MILLISECOND

    def test_it_ends_when_nothing_is_due_within_it_any_more(self, starting: Machine) -> None:
        """A later tick's run takes the talk on that was moved further off."""
        start_at(starting, "19:00")
        after_naps(starting, 60, lambda: start_at(starting, "20:30"))
        stay(starting, "18:00")
        assert (posts(starting), len(starting.naps)) == ([], 60)
        stay(starting, "20:10")
        assert posted_at(starting) >= instant("20:15")

    def test_its_timeout_is_that_of_the_work_between_two_waits(self, starting: Machine) -> None:
        """It may stay for days: what it does in them does not add up."""
        start_at(starting, "19:00")
        end = stay(starting, "18:40")
        assert (end.stopped, len(posts(starting))) == (None, 1)
        assert end.seconds_left > 595

    def test_clocks_that_go_back_meanwhile_make_no_difference(self, starting: Machine) -> None:
        starting.settings = replace(
            starting.settings,
            timezone=ZoneInfo("Europe/Berlin"),
            starting_before=timedelta(minutes=65),
        )
        day = date(2026, 10, 25)
        starting.book(day, starts_at=time(3, 10))
        starting.clock.move_to(instant("00:55", day))  # 02:55, for the first time
        request = RunRequest("starting", RunOptions(horizon=HORIZON), Scheduling(cron="@hourly"))
        starting.service.run(request, (starting,))
        due = instant("01:05", day)
        assert due <= posted_at(starting) <= due + 300 * MILLISECOND


class TestRuns:
    def test_a_second_one_does_nothing(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.run("18:50")
        requests = len(starting.discord.requests)
        for at in ("18:50:30", "18:55", "18:59:59", "19:30"):
            starting.run(at)
        assert len(starting.discord.requests) == requests
        assert len(posts(starting)) == 1

    def test_have_no_occurrence_to_hold(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.run("18:50")
        assert starting.store.occurrences.get("starting", instant("18:00")) is None
        [run] = starting.store.runs.list()
        assert (run.schedule, run.occurrence, run.outcome) == ("starting", None, RunOutcome.DONE)

    def test_that_only_look_are_not_on_record(self, starting: Machine) -> None:
        start_at(starting, "23:00")
        for at in ("12:00", "13:00"):
            stay(starting, at)
        assert list(starting.store.runs.list()) == []
        assert starting.ends == ["not_due", "not_due"]

    def test_that_stay_are_on_record_while_they_do(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        seen: list[str] = []

        def look() -> None:
            seen.extend(run.outcome for run in starting.store.runs.list())

        after_naps(starting, 60, look)
        stay(starting, "18:40")
        assert seen == ["running"]
        assert [run.outcome for run in starting.store.runs.list()] == ["done"]

    def test_without_a_channel_are_skipped_where_a_scheduler_asks(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.settings = replace(starting.settings, announcements_channel_id=None)
        stay(starting, "18:00")
        assert starting.ends == ["not_configured"]

    def test_at_another_decision_time_wait_for_nothing(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        stay(starting, "12:00", now=instant("18:00"))
        assert (starting.naps, len(posts(starting))) == ([], 1)
        assert last_look(starting.store, "starting") is None, "it looked at another time"

    def test_that_are_dry_show_what_would_go_when(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        stay(starting, "18:00", dry_run=True)
        assert (starting.naps, starting.states, posts(starting)) == ([], ["planned"], [])
        assert last_look(starting.store, "starting") is None


class TestWhatADeadRunLeft:
    """It had claimed the post, and died; the talk has started since."""

    @pytest.fixture
    def left(self, starting: Machine) -> Machine:
        start_at(starting, "19:00")
        at = instant("18:50")
        claimed = Delivery(
            KEY, "starting", f"channel:{CHANNEL}", DeliveryState.CLAIMED, "1", "dead", at,
            instant("19:00"), at, at, route="channel", target=CHANNEL, text="Starting",
            attempts=1, lease_until=at + timedelta(minutes=5), unconfirmed_since=at,
            bot=bot_of(TOKEN), nonce="n",
        )  # fmt: skip
        starting.store.ledger.swap([DeliveryChange(None, claimed)])
        return starting

    def test_is_closed_by_the_next_look(self, left: Machine) -> None:
        left.run("19:30")
        assert left.store.ledger.get([KEY])[KEY].state == DeliveryState.EXPIRED
        assert posts(left) == []
        requests = len(left.discord.requests)
        left.run("19:31")
        assert len(left.discord.requests) == requests
        assert left.ends[-1] == "not_due"

    def test_is_found_where_it_had_arrived(self, left: Machine) -> None:
        left.clock.move_to(instant("18:50"))
        left.discord.world.post(CHANNEL, BOT_ID, "Starting")
        left.run("19:30")
        assert left.store.ledger.get([KEY])[KEY].state == DeliveryState.SENT


class TestLooks:
    def test_are_stored_when_a_run_starts(self, starting: Machine) -> None:
        starting.run("12:34:56")
        at = last_look(starting.store, "starting")
        assert at is not None
        assert instant("12:34:56") <= at < instant("12:34:57")

    def test_and_once_a_minute_while_it_stays(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        found: set[datetime | None] = set()
        starting.meanwhile = lambda: found.add(last_look(starting.store, "starting"))
        stay(starting, "18:35")
        stored = sorted(at for at in found if at)
        assert len(stored) == 10
        assert all(after - before >= timedelta(minutes=1)
                   for before, after in pairwise(stored))  # fmt: skip
        assert not is_late(stored[-1], timedelta(hours=1), instant("19:58"))

    def test_of_a_person_who_asks_for_part_of_it_do_not_count(self, starting: Machine) -> None:
        start_at(starting, "19:00")
        starting.run("18:50", gated=False, limit=0)
        assert last_look(starting.store, "starting") is None

    def test_that_cannot_be_stored_are_a_warning(
        self, starting: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Marks:
            def __getattr__(self, name: str) -> Any:
                return getattr(below, name)

            def put(self, name: str, value: str) -> None:  # noqa: ARG002  # as the port has it
                raise Unreachable("no answer")

        below, starting.store.marks = starting.store.marks, Marks()
        start_at(starting, "19:00")
        stay(starting, "18:44")
        assert len(posts(starting)) == 1
        assert "look_not_stored" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("ago", "late"),
        [("75m", False), ("76m", True), (None, True), ("-74m", False), ("-76m", True)],
    )
    def test_are_late_after_a_tick_and_a_quarter_of_an_hour(
        self, ago: str | None, late: bool
    ) -> None:
        now = instant("18:00")
        last = now - timedelta(minutes=int(ago.removesuffix("m"))) if ago else None
        assert is_late(last, timedelta(hours=1), now) is late

    @pytest.mark.parametrize("value", ["", "soon", "2026-11-21T18:00:00"])
    def test_that_hands_have_spoilt_are_unknown(self, starting: Machine, value: str) -> None:
        starting.store.marks.put("look starting", value)
        assert last_look(starting.store, "starting") is None


def _schedules(folder: Path, *more: dict[str, Any]) -> tuple[Schedule, ...]:
    entry = {"name": "soon", "job": "starting", "cron": "@hourly", "args": ["--horizon", "75m"]}
    path = folder / "schedules.json"
    path.write_text(json.dumps({"schedules": [entry, *more]}), "utf-8")
    return tuple(read_schedules(path, JOBS))


class TestRunDue:
    @pytest.fixture
    def schedules(self, starting: Machine, tmp_path: Path) -> tuple[Schedule, ...]:
        found = _schedules(tmp_path)
        starting.settings = replace(starting.settings, schedules=tmp_path / "schedules.json")
        return found

    def test_looks_each_time_and_never_stays(
        self, starting: Machine, schedules: tuple[Schedule, ...]
    ) -> None:
        start_at(starting, "19:00")
        for at in ("18:00", "18:10", "18:40"):
            assert starting.run_due(at, *schedules) == 0
        assert (starting.naps, posts(starting)) == ([], [])
        starting.run_due("18:50", *schedules)
        assert posted_at(starting) >= instant("18:50")
        last = last_look(starting.store, "soon")
        assert last is not None
        assert last >= instant("18:50")

    def test_is_silent_where_nothing_is_due(
        self,
        starting: Machine,
        schedules: tuple[Schedule, ...],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        starting.run_due("18:00", *schedules)
        assert list(starting.store.runs.list()) == []
        assert "[info" not in capsys.readouterr().out

    def test_serves_what_starts_while_it_waits_for_something_else(
        self, starting: Machine, tmp_path: Path
    ) -> None:
        weekly = {"name": "w", "job": "weekly", "cron": "0 19 * * *", "wait": "60m"}
        schedules = _schedules(tmp_path, weekly)
        starting.settings = replace(starting.settings, schedules=tmp_path / "schedules.json")
        start_at(starting, "19:10")
        starting.run_due("18:30", *schedules)
        record = starting.store.ledger.get([KEY])[KEY]
        assert record.sent_at is not None
        assert instant("18:55") <= record.sent_at <= instant("18:55:01")
