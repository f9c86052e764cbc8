"""What preview says is what the runs then send: both, on the same data, hour by hour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import structlog

import jobs
from jobs.changes import JOB as CHANGES
from jobs.digest import JOB as DIGEST
from jobs.engagement import JOB as ENGAGEMENT
from jobs.reminders import JOB as REMINDERS
from jobs.weekly import JOB as WEEKLY
from speakerbot import bootstrap
from speakerbot.bootstrap import templates as templates_of
from speakerbot.clock import Clock, real_now
from speakerbot.config import Settings
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.run import Run, new_run
from speakerbot.domain.talk import Talk
from speakerbot.errors import SpeakerbotError
from speakerbot.ports.store import Store
from speakerbot.preview import Preview
from speakerbot.runs.occurrence_lock import LockedSchedule, OccurrenceLock
from speakerbot.runs.report import Waits
from speakerbot.runs.runner import Runner
from speakerbot.schedules.reading import parse_schedules
from speakerbot.schedules.schedule import Schedule
from speakerbot.stores import open_store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

DECLARED = jobs.JOBS
JOBS = {job.name: job for job in (REMINDERS, WEEKLY, CHANGES, ENGAGEMENT, DIGEST)}
FILE = {
    "timezone": "Europe/Berlin",
    "schedules": [
        {"name": "reminders", "job": "reminders", "cron": "@hourly"},
        {"name": "changes", "job": "changes", "cron": "@hourly"},
        {"name": "weekly", "job": "weekly", "cron": "0 17 * * MON", "grace": "24h"},
        {"name": "weekly-edit", "job": "weekly", "cron": "@hourly", "args": ["--edit-only"]},
        {"name": "engagement", "job": "engagement", "cron": "0 16 * * *", "grace": "12h"},
        {"name": "digest", "job": "digest", "cron": "0 8 * * *", "grace": "12h"},
    ],
}
Sent = tuple[str, str, datetime]
"""Key, text, and the hour it went out."""


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{path}")
    store.prepare()
    yield store
    store.close()


def fill(store: Store, first: date, now: datetime) -> None:
    """Talks on some days; one speaker is quiet, one has opted out; two talks have just changed."""

    def talk(number: int, days: int, **fields: object) -> Talk:
        day = first + timedelta(days=days)
        made = Talk(f"t{number}", str(80 + number), f"speaker_{number}", f"*Topic* {number}", day)
        return replace(made, **fields)  # type: ignore[arg-type]

    talks = [
        talk(1, 0),
        talk(2, 1, starts_at=time(19, 30), thread_id="701"),
        talk(3, 2),
        talk(4, 4, starts_at=time(9)),
        talk(5, 5),
        talk(6, 6),
    ]
    store.talks.put(talks)
    store.people.put(
        [
            Person("p3", "83", quiet_hours=QuietHours(time(15), time(20, 30))),
            Person("p5", "85", opted_out=frozenset({"reminders"})),
            Person("p6", "86", timezone="Asia/Tokyo", quiet_hours=QuietHours(time(20), time(9))),
        ]
    )
    store.snapshots.take(now)
    store.talks.put([replace(talks[5], date=first + timedelta(days=7)), talk(7, 8)])


def settings(**fields: object) -> Settings:
    usual = Settings(
        database_url="",
        discord_token="t",
        announcements_channel_id="900",
        logs_channel_id="901",
        timezone=ZoneInfo("Europe/Berlin"),
        reminder_offsets=parse_offsets("1d@16:00,0d@08:00,24h,1h"),
        new_dm_every=timedelta(),
        weekly_mode="edit",
        engagement_empty_days=1,
        engagement_every=timedelta(days=1),
        node_bot_coexist=True,
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def run(store: Store, chosen: Settings, schedule: Schedule, now: datetime) -> None:
    """One tick as a machine does it, on a machine whose clock says ``now``."""
    clock = Clock(skew=now - real_now())
    log = structlog.get_logger()

    def work(record: Run) -> Waits | None:
        runner = Runner(
            job=JOBS[schedule.job],
            options=schedule.options,
            timeout=None,
            store=store,
            settings=chosen,
            templates=templates_of(),
            channels=bootstrap.channels(chosen),
            observers=(),
            log=log,
            clock=clock,
            record=record,
            looks_ahead=True,
        )

        def pause(until: datetime, _woken: object = None) -> None:
            ahead = until - runner.clock.real()
            runner.clock = replace(runner.clock, skew=runner.clock.skew + ahead)

        runner.pause = pause
        return runner.run()

    locked = LockedSchedule(schedule.name, schedule.rules, schedule.timeout, schedule.enabled)
    OccurrenceLock(locked, store, clock, False, log).serve(new_run(schedule.job, clock), work)


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 10, 23, 22, 0, tzinfo=UTC),  # clocks go back on the 25th
        pytest.param(
            datetime(2027, 3, 26, 7, 0, tzinfo=UTC),  # and forward on the 28th
            marks=pytest.mark.slow_suite,
        ),
        pytest.param(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), marks=pytest.mark.slow_suite),
    ],
)
def test_preview_is_what_the_runs_send(tmp_path: Path, now: datetime) -> None:
    schedules = list(parse_schedules(json.dumps(FILE), "test", DECLARED))
    end = now + timedelta(days=5)
    zone = ZoneInfo("Europe/Berlin")
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as discord, opened(tmp_path / "s") as store:
        chosen = settings(discord_api_base=discord.base_url)
        for channel in ("900", "901"):
            discord.world.add_channel(channel, channel)
        for number in range(1, 8):
            discord.world.add_user(str(80 + number), f"speaker_{number}")
        fill(store, now.astimezone(zone).date(), now)

        preview = Preview([(s, JOBS[s.job]) for s in schedules], store, chosen, templates_of(), now)
        foreseen = [
            (each.outcome.message.key, each.outcome.text, each.at) for each in preview.until(end)
        ]
        assert list(store.ledger.list()) == []

        sent: list[Sent] = []
        hour = now
        while hour < end:
            for schedule in schedules:
                before = {record.key: record for record in store.ledger.list(limit=1000)}
                run(store, chosen, schedule, hour)
                sent += [
                    (record.key, record.text, hour)
                    for record in store.ledger.list(limit=1000)
                    if record.state == "sent" and _went_out(before.get(record.key), record)
                ]
            hour += timedelta(hours=1)
    assert preview.obstacles == {}
    assert sorted(foreseen) == sorted(sent)
    assert sorted(m.content for m in discord.messages) == sorted(text for _, text, _ in sent)
    kinds = {key.split("/")[0] for key, _, _ in sent}
    assert kinds >= {
        "reminder.day_before", "reminder.day_of", "reminder.24h", "reminder.1h", "change.booked",
        "change.moved", "engagement", "digest", "weekly",
    }  # fmt: skip


def _went_out(before: object, after: object) -> bool:
    return before is None or before != after


def test_two_previews_say_the_same_and_leave_nothing_behind(tmp_path: Path) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    schedules = [(s, JOBS[s.job]) for s in parse_schedules(json.dumps(FILE), "test", DECLARED)]
    with opened(tmp_path / "s") as store:
        fill(store, now.date(), now)
    with_nothing_written = (tmp_path / "s").read_bytes()
    read_only = open_store(f"sqlite:///{tmp_path / 's'}", read_only=True)
    try:
        previews = [
            [
                (each.at, each.outcome.message.key, each.outcome.text)
                for each in Preview(schedules, read_only, settings(), templates_of(), now).until(
                    now + timedelta(days=9)
                )
            ]
            for _ in range(2)
        ]
    except SpeakerbotError as error:
        pytest.fail(f"a preview wrote: {error}")
    finally:
        read_only.close()
    assert previews[0] == previews[1] != []
    assert (tmp_path / "s").read_bytes() == with_nothing_written
