"""Why a message was sent, was not, or will be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

import jobs
from jobs.changes import JOB as CHANGES
from jobs.digest import JOB as DIGEST
from jobs.engagement import JOB as ENGAGEMENT
from jobs.reminders import JOB as REMINDERS
from jobs.weekly import JOB as WEEKLY
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.explain import Explainer, Explanation
from speakerbot.explain.foresight import Foresight
from speakerbot.ports.store import Store
from speakerbot.preview import Preview
from speakerbot.runs.job import Job
from speakerbot.schedules.reading import parse_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 17, 5, tzinfo=UTC)
TODAY = date(2026, 11, 20)
JOBS = {job.name: job for job in (REMINDERS, CHANGES, WEEKLY, ENGAGEMENT, DIGEST)}
HOURLY = {"reminders": "@hourly", "changes": "@hourly", "weekly": "0 17 * * MON"}


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def explainer(
    store: Store, *, crons: dict[str, str] | None = None, now: datetime = NOW, **fields: Any
) -> Explainer:
    usual = Settings(
        database_url="",
        announcements_channel_id="900",
        reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
    )
    chosen = replace(usual, **fields)
    entries = [
        {"name": f"every-{job}", "job": job, "cron": cron}
        for job, cron in (HOURLY if crons is None else crons).items()
    ]
    schedules: list[tuple[Schedule, Job]] = []
    if entries:
        read = parse_schedules(json.dumps({"schedules": entries}), "test", jobs.JOBS)
        schedules = [(schedule, JOBS[schedule.job]) for schedule in read]
    preview = Preview(schedules, store, chosen, templates_of(chosen.templates), now)
    return Explainer(list(JOBS.values()), Foresight(preview))


def book(store: Store, day: date, **fields: Any) -> Talk:
    talk = replace(Talk(f"t{day:%m%d}", "80", "kaz", "Agents", day), **fields)
    store.talks.put([talk])
    return talk


def reminder(store: Store, talk: Talk, kind: str = "day_of", **fields: Any) -> Explanation:
    """What is said about one reminder of the talk; the same whatever it is asked by."""
    explain = explainer(store, **fields)
    [found] = [each for each in explain.talk(talk.id) if each.kind == f"reminder.{kind}"]
    assert explain.key(found.key) == found
    assert found in explain.person("80")
    return found


def record(store: Store, talk: Talk, state: str, **fields: Any) -> None:
    """What the ledger holds of the day-of reminder."""
    at = datetime.combine(talk.date, time(16), UTC)
    usual: dict[str, Any] = {
        "key": f"reminder.day_of/talk:{talk.id}/user:80/{talk.date}T16:00",
        "kind": "reminder.day_of",
        "recipient": "user:80", "state": state, "revision": "1", "run_id": "r1", "due_at": at,
        "expires_at": at + timedelta(hours=8), "created_at": at, "updated_at": at, "attempts": 1,
        "route": "dm",
    }  # fmt: skip
    store.ledger.swap([DeliveryChange(None, Delivery(**usual | fields))])


def told(explained: Explanation) -> tuple[str, str, str]:
    return explained.state, explained.what, explained.next


def test_due(store: Store) -> None:
    explained = reminder(store, book(store, TODAY))
    assert told(explained) == (
        "planned",
        "due since 2026-11-20 16:00 UTC",
        "goes out 2026-11-20 17:05 UTC (schedule every-reminders)",
    )
    assert explained.next_at == NOW


def test_sent(store: Store) -> None:
    talk = book(store, TODAY)
    record(store, talk, "sent", sent_at=NOW, message_id="5", channel_id="6")
    assert told(reminder(store, talk)) == (
        "already_sent",
        "sent 2026-11-20 17:05 UTC by dm, message 5 in channel 6",
        "nothing",
    )


def test_sent_by_the_node_bot(store: Store) -> None:
    talk = book(store, TODAY, sent_day_of_at=NOW)
    assert told(reminder(store, talk)) == (
        "already_sent",
        "the Node bot sent it at 2026-11-20 17:05 UTC",
        "nothing",
    )


def test_not_due_until(store: Store) -> None:
    talk = book(store, TODAY + timedelta(days=3))
    assert told(reminder(store, talk)) == (
        "not_due",
        "not due until 2026-11-23 16:00 UTC",
        "goes out 2026-11-23 16:00 UTC (schedule every-reminders)",
    )


def test_not_due_for_long(store: Store) -> None:
    talk = book(store, TODAY + timedelta(days=90))
    later = "goes out with the first run of reminders from 2027-02-18 16:00 UTC on"
    assert reminder(store, talk).next == later


def test_opted_out(store: Store) -> None:
    talk = book(store, TODAY)
    store.people.put([Person("p", "80", opted_out=frozenset({"reminders"}))])
    assert told(reminder(store, talk)) == (
        "held_back",
        "held back: opted out of reminders",
        "nothing: opted out of reminders",
    )


def test_opted_out_of_what_is_still_to_come(store: Store) -> None:
    talk = book(store, TODAY + timedelta(days=3))
    store.people.put([Person("p", "80", opted_out=frozenset({"all"}))])
    explained = reminder(store, talk)
    assert (explained.state, explained.next) == ("not_due", "nothing: opted out of reminders")


def test_quiet_hours(store: Store) -> None:
    talk = book(store, TODAY)
    quiet = QuietHours(time(15), time(20, 30))
    store.people.put([Person("p", "80", timezone="Europe/Berlin", quiet_hours=quiet)])
    assert told(reminder(store, talk)) == (
        "held_back",
        "held back: quiet hours until 20:30 (Europe/Berlin)",
        "goes out 2026-11-20 20:00 UTC (schedule every-reminders)",
    )


def test_expired(store: Store) -> None:
    talk = book(store, TODAY - timedelta(days=1))
    assert told(reminder(store, talk)) == (
        "expired",
        "never sent: its time was over at 2026-11-20 00:00 UTC",
        "nothing",
    )


def test_overtaken(store: Store) -> None:
    talk = book(store, TODAY, starts_at=time(18, 30))
    explained = reminder(store, talk, reminder_offsets=parse_offsets("0d@16:00,2h"))
    assert told(explained) == ("dropped", "overtaken by the nearer reminder (2h)", "nothing")


def test_completed(store: Store) -> None:
    talk = book(store, TODAY, completed=True)
    assert told(reminder(store, talk)) == ("dropped", "the talk is marked as completed", "nothing")


def test_undeliverable(store: Store) -> None:
    talk = book(store, TODAY)
    record(store, talk, "undeliverable", error="dm: closed", attempts=2)
    state, what, later = told(reminder(store, talk))
    assert (state, what) == ("undeliverable", "undeliverable, 2 tries: dm: closed")
    assert (
        "`speakerbot deliveries retry reminder.day_of/talk:t1120/user:80/2026-11-20T16:00`" in later
    )


def test_unknown_and_too_late_to_try_again(store: Store) -> None:
    talk = book(store, TODAY - timedelta(days=1))
    record(store, talk, "unknown", error="no way to look")
    assert told(reminder(store, talk)) == (
        "unknown",
        "unknown whether it arrived: no way to look",
        "nothing",
    )


def test_failed_and_tried_again(store: Store) -> None:
    talk = book(store, TODAY)
    retry_at = NOW + timedelta(minutes=20)
    record(store, talk, "failed", error="Discord was down", retry_at=retry_at)
    assert told(reminder(store, talk)) == (
        "failed",
        "try 1 failed: Discord was down; next 2026-11-20 17:25 UTC",
        "goes out 2026-11-20 18:00 UTC (schedule every-reminders)",
    )


def test_being_sent(store: Store) -> None:
    talk = book(store, TODAY)
    record(store, talk, "claimed", lease_until=NOW + timedelta(minutes=3))
    explained = reminder(store, talk)
    assert (explained.state, explained.what) == ("held_back", "held back: run r1 is sending it")


def test_no_schedule_runs_it(store: Store) -> None:
    talk = book(store, TODAY)
    assert reminder(store, talk, crons={}).next == (
        "goes out with the first run of reminders from 2026-11-20 17:05 UTC on; "
        "no schedule runs reminders"
    )


def test_no_run_comes_in_time(store: Store) -> None:
    """A weekly schedule misses what is due between its runs."""
    talk = book(store, TODAY + timedelta(days=1))
    explained = reminder(store, talk, crons={"reminders": "0 12 * * MON"})
    assert explained.next == "nothing: no run of its schedule comes in time"


def test_switched_off(store: Store) -> None:
    talk = book(store, TODAY)
    explained = reminder(store, talk, disabled_jobs=frozenset({"reminders"}))
    assert explained.next == "nothing: reminders is switched off by the settings"


def test_a_broken_text_stops_only_the_messages_that_use_it(store: Store, tmp_path: Path) -> None:
    talk = book(store, TODAY + timedelta(days=1))
    (tmp_path / "reminder.day_of.md").write_text("{{ nope }}")
    failing = reminder(store, talk, templates=tmp_path)
    assert failing.next.startswith("nothing, until its text is corrected: template ")
    assert "line 1: 'nope' is unknown" in failing.next
    assert failing.next_at is None
    assert reminder(store, talk, "day_before", templates=tmp_path).next.startswith("goes out ")


def test_a_message_that_is_due_and_has_no_text_has_failed(store: Store, tmp_path: Path) -> None:
    talk = book(store, TODAY)
    (tmp_path / "reminder.day_of.md").write_text("{{ nope }}")
    failing = reminder(store, talk, templates=tmp_path)
    assert failing.state == "failed"
    assert "line 1: 'nope' is unknown" in failing.what
    assert failing.next.startswith("nothing, until its text is corrected: ")


def test_a_talk_that_moved_leaves_what_was_sent_and_voids_the_rest(store: Store) -> None:
    talk = book(store, TODAY)
    record(store, talk, "sent", sent_at=NOW)
    store.talks.put([replace(talk, date=TODAY + timedelta(days=7))])
    explained = explainer(store).talk(talk.id)
    assert [(each.kind, each.state) for each in explained] == [
        ("reminder.day_before", "not_due"),
        ("reminder.day_of", "not_due"),
        ("reminder.day_of", "sent"),
    ]
    void = explainer(store).key("reminder.day_before/talk:t1120/user:80/2026-11-20T16:00")
    assert void is not None
    assert (void.state, void.recipient, void.next) == ("dropped", "user:80", "nothing")
    assert "the talk is on 2026-11-27, by user 80" in void.what


def test_a_talk_that_is_gone(store: Store) -> None:
    gone = explainer(store).key("reminder.day_before/talk:t1/user:80/2026-11-20T16:00")
    assert gone is not None
    assert gone.what == "there is no talk t1, or not any more"
    assert explainer(store).talk("t1") == []


def test_changes_are_explained_before_and_after_they_are_settled(store: Store) -> None:
    talk = book(store, TODAY + timedelta(days=9))
    store.snapshots.take(NOW - timedelta(days=1))
    store.talks.put([replace(talk, date=TODAY + timedelta(days=16))])
    explain = explainer(store)
    [noticed] = [each for each in explain.talk(talk.id) if each.kind == "change.moved"]
    assert told(noticed) == (
        "planned",
        "due since 2026-11-20 17:05 UTC",
        "goes out 2026-11-20 17:05 UTC (schedule every-changes)",
    )
    store.people.put([Person("p", "80", opted_out=frozenset({"changes"}))])
    [held] = [e for e in explainer(store).talk(talk.id) if e.kind == "change.moved"]
    assert (held.state, held.next) == ("held_back", "nothing: opted out of changes")


def test_a_cancelled_talks_notice_is_found_by_its_id(store: Store) -> None:
    talk = book(store, TODAY + timedelta(days=9))
    store.snapshots.take(NOW - timedelta(days=1))
    store.talks.delete(talk.id)
    [notice] = explainer(store).talk(talk.id)
    assert (notice.kind, notice.state) == ("change.cancelled", "planned")
    assert explainer(store).person("80") == [notice]


def test_a_post_that_no_job_speaks_of_yet_is_foreseen(store: Store) -> None:
    post = explainer(store).key("weekly/schedule/channel:900/2026-W48")
    assert post is not None
    assert told(post) == (
        "not_due",
        "not due until 2026-11-23 17:00 UTC",
        "goes out 2026-11-23 17:00 UTC (schedule every-weekly)",
    )
    assert explainer(store).key("weekly/schedule/channel:900/2026-W30") is None
    assert explainer(store).key("nonsense") is None


def test_a_person_sees_talks_to_come_and_messages_of_the_past(store: Store) -> None:
    old = book(store, date(2026, 3, 1))
    record(store, old, "sent", sent_at=NOW - timedelta(days=200))
    book(store, TODAY + timedelta(days=2))
    book(store, TODAY + timedelta(days=3), user_id="81")
    explained = explainer(store).person("80")
    assert [(each.kind, each.state) for each in explained] == [
        ("reminder.day_before", "not_due"),
        ("reminder.day_of", "not_due"),
        ("reminder.day_of", "sent"),
    ]
