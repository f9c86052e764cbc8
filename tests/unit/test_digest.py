"""What the organisers' digest says, and that there is one a day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.digest import JOB, LONGEST_TOPIC, MOST_NAMES
from speakerbot.bootstrap import templates as templates_of
from speakerbot.channels.discord.access import LIMIT
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Message
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.stores import open_store
from speakerbot.text import length

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
SETTINGS = Settings(database_url="", logs_channel_id="99")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def _decide(
    store: Store,
    now: datetime = NOW,
    settings: Settings = SETTINGS,
    occurrence: datetime | None = None,
) -> Message:
    [message] = JOB.decide(JobContext(store, settings, now, occurrence, templates=templates_of()))
    assert isinstance(message, Message)
    return message


def _text(store: Store) -> str:
    return templates_of().of(_decide(store))


def _deliver(store: Store, name: str, state: DeliveryState, hours_ago: int) -> None:
    at = NOW - timedelta(hours=hours_ago)
    record = Delivery(
        key=f"reminder.day_of/talk:{name}/user:1/2026-11-20",
        kind="reminder.day_of",
        recipient="user:1",
        state=state,
        revision=name,
        run_id="run",
        due_at=at,
        expires_at=at,
        created_at=at,
        updated_at=at,
        sent_at=at if state == "sent" else None,
    )
    assert store.ledger.swap([DeliveryChange(None, record)])


def test_a_quiet_day(store: Store) -> None:
    assert _text(store) == (
        "## Digest of 2026-11-20\n\n"
        "**Last 24 hours:** 0 sent, 0 failed and to be tried again, 0 undeliverable, 0 unknown.\n\n"
        "**Next 7 days:** no talks.\n\n"
        "**Opted out:** nobody."
    )


def test_it_counts_the_last_24_hours_and_says_where_to_look(store: Store) -> None:
    states = (
        DeliveryState.SENT,
        DeliveryState.SENT,
        DeliveryState.FAILED,
        DeliveryState.UNDELIVERABLE,
        DeliveryState.UNKNOWN,
        DeliveryState.CLAIMED,
    )
    for number, state in enumerate(states):
        _deliver(store, str(number), state, hours_ago=number)
    _deliver(store, "old", DeliveryState.SENT, hours_ago=25)
    counted = "2 sent, 1 failed and to be tried again, 1 undeliverable, 1 unknown."
    assert counted in _text(store)
    assert "`speakerbot deliveries list`" in _text(store)


def test_it_names_what_is_coming_and_who_opted_out(store: Store) -> None:
    days = [date(2026, 11, day) for day in (19, 20, 26, 27)]
    store.talks.put([Talk(str(day), "1", "ada", f"On {day}", day) for day in days])
    store.people.put(
        [
            Person("a", name="Ada", opted_out=frozenset({"reminders", "changes"})),
            Person("b", discord_user_id="42", opted_out=frozenset({"all"})),
            Person("c", name="Grace"),
        ]
    )
    text = _text(store)
    assert "- **2026-11-20** - ada" in text
    assert "- **2026-11-26** - ada" in text
    assert "On 2026-11-19" not in text
    assert "On 2026-11-27" not in text
    assert text.endswith("**Opted out:** Ada (changes, reminders), user 42 (all).")


def test_it_stays_one_message_however_much_there_is_to_say(store: Store) -> None:
    coming = [date(2026, 11, 20) + timedelta(days=day) for day in range(7)]
    store.talks.put([Talk(str(day), "1", "ada", "x" * 2000, day) for day in coming])
    out = frozenset({"all"})
    people = [Person(f"{n:03}", name=f"Person {n:03}", opted_out=out) for n in range(100)]
    store.people.put(people)
    text = _text(store)
    assert length(text) <= LIMIT
    assert text.count(f'ada: "{"x" * (LONGEST_TOPIC - 1)}…"') == 7
    assert f"and {100 - MOST_NAMES} more." in text


def test_one_a_day_of_the_communitys_zone(store: Store) -> None:
    berlin = replace(SETTINGS, timezone=ZoneInfo("Europe/Berlin"))
    early = _decide(store, datetime(2026, 11, 19, 23, 0, tzinfo=UTC), berlin)
    late = _decide(store, datetime(2026, 11, 20, 22, 59, tzinfo=UTC), berlin)
    assert early.key == late.key == "digest/community/channel:99/2026-11-20"
    assert late.expires_at == datetime(2026, 11, 20, 23, 0, tzinfo=UTC)


def test_a_run_after_midnight_belongs_to_the_day_of_its_occurrence(store: Store) -> None:
    evening = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
    message = _decide(store, evening + timedelta(hours=5), occurrence=evening)
    assert message.occasion == "2026-11-20"
    assert message.expires_at > evening + timedelta(hours=5)


def test_without_a_channel_it_names_the_setting(store: Store) -> None:
    with pytest.raises(ConfigError, match="DISCORD_LOGS_CHANNEL_ID"):
        _decide(store, settings=replace(SETTINGS, logs_channel_id=None))
