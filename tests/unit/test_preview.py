"""Looking ahead: every coming run simulated, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs import JOBS
from jobs.changes import JOB as CHANGES
from jobs.engagement import JOB as ENGAGEMENT
from jobs.events import JOB as EVENTS
from jobs.reminders import JOB as REMINDERS
from jobs.weekly import JOB as WEEKLY
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Decision, Message, Route
from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.preview import Coming, ComingChange, Preview, end_of_day
from speakerbot.preview.overlay import overlay
from speakerbot.runs.job import Job, JobContext
from speakerbot.schedules.reading import parse_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.stores import open_store
from tests.unit.conftest import sent_record

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def schedule(job: str, cron: str = "@hourly", **fields: Any) -> Schedule:
    import json

    entry = {"name": job, "job": job, "cron": cron, **fields}
    [made] = parse_schedules(json.dumps({"schedules": [entry]}), "test", JOBS)
    return made


def settings(**fields: Any) -> Settings:
    usual = Settings(
        database_url="",
        announcements_channel_id="900",
        reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
    )
    return replace(usual, **fields)


def coming(
    store: Store,
    *schedules: tuple[Schedule, Job],
    days: int = 3,
    now: datetime = NOW,
    **fields: Any,
) -> list[Coming]:
    chosen = settings(**fields)
    preview = Preview(schedules, store, chosen, templates_of(chosen.templates), now)
    return list(preview.until(end_of_day(days, now, chosen.timezone)))


def times(messages: list[Coming]) -> list[tuple[str, str]]:
    return [(f"{each.at:%d %H:%M}", each.outcome.message.kind) for each in messages]


def book(store: Store, day: date, user: str = "80", **fields: Any) -> Talk:
    talk = Talk(f"t{day:%m%d}", user, "kaz", "Agents", day, **fields)
    store.talks.put([talk])
    return talk


def test_events_of_the_server_change_at_the_next_run_and_once(store: Store) -> None:
    book(store, date(2026, 11, 22), starts_at=time(18))
    book(store, date(2026, 11, 27))
    chosen = settings(guild_id="900")
    hourly = (schedule("events"), EVENTS)
    preview = Preview([hourly], store, chosen, templates_of(chosen.templates), NOW)
    changes = list(preview.all_until(end_of_day(9, NOW, chosen.timezone)))
    assert [
        (f"{each.at:%d %H:%M}", each.change.text)
        for each in changes
        if isinstance(each, ComingChange)
    ] == [("20 12:30", "would create event “Agents”")]
    assert len(changes) == 1
    assert list(preview.until(end_of_day(9, NOW, chosen.timezone))) == []
    assert list(store.server_events.all()) == [], "nothing is written"


def test_without_a_server_its_events_are_an_obstacle(store: Store) -> None:
    book(store, date(2026, 11, 22), starts_at=time(18))
    hourly = (schedule("events"), EVENTS)
    preview = Preview([hourly], store, settings(), templates_of(None), NOW)
    assert list(preview.all_until(end_of_day(1, NOW, ZoneInfo("UTC")))) == []
    assert "DISCORD_GUILD_ID" in preview.obstacles["events"]


HOURLY = (schedule("reminders"), REMINDERS)


def test_each_message_is_shown_once_at_the_run_that_sends_it(store: Store) -> None:
    book(store, date(2026, 11, 22))
    messages = coming(store, HOURLY)
    assert times(messages) == [
        ("21 16:00", "reminder.day_before"),
        ("22 16:00", "reminder.day_of"),
    ]
    assert [each.outcome.state for each in messages] == ["planned", "planned"]
    assert messages[0].outcome.text.startswith("Hi kaz! This is a reminder that you're scheduled")
    assert messages[0].outcome.route == "dm"


def test_what_is_late_goes_at_once(store: Store) -> None:
    """12:00's occurrence has come, and nothing of it is noted: the next tick serves it."""
    book(store, date(2026, 11, 20))
    late = NOW.replace(hour=17, minute=0)
    assert times(coming(store, HOURLY, now=late)) == [("20 17:00", "reminder.day_of")]
    half_past = NOW.replace(hour=17, minute=30)
    assert times(coming(store, HOURLY, now=half_past)) == [("20 17:30", "reminder.day_of")]


def test_an_occurrence_that_is_done_is_not_served_again(store: Store) -> None:
    book(store, date(2026, 11, 20))
    now = NOW.replace(hour=17, minute=30)
    done = OccurrenceRecord(now.replace(minute=0), OccurrenceStanding.FINISHED, revision="1")
    store.occurrences.swap("reminders", None, done)
    assert times(coming(store, HOURLY, now=now)) == [("20 18:00", "reminder.day_of")]


def test_an_occurrence_past_its_grace_is_not_served(store: Store) -> None:
    weekly = (schedule("weekly", "0 17 * * MON", grace="24h"), WEEKLY)
    assert times(coming(store, weekly, days=4)) == [("23 17:00", "weekly")]
    tuesday = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert times(coming(store, weekly, now=tuesday)) == [("24 12:00", "weekly")]
    assert times(coming(store, weekly, now=tuesday + timedelta(hours=6))) == []


def test_an_open_occurrence_is_taken_up_where_its_messages_wait_for(store: Store) -> None:
    daily = (schedule("reminders", "0 12 * * *", grace="8h"), REMINDERS)
    book(store, date(2026, 11, 20))
    resting = OccurrenceRecord(
        NOW.replace(minute=0),
        OccurrenceStanding.OPEN,
        resume_at=NOW.replace(hour=17, minute=20),
        revision="1",
    )
    store.occurrences.swap("reminders", None, resting)
    assert times(coming(store, daily, days=0)) == [("20 18:00", "reminder.day_of")]


def test_what_was_sent_is_not_sent_again(store: Store) -> None:
    book(store, date(2026, 11, 20))
    [message] = coming(store, HOURLY, days=0)
    record = sent_record(message.outcome.message, NOW)
    store.ledger.swap([DeliveryChange(None, record)])
    assert coming(store, HOURLY, days=0) == []


def test_quiet_hours_defer_to_a_later_occurrence(store: Store) -> None:
    book(store, date(2026, 11, 21))
    quiet = QuietHours(time(15), time(19, 30))
    store.people.put([Person("p", "80", timezone="Europe/Berlin", quiet_hours=quiet)])
    assert times(coming(store, HOURLY)) == [
        ("20 19:00", "reminder.day_before"),  # quiet until 18:30 UTC; machines tick hourly
        ("21 19:00", "reminder.day_of"),
    ]


def test_quiet_hours_defer_within_an_occurrences_grace(store: Store) -> None:
    book(store, date(2026, 11, 21))
    store.people.put([Person("p", "80", quiet_hours=QuietHours(time(15), time(19, 30)))])
    daily = schedule("reminders", "0 16 * * *", grace="6h")
    assert times(coming(store, (daily, REMINDERS), days=0)) == [("20 20:00", "reminder.day_before")]
    short = schedule("reminders", "0 16 * * *", grace="3h")
    assert times(coming(store, (short, REMINDERS), days=0)) == []


def test_who_opted_out_is_left_out(store: Store) -> None:
    book(store, date(2026, 11, 21))
    store.people.put([Person("p", "80", opted_out=frozenset({"reminders"}))])
    assert coming(store, HOURLY) == []


def test_a_failed_message_goes_when_it_may_be_tried_again(store: Store) -> None:
    book(store, date(2026, 11, 20))
    [message] = coming(store, HOURLY, days=0)
    retry_at = NOW.replace(hour=17, minute=20)
    failed = sent_record(message.outcome.message, NOW)._replace(
        state=DeliveryState.FAILED, sent_at=None, retry_at=retry_at
    )
    store.ledger.swap([DeliveryChange(None, failed)])
    assert times(coming(store, HOURLY, days=0)) == [("20 18:00", "reminder.day_of")]


def test_several_schedules_are_told_in_order(store: Store) -> None:
    book(store, date(2026, 11, 23))
    weekly = (schedule("weekly", "0 16 * * MON"), WEEKLY)
    assert times(coming(store, weekly, HOURLY)) == [
        ("22 16:00", "reminder.day_before"),
        ("23 16:00", "weekly"),
        ("23 16:00", "reminder.day_of"),
    ]


def test_one_simulated_message_counts_for_the_next(store: Store) -> None:
    """Engagement asks the ledger when it asked last: here for what the preview itself sent."""
    daily = (schedule("engagement", "0 16 * * *"), ENGAGEMENT)
    messages = coming(store, daily, days=20, engagement_every=timedelta(days=7))
    assert times(messages) == [
        ("20 16:00", "engagement"),
        ("27 16:00", "engagement"),
        ("04 16:00", "engagement"),
    ]
    assert len({each.outcome.message.key for each in messages}) == 3


def test_changes_are_settled_without_writing(store: Store) -> None:
    changes = (schedule("changes"), CHANGES)
    talk = book(store, date(2026, 12, 4))
    assert coming(store, changes) == []
    assert not store.snapshots.taken()
    store.snapshots.take(NOW)
    store.talks.put([replace(talk, date=date(2026, 12, 11))])
    before = list(store.snapshots.all())
    messages = coming(store, changes)
    assert times(messages) == [("20 12:30", "change.moved")]
    assert "2026-12-11" in messages[0].outcome.text
    assert list(store.snapshots.all()) == before
    assert list(store.ledger.list()) == []


def test_a_weekly_post_is_kept_true_without_a_second_one(store: Store) -> None:
    book(store, date(2026, 11, 24))
    edits = schedule("weekly", args=["--edit-only"], name="weekly-edit")
    posts = (schedule("weekly", "0 17 * * MON"), WEEKLY)
    messages = coming(store, posts, (edits, WEEKLY), days=6, weekly_mode="edit")
    assert times(messages) == [("23 17:00", "weekly")]


def test_a_schedule_or_job_that_is_switched_off_sends_nothing(store: Store) -> None:
    book(store, date(2026, 11, 21))
    assert coming(store, (schedule("reminders", enabled=False), REMINDERS)) == []
    off = settings(disabled_jobs=frozenset({"reminders"}))
    preview = Preview([HOURLY], store, off, templates_of(), NOW)
    assert list(preview.until(NOW + timedelta(days=3))) == []
    assert preview.obstacles == {"reminders": "reminders is switched off by the settings"}


def test_a_run_that_cannot_go_hinders_no_other(store: Store) -> None:
    book(store, date(2026, 11, 21))
    lost = settings(announcements_channel_id=None)
    weekly = (schedule("weekly", "@hourly"), WEEKLY)
    preview = Preview([weekly, HOURLY], store, lost, templates_of(), NOW)
    assert len(list(preview.until(NOW + timedelta(days=3)))) == 2
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in preview.obstacles["weekly"]


def test_a_message_whose_text_cannot_be_made_is_shown_once_as_failed(
    store: Store, tmp_path: Path
) -> None:
    store.talks.put([replace(book(store, date(2026, 11, 21), user="1"), topic="Kites")])
    book(store, date(2026, 11, 22), user="2")
    (tmp_path / "reminder.day_of.md").write_text("{% if topic != 'Kites' %}Today!{% endif %}")
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    offsets = parse_offsets("0d@16:00")
    comings = coming(store, HOURLY, templates=tmp_path, now=now, reminder_offsets=offsets)
    told = [(each.outcome.state, each.outcome.text, each.outcome.reason) for each in comings]
    [(state, text, reason), sent] = told
    assert (state, text) == ("failed", "")
    assert "reminder.day_of.md, line 1: is empty" in reason
    assert sent[:2] == ("planned", "Today!")


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("Europe/Berlin", [14, 15, 15]), ("America/New_York", [20, 20, 20])],
)
def test_local_times_are_kept_across_daylight_saving(
    store: Store, zone: str, hours: list[int]
) -> None:
    """Berlin's clocks go back on 25 October: 16:00 there is 14:00, then 15:00 UTC."""
    for day in (24, 25, 26):
        book(store, date(2026, 10, day), user=str(day))
    now = datetime(2026, 10, 24, 12, tzinfo=UTC)
    messages = coming(
        store, HOURLY, now=now, timezone=ZoneInfo(zone), reminder_offsets=parse_offsets("0d@16:00")
    )
    assert [each.at.hour for each in messages] == hours


def test_no_occurrence_is_missed_or_doubled_where_clocks_change(store: Store) -> None:
    """A job that sends one message per occurrence, hourly over the night with 25 hours."""

    def decide(context: JobContext) -> Iterator[Decision]:
        assert context.occurrence is not None
        yield Message(
            kind="tick", subject="s", recipient="user:1", occasion=context.occurrence.isoformat(),
            routes=(Route("dm", "1"),), template="reminder.day_of",
            values={"username": "", "topic": "", "date": "", "starts_at": ""}, due_at=context.now,
            expires_at=context.now + timedelta(hours=1), reason="",
        )  # fmt: skip

    now = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin
    entry = (schedule("reminders", timezone="Europe/Berlin"), Job("reminders", decide))
    messages = coming(store, entry, now=now, days=0, timezone=BERLIN)
    assert [each.at for each in messages] == [now + timedelta(hours=n) for n in range(25)]


class TestOverlay:
    """What is written on it is read from it, and never reaches the store below."""

    def record(self, key: str, **fields: Any) -> Delivery:
        usual = Delivery(
            key=key,
            kind="k",
            recipient="user:1",
            state=DeliveryState.SENT,
            revision=f"{key}.1",
            run_id="r",
            due_at=NOW,
            expires_at=NOW,
            created_at=NOW,
            updated_at=NOW,
            sent_at=NOW,
        )
        return usual._replace(**fields)

    def test_reads_through_and_covers(self, store: Store) -> None:
        old, other = self.record("k/s/user:1/a"), self.record("k/s/user:1/b")
        store.ledger.swap([DeliveryChange(None, old), DeliveryChange(None, other)])
        ledger = overlay(store).ledger
        new = old._replace(
            revision="2", state=DeliveryState.FAILED, updated_at=NOW + timedelta(hours=1)
        )
        assert ledger.swap([DeliveryChange(old, new)]) == {old.key}
        assert ledger.get([old.key, other.key]) == {old.key: new, other.key: other}
        assert [each.key for each in ledger.find("user:1")] == [old.key, other.key]
        assert list(ledger.find("s", limit=1)) == [new]
        assert list(ledger.list(state="sent")) == [other]
        assert ledger.counts(since=NOW) == {"sent": 1, "failed": 1}
        assert ledger.counts(since=NOW + timedelta(minutes=1)) == {"failed": 1}
        assert store.ledger.get([old.key]) == {old.key: old}

    def test_only_a_step_from_what_is_there_wins(self, store: Store) -> None:
        ledger = overlay(store).ledger
        first = self.record("k/s/user:1/a")
        assert ledger.swap([DeliveryChange(first, first._replace(revision="2"))]) == set()
        assert ledger.swap([DeliveryChange(None, first)]) == {first.key}
        assert ledger.swap([DeliveryChange(None, first)]) == set()
        assert ledger.swap([DeliveryChange(first, None)]) == {first.key}
        assert ledger.get([first.key]) == {}
        assert ledger.counts(since=NOW) == {}
