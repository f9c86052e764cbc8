"""When speakers are asked for, under which key, and which dates are offered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.engagement import JOB, free_dates
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.domain.delivery import MAX_ATTEMPTS, Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TODAY = NOW.date()
PERIOD = timedelta(days=14)
SETTINGS = Settings(database_url="", announcements_channel_id="77")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def _book(store: Store, *days: date, completed: bool = False) -> None:
    store.talks.put([Talk(str(day), "1", "ada", "Topic", day, completed=completed) for day in days])


def _decide(store: Store, now: datetime = NOW, settings: Settings = SETTINGS) -> Decision:
    [decision] = JOB.decide(JobContext(store, settings, now, templates=templates_of()))
    return decision


def _prompt(store: Store, now: datetime = NOW, settings: Settings = SETTINGS) -> Message:
    decision = _decide(store, now, settings)
    assert isinstance(decision, Message)
    return decision


def _skip(store: Store, now: datetime = NOW, settings: Settings = SETTINGS) -> str:
    decision = _decide(store, now, settings)
    assert isinstance(decision, Skip)
    return decision.reason


def _note(store: Store, message: Message, state: DeliveryState, *, attempts: int = 1) -> None:
    """Notes in the ledger what became of it."""
    record = Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=state,
        revision=f"{message.key}.1",
        run_id="run",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=message.due_at,
        updated_at=message.due_at,
        attempts=attempts,
    )
    assert store.ledger.swap([DeliveryChange(None, record)])


@pytest.mark.parametrize(("days", "asked"), [(0, False), (13, False), (14, True)])
def test_it_asks_when_the_next_days_hold_no_talk(store: Store, days: int, *, asked: bool) -> None:
    _book(store, TODAY - timedelta(days=1), TODAY + timedelta(days=days))
    assert isinstance(_decide(store), Message if asked else Skip)


def test_today_is_the_communitys(store: Store) -> None:
    _book(store, TODAY + timedelta(days=14))
    auckland = replace(SETTINGS, timezone=ZoneInfo("Pacific/Auckland"))
    assert _skip(store, settings=auckland) == "talk_coming"


def test_a_completed_talk_is_none(store: Store) -> None:
    _book(store, TODAY + timedelta(days=3), completed=True)
    _prompt(store)


def test_the_period_counts_from_the_last_prompt_to_the_second(store: Store) -> None:
    _note(store, _prompt(store), DeliveryState.SENT)
    assert _skip(store, NOW + PERIOD - timedelta(seconds=1)) == "asked_recently"
    _prompt(store, NOW + PERIOD)
    weekly = replace(SETTINGS, engagement_every=timedelta(days=7))
    _prompt(store, NOW + timedelta(days=7), weekly)


def test_every_run_until_a_prompt_is_settled_decides_the_same_one(store: Store) -> None:
    first = _prompt(store)
    _note(store, first, DeliveryState.FAILED)
    assert _prompt(store, NOW + timedelta(days=3)).key == first.key


def test_the_next_prompts_key_names_the_last_one(store: Store) -> None:
    first = _prompt(store)
    _note(store, first, DeliveryState.SENT)
    later = NOW + 2 * PERIOD
    second = _prompt(store, later)
    assert second.key == "engagement/speakers/channel:77/after-2026-11-20T16:05:00.000Z"
    _note(store, second, DeliveryState.SENT)
    assert _prompt(store, later + PERIOD).key not in (first.key, second.key)


def test_another_channel_does_not_hear_it_within_the_period(store: Store) -> None:
    _note(store, _prompt(store), DeliveryState.SENT)
    elsewhere = replace(SETTINGS, announcements_channel_id="88")
    assert _skip(store, NOW + timedelta(days=1), elsewhere) == "asked_recently"


@pytest.mark.parametrize("state", ["unknown", "undeliverable"])
def test_a_prompt_that_is_given_up_does_not_end_them_for_ever(
    store: Store, state: DeliveryState
) -> None:
    _note(store, _prompt(store), state)
    assert _skip(store, NOW + timedelta(days=1)) == "asked_recently"
    _prompt(store, NOW + PERIOD)


def test_a_prompt_that_expired_reached_nobody_and_the_next_may_go(store: Store) -> None:
    first = _prompt(store)
    _note(store, first, DeliveryState.EXPIRED)
    assert _prompt(store, NOW + timedelta(days=1)).key != first.key


def test_a_prompt_that_failed_too_often_is_settled(store: Store) -> None:
    first = _prompt(store)
    _note(store, first, DeliveryState.FAILED, attempts=MAX_ATTEMPTS)
    assert _prompt(store, NOW + PERIOD).key != first.key


def test_the_text_names_the_next_free_dates(store: Store) -> None:
    fridays = [TODAY - timedelta(weeks=week) for week in range(1, 4)]
    _book(store, *fridays, TODAY + timedelta(weeks=3))
    text = templates_of().of(_prompt(store))
    assert "next 14 days" in text
    assert [line for line in text.splitlines() if line.startswith("-")] == [
        "- Friday, **2026-11-27**",
        "- Friday, **2026-12-04**",
        "- Friday, **2026-12-18**",
    ]


def test_the_usual_weekday_is_the_most_frequent_the_latest_of_equals() -> None:
    mondays = [date(2026, 10, 5), date(2026, 10, 12)]
    wednesdays = [date(2026, 10, 7), date(2026, 10, 14)]
    assert free_dates([*mondays, *wednesdays], TODAY)[0] == date(2026, 11, 25)
    assert free_dates([*mondays, *wednesdays, date(2026, 9, 7)], TODAY)[0] == date(2026, 11, 23)


def test_without_any_past_talk_it_is_todays_weekday_and_never_today() -> None:
    assert free_dates([], TODAY) == [TODAY + timedelta(weeks=week) for week in (1, 2, 3)]


def test_without_a_channel_it_says_so_even_while_talks_are_coming(store: Store) -> None:
    _book(store, TODAY)
    with pytest.raises(ConfigError, match="PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"):
        _decide(store, settings=replace(SETTINGS, announcements_channel_id=None))
