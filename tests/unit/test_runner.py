"""What wraps a run: who is left out, what is recorded, how it ends whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from speakerbot.bootstrap import templates as templates_of
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.delivery import SkipReason
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.message import Decision, Message, Route, Skip
from speakerbot.domain.person import Person
from speakerbot.domain.run import Run
from speakerbot.errors import Unreachable
from speakerbot.ports.store import Runs, Store
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.report import (
    MessageOutcome,
    RunHeader,
    RunObserver,
    RunSummary,
    ServiceChange,
    Waits,
)
from speakerbot.runs.runner import Runner
from speakerbot.runs.steps import Step, TakeSnapshot
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DRY = RunOptions(dry_run=True)
SETTINGS = Settings(database_url="", discord_token="token")
Decide = Callable[[JobContext], Iterator[Decision]]


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


@dataclass
class Shown:
    """A sink that keeps what it is shown."""

    header: RunHeader | None = None
    outcomes: list[MessageOutcome] = field(default_factory=list)
    summary: RunSummary | None = None

    def begin(self, header: RunHeader) -> None:
        self.header = header

    def add(self, outcome: MessageOutcome) -> None:
        self.outcomes.append(outcome)

    def change(self, change: ServiceChange) -> None:
        """No job here makes any."""

    def end(self, summary: RunSummary) -> None:
        self.summary = summary

    @property
    def users(self) -> list[str | None]:
        return [outcome.message.user_id for outcome in self.outcomes]


def message(user: str) -> Message:
    return Message(
        kind="reminder.day_of",
        subject=f"talk:{user}",
        recipient=f"user:{user}",
        occasion="2026-11-20",
        routes=(Route("dm", user),),
        template="reminder.day_of",
        values={"username": "ada", "topic": "Engines", "date": "2026-11-20", "starts_at": ""},
        due_at=NOW - timedelta(minutes=5),
        expires_at=NOW + timedelta(hours=8),
        reason="due",
        opt_out="reminders",
    )


def yielding(*decisions: Decision) -> Decide:
    return lambda _: iter(decisions)


def runner(store: Store, decide: Decide, sink: RunObserver, order: RunOptions = DRY) -> Runner:
    return Runner(
        job=Job("probe", decide),
        options=order,
        timeout=None,
        store=store,
        settings=SETTINGS,
        templates=templates_of(),
        channels=None,
        observers=(sink,),
        log=structlog.get_logger(),
        clock=Clock.at(NOW),
    )


THREE = yielding(message("1"), message("2"), message("3"))


def test_a_dry_run_shows_what_would_go_and_writes_nothing(store: Store) -> None:
    shown = Shown()
    assert runner(store, THREE, shown).run() == Waits()
    assert shown.users == ["1", "2", "3"]
    assert {outcome.state for outcome in shown.outcomes} == {"planned"}
    assert shown.summary is not None
    assert shown.summary.counts.planned == 3
    assert list(store.runs.list()) == []
    assert list(store.ledger.list()) == []


def test_a_limit_ends_the_run_and_says_that_there_may_be_more(store: Store) -> None:
    shown = Shown()
    assert runner(store, THREE, shown, RunOptions(dry_run=True, limit=2)).run() is None
    assert shown.users == ["1", "2"]
    assert shown.summary is not None
    assert shown.summary.counts.planned == 2


def test_a_limit_of_none_at_all_plans_nothing(store: Store) -> None:
    shown = Shown()
    runner(store, THREE, shown, RunOptions(limit=0)).run()
    assert shown.outcomes == []


def test_only_one_person_leaves_everybody_else_out_and_uncounted(store: Store) -> None:
    shown = Shown()
    decide = yielding(Skip(SkipReason.COMPLETED, "talk:9"), message("1"), message("2"))
    assert runner(store, decide, shown, RunOptions(dry_run=True, only="2")).run() is None
    assert shown.users == ["2"]
    assert shown.summary is not None
    assert shown.summary.counts.skipped == {}


def test_only_narrows_and_still_honours_what_the_person_wishes(store: Store) -> None:
    store.people.put([Person("p2", "2", opted_out=frozenset({"all"}))])
    shown = Shown()
    runner(store, THREE, shown, RunOptions(dry_run=True, only="2")).run()
    assert [outcome.state for outcome in shown.outcomes] == ["held_back"]
    assert shown.outcomes[0].reason == "opted out of reminders"


def test_what_the_job_leaves_out_is_counted_by_reason(store: Store) -> None:
    shown = Shown()
    decide = yielding(
        Skip(SkipReason.COMPLETED, "talk:1"), Skip(SkipReason.OVERTAKEN, "talk:2"), message("3")
    )
    runner(store, decide, shown).run()
    assert shown.summary is not None
    assert shown.summary.counts.skipped == {"completed": 1, "overtaken": 1}


def test_a_run_with_nothing_to_send_is_recorded_and_opens_no_channel(store: Store) -> None:
    shown = Shown()
    runner(store, yielding(Skip(SkipReason.COMPLETED, "talk:1")), shown, RunOptions()).run()
    [run] = store.runs.list()
    assert (run.job, run.outcome) == ("probe", "done")
    assert NOW <= run.now < NOW + timedelta(minutes=1)
    assert run.finished_at is not None
    assert run.counts["skipped"] == {"completed": 1}
    assert shown.header is not None
    assert shown.header.run_id == run.id


def test_the_last_line_of_a_run_holds_every_count(store: Store) -> None:
    with capture_logs() as lines:
        runner(store, THREE, Shown()).run()
    line = dict(lines[-1])
    assert line.pop("run_id")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "run_finished",
        "log_level": "info",
        "job": "probe",
        "occurrence": None,
        "outcome": "done",
        "dry_run": True,
        "planned": 3,
        "sent": 0,
        "already_sent": 0,
        "skipped": {},
        "failed": {},
        "undeliverable": 0,
        "unknown": 0,
        "requests": 0,
        "rate_limited": 0,
        "stopped": "",
    }


def failing(error: Exception) -> Decide:
    def decide(_: JobContext) -> Iterator[Decision]:
        yield message("1")
        raise error

    return decide


@pytest.mark.parametrize("error", [Unreachable("the store is gone"), ZeroDivisionError("a bug")])
def test_whatever_fails_inside_the_run_is_closed_recorded_and_told(
    store: Store, error: Exception
) -> None:
    shown = Shown()
    with capture_logs() as lines, pytest.raises(type(error), match=str(error)):
        runner(store, failing(error), shown, RunOptions()).run()
    assert shown.summary is not None, "a JSON document is closed in any case"
    [run] = store.runs.list()
    assert (run.outcome, run.error) == ("failed", str(error))
    assert (lines[-1]["event"], lines[-1]["outcome"]) == ("run_finished", "failed")


class Unwritable:
    """Runs that cannot be recorded."""

    def __init__(self, behind: Runs) -> None:
        self.behind = behind
        self.get = behind.get
        self.list = behind.list
        self.prune = behind.prune

    def put(self, run: Run) -> None:  # noqa: ARG002  # the port's signature
        raise Unreachable("the disk is full")


def test_a_run_that_cannot_be_recorded_says_so_and_still_ends_as_it_did(store: Store) -> None:
    broken = copy(store)
    broken.runs = Unwritable(store.runs)
    with capture_logs() as lines:
        runner(broken, yielding(), Shown(), RunOptions()).run()
    assert [line["event"] for line in lines] == ["run_not_recorded", "run_finished"]
    shown = Shown()
    with pytest.raises(ZeroDivisionError):
        runner(broken, failing(ZeroDivisionError()), shown, RunOptions()).run()
    assert shown.summary is not None
    assert shown.summary.error == "ZeroDivisionError"


def test_a_jobs_steps_are_carried_out_before_it_decides_but_never_in_a_dry_run(
    store: Store,
) -> None:
    calls: list[str] = []

    def decide(context: JobContext) -> Iterator[Decision]:
        calls.append(f"decide, settled {context.settled}")
        return iter(())

    def steps(context: JobContext) -> Iterator[Step]:
        calls.append("steps")
        yield TakeSnapshot(context.now)

    job = Job("probe", decide, steps=steps)
    for order in (DRY, RunOptions()):
        one = runner(store, decide, Shown(), order)
        one.job = job
        one.run()
    assert calls == ["decide, settled False", "steps", "decide, settled True"]
    assert store.snapshots.taken()
