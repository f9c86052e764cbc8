"""Talks that several give: each of them is reminded and told of changes, and is in every list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from jobs.digest import JOB as DIGEST
from jobs.reminders import JOB as REMINDERS
from jobs.weekly import JOB as WEEKLY
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.delivery.planning import MessagePlan, Moment, weigh
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.message import Message
from speakerbot.domain.person import Person
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import Job, JobContext
from speakerbot.runs.talk_values import talk_values
from speakerbot.stores import open_store

DAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
SETTINGS = Settings(
    database_url="",
    reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
    announcements_channel_id="77",
    logs_channel_id="78",
    node_bot_coexist=False,
)
GRACE, KAZ = Speaker("2", "grace"), Speaker("3", "kaz")
TALK = Talk("t1", "1", "ada", "Engines", DAY, thread_id="900", co_speakers=(GRACE, KAZ))
TEXTS = templates_of()


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    opened.talks.put([TALK])
    yield opened
    opened.close()


def decided(store: Store, job: Job = REMINDERS, now: datetime = NOW) -> list[Message]:
    context = JobContext(store, SETTINGS, now, templates=TEXTS)
    return [each for each in job.decide(context) if isinstance(each, Message)]


def recipients(store: Store) -> list[str]:
    return [message.recipient for message in decided(store)]


def states(store: Store) -> dict[str, str]:
    weighed = weigh(decided(store), store, Moment(NOW, NOW, SETTINGS.timezone))
    plans = [plan for plan in weighed if isinstance(plan, MessagePlan)]
    return {plan.message.recipient: plan.state for plan in plans}


def sent(message: Message) -> Delivery:
    return Delivery(
        message.key, message.kind, message.recipient, DeliveryState.SENT, "r", "run",
        message.due_at, message.expires_at, NOW, NOW, attempts=1, sent_at=NOW,
    )  # fmt: skip


def test_each_speaker_has_a_reminder_of_their_own(store: Store) -> None:
    messages = decided(store)
    assert [message.key for message in messages] == [
        f"reminder.day_before/talk:t1/user:{user}/2026-11-21T16:00" for user in (1, 2, 3)
    ]
    for message, name in zip(messages, ("ada", "grace", "kaz"), strict=True):
        assert TEXTS.of(message) == (
            f"Hi {name}! This is a reminder that you're scheduled to speak tomorrow (2026-11-21) "
            'about "Engines". Looking forward to your talk!'
        )
        routes = [(route.name, route.target, route.mention) for route in message.routes]
        user = message.user_id
        assert routes == [("dm", user, None), ("thread", "900", user)]


def test_only_the_main_speakers_reminder_has_to_do_with_the_node_bots_flags(store: Store) -> None:
    ours, *others = decided(store)
    assert ours.flag is not None
    assert [message.flag for message in others] == [None, None]
    store.talks.put([replace(TALK, id="t2", sent_tminus1_at=NOW)])
    of_t2 = [message for message in decided(store) if message.subject == "talk:t2"]
    weighed = weigh(of_t2, store, Moment(NOW, NOW, SETTINGS.timezone))
    found = [plan.state for plan in weighed if isinstance(plan, MessagePlan)]
    assert found == ["already_sent", "planned", "planned"]


def test_what_one_of_them_got_or_does_not_want_is_theirs_alone(store: Store) -> None:
    first, *_ = decided(store)
    store.ledger.swap([DeliveryChange(None, sent(first))])
    store.people.put([Person("p", discord_user_id="2", opted_out=frozenset({"reminders"}))])
    assert states(store) == {"user:1": "already_sent", "user:2": "held_back", "user:3": "planned"}


def test_an_added_co_speaker_is_due_and_a_removed_one_is_not(store: Store) -> None:
    before = decided(store)
    eve = Speaker("4", "eve")
    store.talks.put([replace(TALK, co_speakers=(KAZ, eve))])
    assert recipients(store) == ["user:1", "user:3", "user:4"]
    assert REMINDERS.still_true
    context = JobContext(store, SETTINGS, NOW, templates=TEXTS)
    held = REMINDERS.still_true(context, before)
    assert [message.recipient for message in before if message.key in held] == ["user:1", "user:3"]


def test_a_talk_handed_over_to_a_co_speaker_keeps_their_reminder(store: Store) -> None:
    """They are in the list twice then, and are reminded once, under the same key."""
    keys = {message.key for message in decided(store)}
    store.talks.put([replace(TALK, user_id="2", username="grace")])
    assert {message.key for message in decided(store)} == {
        key for key in keys if "/user:1/" not in key
    }


def test_every_prospect_is_explained_to_whom_it_concerns(store: Store) -> None:
    assert REMINDERS.prospects
    context = JobContext(store, SETTINGS, NOW, templates=TEXTS)
    told = [each.message for each in REMINDERS.prospects(context, "t1")]
    assert [(message.kind, message.recipient) for message in told] == [
        (kind, f"user:{user}")
        for kind in ("reminder.day_before", "reminder.day_of")
        for user in (1, 2, 3)
    ]


def test_a_talk_that_is_completed_reminds_none_of_them(store: Store) -> None:
    store.talks.put([replace(TALK, completed=True)])
    assert recipients(store) == []


def test_two_talks_an_evening_remind_each_of_their_speakers(store: Store) -> None:
    store.talks.put([replace(TALK, id="t2", topic="Looms", co_speakers=(), starts_at=time(20))])
    assert [(m.subject, m.recipient) for m in decided(store)] == [
        ("talk:t1", "user:1"),
        ("talk:t1", "user:2"),
        ("talk:t1", "user:3"),
        ("talk:t2", "user:1"),
    ]


def test_weekly_and_digest_name_them_all_in_the_order_of_the_day(store: Store) -> None:
    late = Talk("t2", "5", "eve", "Looms", DAY, starts_at=time(20), room="Hall *2*")
    early = Talk("t3", "6", "bob", "Bots", DAY, starts_at=time(9, 30), co_speakers=(KAZ,))
    store.talks.put([late, early])
    [weekly] = decided(store, WEEKLY)
    assert TEXTS.of(weekly).splitlines() == [
        "## Upcoming Talks",
        "",
        '1. **2026-11-21** - ada, grace and kaz: "Engines"',
        '2. **Saturday 2026-11-21, 09:30** - bob and kaz: "Bots" (<t:1795253400:F>)',
        '3. **Saturday 2026-11-21, 20:00** - eve: "Looms" (Hall \\*2\\*, <t:1795291200:F>)',
    ]
    [digest] = decided(store, DIGEST)
    assert [line for line in TEXTS.of(digest).splitlines() if line.startswith("- ")] == [
        '- **2026-11-21** - ada, grace and kaz: "Engines"',
        '- **2026-11-21** 09:30 - bob and kaz: "Bots"',
        '- **2026-11-21** 20:00 - eve: "Looms"',
    ]


def test_the_digest_names_the_speaker_whom_only_the_inbox_reached(store: Store) -> None:
    _, to_grace, _ = decided(store)
    at = NOW - timedelta(hours=1)
    store.inbox.put(InboxMessage(to_grace.key, "user:2", "Hi", at))
    [digest] = decided(store, DIGEST)
    assert digest.values["inbox_only"] == ["grace"]


def test_a_week_of_many_talks_has_as_many_parts_as_it_needs(store: Store) -> None:
    store.talks.put(
        [replace(TALK, id=f"t{number:02}", topic="x" * 900, co_speakers=()) for number in range(40)]
    )
    parts = decided(store, WEEKLY)
    assert len(parts) == 20  # two of them in each
    posted = [
        sent(part)._replace(text=TEXTS.of(part), note=part.note, message_id="9", channel_id="77")
        for part in parts[:16]
    ]
    store.ledger.swap([DeliveryChange(None, record) for record in posted])
    assert [part.key for part in decided(store, WEEKLY)] == [part.key for part in parts]
    store.talks.delete("t39")
    editing = replace(SETTINGS, weekly_mode="edit")
    context = JobContext(store, editing, NOW, templates=TEXTS)
    edited = [each.key for each in WEEKLY.decide(context) if isinstance(each, Message)]
    assert edited[:16] == [part.key for part in parts[:16]]


def test_a_view_of_a_talk_is_the_same_talk(store: Store) -> None:
    views = list(TALK.views())
    assert [view.username for view in views] == ["ada", "grace", "kaz"]
    assert all(set(view.speakers) == set(TALK.speakers) for view in views)
    assert talk_values(views[1], SETTINGS.timezone)["speakers"] == "grace, ada and kaz"
    assert TALK.seen_by("9") is None


@pytest.mark.parametrize(
    ("length", "said"), [(45, "45 min"), (60, "1 h"), (90, "1 h 30 min"), (None, "")]
)
def test_a_length_is_said_in_hours_and_minutes(length: int | None, said: str) -> None:
    assert talk_values(replace(TALK, length=length), SETTINGS.timezone)["length"] == said


def test_the_main_speaker_comes_first_even_where_they_are_stored_as_a_co_speaker_too() -> None:
    ada, bob = Speaker("1", "ada"), Speaker("2", "bob")
    talk = Talk("t", *ada, "Kites", date(2026, 11, 27), co_speakers=(bob, ada, bob))
    assert talk.speakers == (ada, bob)
