"""What is counted, shown and logged of each message, and what of a run still waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from speakerbot.bootstrap import templates as templates_of
from speakerbot.delivery.claims import Claim, Revisions, found, new_claim, restored, sent, unsent
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.results import Result
from speakerbot.domain.delivery import Delivery, DeliveryState, SkipReason
from speakerbot.domain.message import Edit, Message, NodeFlag, Route
from speakerbot.ports.channel import Posted, Receipt
from speakerbot.runs.report import (
    ChangeState,
    MessageOutcome,
    OutcomeLog,
    Report,
    RunCounts,
    RunHeader,
    RunSummary,
    ServiceChange,
    Waits,
)

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOPIC = "Engines of the past"
MESSAGE = Message(
    kind="reminder.day_before",
    subject="talk:t1",
    recipient="user:42",
    occasion="2026-11-21",
    routes=(Route("dm", "42"), Route("thread", "900", mention="42")),
    template="reminder.day_before",
    values={"username": "ada", "topic": TOPIC, "date": "2026-11-21", "days": 1, "starts_at": ""},
    due_at=NOW - 5 * MINUTE,
    expires_at=NOW + timedelta(hours=7),
    reason="talk on 2026-11-21",
)
PLAN = MessagePlan(MESSAGE, DeliveryState.PLANNED, MESSAGE.reason)
REVISIONS = Revisions("run")


@dataclass
class Shown:
    """An observer that keeps what it is shown."""

    outcomes: list[MessageOutcome] = field(default_factory=list)
    changes: list[ServiceChange] = field(default_factory=list)

    def begin(self, header: RunHeader) -> None:
        """Of no use here."""

    def add(self, outcome: MessageOutcome) -> None:
        self.outcomes.append(outcome)

    def change(self, change: ServiceChange) -> None:
        self.changes.append(change)

    def end(self, summary: RunSummary) -> None:
        """Of no use here."""

    @property
    def last(self) -> MessageOutcome:
        return self.outcomes[-1]


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def report(shown: Shown) -> Report:
    return Report((OutcomeLog(structlog.get_logger()), shown), templates_of())


def claim(plan: MessagePlan = PLAN) -> Claim:
    return new_claim(
        replace(plan, text=templates_of().of(plan.message)),
        None,
        run_id="run",
        revision=REVISIONS.next(),
        now=NOW,
        flag_at=None,
        lease=5 * MINUTE,
    )


def accepted(of: Claim) -> Delivery:
    return sent(of.record, Receipt("9", "77"), revision=REVISIONS.next(), now=NOW)


def refused(
    of: Claim, state: DeliveryState, error_class: str, retry_at: datetime | None = None
) -> Delivery:
    return unsent(
        of.record,
        state,
        revision=REVISIONS.next(),
        now=NOW,
        error_class=error_class,
        error="Discord said no",
        retry_at=retry_at,
        attempts=1,
    )


def finish(
    report: Report, after: Callable[[Claim], Delivery], plan: MessagePlan = PLAN
) -> dict[str, Any]:
    """Its log line."""
    held = claim(plan)
    with capture_logs() as lines:
        report.finished(Result(held, after(held)))
    [line] = lines
    return dict(line)


def test_a_sent_message_is_counted_shown_and_logged_without_its_text(
    report: Report, shown: Shown
) -> None:
    line = finish(report, accepted)
    assert report.counts.sent == 1
    assert (shown.last.state, shown.last.route, shown.last.reason) == ("sent", "dm", MESSAGE.reason)
    assert TOPIC in shown.last.text
    assert line == {
        "event": "message_sent",
        "log_level": "info",
        "key": MESSAGE.key,
        "route": "dm",
        "message_id": "77",
    }
    assert report.waits == Waits()


@pytest.mark.parametrize(
    ("state", "error_class", "counted"),
    [
        ("failed", "service", {"failed": {"service": 1}}),
        ("undeliverable", "recipient", {"undeliverable": 1}),
        ("unknown", "service", {"unknown": 1}),
        ("expired", "expired", {"skipped": {"expired": 1}}),
    ],
)
def test_one_that_did_not_go_is_counted_by_class_and_logged_with_the_reason(
    report: Report, shown: Shown, state: DeliveryState, error_class: str, counted: dict[str, Any]
) -> None:
    line = finish(report, lambda held: refused(held, state, error_class))
    empty = RunCounts().as_dict()
    assert report.counts.as_dict() == empty | counted
    assert (shown.last.state, shown.last.reason) == (state, "Discord said no")
    assert (line["event"], line["log_level"]) == (f"message_{state}", "warning")
    assert line["error"] == "Discord said no"
    assert TOPIC not in str(line)


def test_a_change_at_a_service_is_counted_by_what_was_done_and_logged(shown: Shown) -> None:
    report = Report((OutcomeLog(structlog.get_logger()), shown), templates_of())
    done = ServiceChange("create", "event", "On engines", ChangeState.DONE, "there was none", NOW)
    would = done._replace(action="update", state=ChangeState.PLANNED)
    left = done._replace(action="leave", state=ChangeState.LEFT, retry_at=NOW + MINUTE)
    failed = done._replace(action="delete", state=ChangeState.FAILED)
    with capture_logs() as logs:
        for change in (done, done, would, left, failed):
            report.changed(change)
    assert shown.changes == [done, done, would, left, failed]
    counts = {"created": 2, "failed": 1, "left": 1, "to_update": 1}
    assert report.counts.as_dict()["changes"] == counts
    assert [(line["log_level"], line["event"], line["state"]) for line in logs] == [
        ("info", "event_create", "done"),
        ("info", "event_create", "done"),
        ("info", "event_update", "planned"),
        ("info", "event_left", "left"),
        ("warning", "event_delete", "failed"),
    ]
    assert report.waits.retry_at == NOW + MINUTE
    assert would.text == "would update event “On engines”"


def test_a_run_without_changes_at_services_says_nothing_of_them() -> None:
    assert "changes" not in RunCounts().as_dict()


def test_the_first_retry_of_all_is_when_the_occurrence_goes_on(report: Report) -> None:
    for minutes in (9, 4, 7):
        retry_at = NOW + minutes * MINUTE
        finish(
            report,
            partial(refused, state=DeliveryState.FAILED, error_class="service", retry_at=retry_at),
        )
    assert report.waits.retry_at == NOW + 4 * MINUTE
    assert report.counts.failed == {"service": 3}


def test_a_claim_that_was_given_back_waits_for_a_later_run(report: Report, shown: Shown) -> None:
    held = claim()
    report.finished(Result(held, restored(held.before, REVISIONS), given_back=True))
    assert report.counts.skipped == {"given_back": 1}
    assert report.waits.more
    assert shown.last.state == "held_back"
    assert "a later run sends it" in shown.last.reason


def test_what_the_bot_had_posted_itself_counts_as_already_sent(
    report: Report, shown: Shown
) -> None:
    post = Posted("5", "theirs", NOW - MINUTE)
    line = finish(
        report,
        lambda held: found(held.record, post, revision=REVISIONS.next(), now=NOW, channel_id="9"),
    )
    assert (shown.last.state, shown.last.text) == ("already_sent", "theirs")
    assert report.counts.already_sent == 1
    assert line["event"] == "message_found"


@pytest.mark.parametrize(
    ("error_class", "state", "counted"),
    [("", "sent", "sent"), ("deleted", "held_back", "skipped"), ("service", "failed", "failed")],
)
def test_of_an_edit_its_own_outcome_is_shown_though_the_post_stays_sent(
    report: Report, shown: Shown, error_class: str, state: DeliveryState, counted: str
) -> None:
    plan = replace(PLAN, message=replace(MESSAGE, edit=Edit()))
    finish(report, lambda held: accepted(held)._replace(error_class=error_class), plan)
    assert shown.last.state == state
    assert report.counts.as_dict()[counted] in (1, {error_class: 1})


@pytest.mark.parametrize(
    ("skip", "retry", "resume", "more"),
    [
        (SkipReason.IN_PROGRESS, True, False, False),
        (SkipReason.RETRY_LATER, True, False, False),
        (SkipReason.QUIET_HOURS, False, True, False),
        (SkipReason.NEW_DM_PACE, False, False, True),
        (SkipReason.CHANGED_MEANWHILE, False, False, True),
        (SkipReason.OPTED_OUT, False, False, False),
        (SkipReason.EXPIRED, False, False, False),
    ],
)
def test_what_is_held_back_is_counted_by_reason_and_waited_for_where_it_may_still_go(
    report: Report, shown: Shown, skip: SkipReason, retry: bool, resume: bool, more: bool
) -> None:
    until = NOW + MINUTE
    report.held(MessagePlan(MESSAGE, DeliveryState.HELD_BACK, "why", skip, until=until))
    assert report.counts.skipped == {skip: 1}
    assert (shown.last.state, shown.last.reason) == ("held_back", "why")
    assert report.waits == Waits(until if retry else None, until if resume else None, more)


@pytest.mark.parametrize("state", ["already_sent", "undeliverable", "unknown"])
def test_what_the_ledger_knows_is_shown_as_it_was(
    report: Report, shown: Shown, state: DeliveryState
) -> None:
    record = accepted(claim())._replace(route="thread", text="as it was sent")
    report.held(MessagePlan(MESSAGE, state, "known", record=record))
    assert (shown.last.route, shown.last.text) == ("thread", "as it was sent")
    assert report.counts.as_dict()[state] == 1


def test_the_node_bots_text_is_not_ours_to_tell(report: Report, shown: Shown) -> None:
    message = replace(MESSAGE, flag=NodeFlag("t1", "sentTminus1At", NOW, counts=True))
    report.held(MessagePlan(message, DeliveryState.ALREADY_SENT, "the Node bot sent it"))
    assert (shown.last.route, shown.last.text) == ("", "")


def test_a_planned_message_is_shown_by_its_first_route_as_it_would_go_there(
    report: Report, shown: Shown
) -> None:
    report.held(PLAN)
    assert (shown.last.state, shown.last.route) == ("planned", "dm")
    assert shown.last.text.startswith("Hi ada!")
    thread_only = replace(MESSAGE, routes=MESSAGE.routes[1:])
    report.held(MessagePlan(thread_only, DeliveryState.PLANNED, "why"))
    assert shown.last.text.startswith("<@42> Hi ada!")


def test_a_retry_is_shown_by_the_route_it_goes_on_with(report: Report, shown: Shown) -> None:
    record = refused(claim(), DeliveryState.FAILED, "service")._replace(
        route="thread", target="900", text="old"
    )
    report.held(MessagePlan(MESSAGE, DeliveryState.PLANNED, "why", record=record))
    assert shown.last.route == "thread"
    assert shown.last.text.startswith("<@42> Hi ada!")


def test_a_message_without_any_route_is_shown_without_one(report: Report, shown: Shown) -> None:
    report.held(MessagePlan(replace(MESSAGE, routes=()), DeliveryState.PLANNED, "why"))
    assert shown.last.route == ""
    assert shown.last.text.startswith("Hi ada!")
