"""The Node bot's sent-flags: which reminder one stands for, and who it was that set it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from jobs.reminders import slots
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from tests.unit.conftest import sent_record
from tests.unit.test_reminders import AUCKLAND, TALK, at, clock, due, settings, weighed


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("seen", "counts"),
    [
        (None, False),
        ("2026-11-20 16:00:02", True),
        ("2026-11-20 00:00", True),
        ("2026-11-20 23:59:59.999", True),
        ("2026-11-21 00:00", False),
        ("2026-11-19 23:59", False),
        ("2026-11-12 16:00:02", False),
    ],
)
def test_the_node_bots_flag_counts_only_in_the_reminders_own_day(
    seen: str | None, counts: bool
) -> None:
    """It leaves its flags set when it moves a talk: an old one says nothing about this date."""
    flagged = replace(TALK, sent_tminus1_at=at(seen) if seen else None)
    message = due(flagged, "2026-11-20 16:05")
    assert message is not None
    assert message.flag is not None
    assert (message.flag.name, message.flag.counts) == ("sentTminus1At", counts)


def test_the_day_of_a_flag_is_the_communitys() -> None:
    """16:00 UTC on the 20th is the 21st in Auckland."""
    flagged = replace(TALK, sent_day_of_at=at("2026-11-20 16:00"))
    message = due(flagged, "2026-11-21 05:00", settings(zone=AUCKLAND))
    assert message is not None
    assert message.flag is not None
    assert (message.flag.name, message.flag.counts) == ("sentDayOfAt", True)


@pytest.mark.parametrize("offset", ["2d@16:00", "24h"])
def test_the_node_bot_knows_only_the_day_before_and_the_day_of(offset: str) -> None:
    talk = replace(TALK, starts_at=clock("18:00"))
    [slot] = slots(talk, parse_offsets(offset), ZoneInfo("UTC"))
    message = due(talk, slot.due_at, settings(offset))
    assert message is not None
    assert message.flag is None


@pytest.mark.parametrize(
    ("seen", "first_counts", "second_counts"),
    [
        ("2026-11-20 09:05", True, False),
        ("2026-11-20 16:00:02", True, False),
        ("2026-11-20 18:05", False, True),
        ("2026-11-20 07:00", True, False),
    ],
)
def test_of_two_offsets_on_a_day_a_flag_stands_for_the_one_whose_time_it_was(
    seen: str, first_counts: bool, second_counts: bool
) -> None:
    """Sending the first sets the flag; that must not keep the second from being sent."""
    using = settings("1d@18:00,1d@09:00")
    talk = replace(TALK, sent_tminus1_at=at(seen))
    found = [due(talk, f"2026-11-20 {now}", using) for now in ("09:10", "18:10")]
    assert [m.flag.counts for m in found if m and m.flag] == [first_counts, second_counts]


def test_what_the_node_bot_has_sent_is_not_sent_again(store: Store) -> None:
    store.talks.put([replace(TALK, sent_tminus1_at=at("2026-11-20 16:00:02"))])
    [plan] = weighed(store, "2026-11-20 16:05")
    assert plan.state == "already_sent"
    assert plan.reason == "the Node bot sent it at 2026-11-20 16:00 UTC"


def sent_to_ada(store: Store, when: str, **changes: object) -> Delivery:
    """The ledger says that this reminder of the talk's first speaker set the flag then."""
    message = due(TALK, "2026-11-20 16:05")
    assert message is not None
    at_then = at(when)
    record = sent_record(message, at_then)._replace(flag_at=at_then)
    record = record._replace(**changes)  # type: ignore[arg-type]
    store.ledger.swap([DeliveryChange(None, record)])
    return record


HANDED_OVER = replace(TALK, user_id="43", username="bob", sent_tminus1_at=at("2026-11-20 16:00:02"))


@pytest.mark.parametrize("state", [DeliveryState.SENT, DeliveryState.CLAIMED])
def test_a_flag_that_we_set_for_one_speaker_says_nothing_about_another(
    store: Store, state: DeliveryState
) -> None:
    sent_to_ada(store, "2026-11-20 16:00:02", state=state)
    store.talks.put([HANDED_OVER])
    [plan] = weighed(store, "2026-11-20 18:05")
    assert (plan.state, plan.message.recipient) == ("planned", "user:43")


def test_a_flag_that_the_node_bot_set_counts_for_whoever_speaks(store: Store) -> None:
    """It is not known whom it was about."""
    sent_to_ada(store, "2026-11-20 16:00:03")
    store.talks.put([HANDED_OVER])
    assert [plan.state for plan in weighed(store, "2026-11-20 18:05")] == ["already_sent"]


@pytest.mark.parametrize(
    "key",
    [
        "reminder.day_of/talk:t1/user:42/2026-11-21T16:00",
        "reminder.day_before/talk:t1/x/user:42/2026-11-21T16:00",
    ],
)
def test_another_talks_or_kinds_delivery_explains_no_flag(store: Store, key: str) -> None:
    sent_to_ada(store, "2026-11-20 16:00:02", key=key, kind=key.partition("/")[0])
    store.talks.put([HANDED_OVER])
    assert [plan.state for plan in weighed(store, "2026-11-20 18:05")] == ["already_sent"]


def test_a_clock_time_that_was_changed_makes_another_reminder(store: Store) -> None:
    """The flag stands for the one that we have sent, not for the new one."""
    sent_to_ada(store, "2026-11-20 16:00:02")
    store.talks.put([replace(HANDED_OVER, user_id="42")])
    changed = settings("1d@18:00")
    assert [plan.state for plan in weighed(store, "2026-11-20 18:05", changed)] == ["planned"]


def test_only_where_a_flag_is_in_the_way_the_ledger_is_asked_about_it_once(store: Store) -> None:
    asked: list[Sequence[str]] = []

    class Ledger:
        def flagged(self, subjects: Sequence[str]) -> Sequence[Delivery]:
            asked.append(subjects)
            return store.ledger.flagged(subjects)

        def __getattr__(self, name: str) -> Any:
            return getattr(store.ledger, name)

    class Watched:
        ledger = Ledger()

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    watched = cast("Store", Watched())
    store.talks.put([replace(TALK, id="t22", date=date(2026, 11, 22))])
    assert len(weighed(watched, "2026-11-21 16:05")) == 1
    assert asked == []
    using = settings("1d@16:00,0d@16:00")
    flags = {"sent_tminus1_at": at("2026-11-20 16:00:02"), "sent_day_of_at": at("2026-11-20 16:03")}
    store.talks.put([replace(TALK, id=f"t{day}", date=date(2026, 11, day), **flags)  # type: ignore[arg-type]
                     for day in (20, 21)])  # fmt: skip
    weighed(watched, "2026-11-20 16:05", using)
    assert asked == [["talk:t20", "talk:t21"]]
