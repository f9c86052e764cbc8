"""When a talk is announced that is about to start, in which words, and whom that notifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.starting import JOB
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings, load
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.runs.timed_jobs import look_for_work
from speakerbot.stores import open_store

DAY = date(2026, 11, 21)
START = datetime(2026, 11, 21, 19, 0, tzinfo=UTC)
DUE = START - timedelta(minutes=15)
SECOND = timedelta(seconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
SETTINGS = Settings(database_url="", announcements_channel_id="77")
TALK = Talk("t", "1", "ada", "Kites", DAY, starts_at=time(19))
KEY = "starting/talk:t/channel:77/2026-11-21"


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    opened.talks.put([TALK])
    yield opened
    opened.close()


def context(store: Store, now: datetime, settings: Settings = SETTINGS) -> JobContext:
    return JobContext(store, settings, now, templates=templates_of())


def decide(store: Store, now: datetime, settings: Settings = SETTINGS) -> list[Decision]:
    return list(JOB.decide(context(store, now, settings)))


def message(store: Store, now: datetime = DUE, settings: Settings = SETTINGS) -> Message:
    [decision] = decide(store, now, settings)
    assert isinstance(decision, Message)
    return decision


def change(store: Store, **changes: Any) -> None:
    store.talks.put([replace(TALK, **changes)])


def test_a_post_is_due_from_some_minutes_before_the_start_until_the_start(store: Store) -> None:
    post = message(store)
    assert (post.key, post.due_at, post.expires_at) == (KEY, DUE, START)
    assert decide(store, DUE - SECOND) == []
    assert message(store, START - SECOND).key == KEY
    assert decide(store, START) == []


def test_how_long_before_is_a_setting(store: Store) -> None:
    early = replace(SETTINGS, starting_before=timedelta(hours=2))
    assert message(store, START - timedelta(hours=2), early).due_at == START - timedelta(hours=2)
    assert decide(store, START - timedelta(hours=2) - SECOND, early) == []


def test_a_talk_without_a_start_is_not_announced(store: Store) -> None:
    change(store, starts_at=None)
    for hour in range(24):
        assert decide(store, datetime(2026, 11, 21, hour, tzinfo=UTC)) == []


def test_a_completed_talk_is_skipped(store: Store) -> None:
    change(store, completed=True)
    [skip] = decide(store, DUE)
    assert isinstance(skip, Skip)
    assert skip.reason == "completed"


def test_each_of_several_talks_at_one_time_has_a_post_of_its_own(store: Store) -> None:
    store.talks.put([replace(TALK, id="u", user_id="2", username="grace", room="Annex")])
    keys = [each.key for each in decide(store, DUE) if isinstance(each, Message)]
    assert sorted(keys) == [KEY, KEY.replace("talk:t", "talk:u")]


def test_without_a_channel_it_says_how_to_set_one_once_something_is_due(store: Store) -> None:
    nowhere = replace(SETTINGS, announcements_channel_id=None)
    assert decide(store, DUE - SECOND, nowhere) == []
    with pytest.raises(ConfigError, match="PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID"):
        decide(store, DUE, nowhere)


class TestClocks:
    def test_around_midnight_the_day_is_the_talks(self, store: Store) -> None:
        change(store, starts_at=time(0, 5))
        at = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
        assert message(store, at).key == KEY
        assert decide(store, at - SECOND) == []

    @pytest.mark.parametrize(
        ("day", "starts_at", "start"),
        [
            (date(2026, 3, 29), time(2, 30), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
            (date(2026, 3, 29), time(3, 5), datetime(2026, 3, 29, 1, 5, tzinfo=UTC)),
            (date(2026, 10, 25), time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
            (date(2026, 10, 25), time(3, 5), datetime(2026, 10, 25, 2, 5, tzinfo=UTC)),
        ],
        ids=["in the gap", "right after the gap", "twice", "right after the hour that is twice"],
    )
    def test_where_clocks_change_it_is_minutes_that_count(
        self, store: Store, day: date, starts_at: time, start: datetime
    ) -> None:
        change(store, date=day, starts_at=starts_at)
        there = replace(SETTINGS, timezone=BERLIN)
        due = start - timedelta(minutes=15)
        assert decide(store, due - SECOND, there) == []
        assert message(store, due, there).expires_at == start
        assert decide(store, start, there) == []

    def test_a_start_that_a_gap_moves_to_the_next_day_is_announced(self, store: Store) -> None:
        """Samoa left a whole day out: a talk on it starts with the first minute of the next."""
        samoa = replace(SETTINGS, timezone=ZoneInfo("Pacific/Apia"))
        change(store, date=date(2011, 12, 30), starts_at=time(19))
        start = datetime(2011, 12, 30, 10, tzinfo=UTC)  # the first minute of the 31st there
        assert message(store, start - timedelta(minutes=5), samoa).expires_at == start


class TestTheText:
    def text(self, store: Store, settings: Settings = SETTINGS) -> str:
        post = message(store, settings=settings)
        return templates_of().addressed(post, post.routes[0])

    def test_says_who_and_what_and_how_soon(self, store: Store) -> None:
        assert self.text(store) == '**Starting <t:1795287600:R>:** ada: "Kites"'

    def test_with_room_and_link_where_they_are_known(self, store: Store) -> None:
        change(store, room="Great *Hall*", link="https://example.org/a_b_c?x=1")
        assert self.text(store) == (
            '**Starting <t:1795287600:R>:** ada: "Kites", Great \\*Hall\\*\n'
            "https://example.org/a_b_c?x=1"
        )

    def test_mentions_the_role_of_the_settings_and_nobody_a_topic_names(self, store: Store) -> None:
        change(store, topic="@everyone <@&5> <@6>", room="@here")
        text = self.text(store, replace(SETTINGS, starting_mention="42"))
        assert text == (
            "<@&42> **Starting <t:1795287600:R>:** ada: "
            '"@\u200beveryone \\<@&5> \\<@6>", @\u200bhere'
        )


class TestWhileItWaits:
    def test_what_is_due_and_what_will_be_is_known(self, store: Store) -> None:
        at = START - timedelta(hours=2)
        assert JOB.windows
        [window] = JOB.windows(context(store, at), START)
        assert (window.due_at, window.expires_at) == (DUE, START)
        assert list(JOB.windows(context(store, at), DUE - SECOND)) == []
        assert list(JOB.windows(context(store, DUE), DUE)) == [window]
        assert list(JOB.windows(context(store, START), START)) == []
        change(store, completed=True)
        assert list(JOB.windows(context(store, at), START)) == []

    @pytest.mark.parametrize(
        ("changes", "holds"),
        [
            ({}, True),
            ({"topic": "Boats", "room": "Annex"}, True),
            ({"starts_at": time(19, 30)}, False),
            ({"starts_at": None}, False),
            ({"date": DAY + timedelta(days=1)}, False),
            ({"completed": True}, False),
        ],
    )
    def test_only_a_talk_that_still_starts_then_is_announced(
        self, store: Store, changes: dict[str, Any], holds: bool
    ) -> None:
        post = message(store)
        change(store, **changes)
        assert JOB.still_true
        assert JOB.still_true(context(store, DUE - SECOND), [post]) == ({KEY} if holds else set())

    def test_a_cancelled_one_is_not(self, store: Store) -> None:
        post = message(store)
        store.talks.delete("t")
        assert JOB.still_true
        assert JOB.still_true(context(store, DUE), [post]) == set()


class TestOneLook:
    @pytest.mark.parametrize(
        ("before_start", "is_due", "was_due", "next_due"),
        [
            (timedelta(hours=2), False, False, DUE),
            (timedelta(minutes=15), True, False, None),
            (SECOND, True, False, None),
            (timedelta(), False, True, None),
            (-timedelta(hours=23), False, True, None),
            (-timedelta(hours=24), False, False, None),
        ],
    )
    def test_tells_what_is_due_what_was_and_what_will_be(
        self,
        store: Store,
        before_start: timedelta,
        is_due: bool,
        was_due: bool,
        next_due: datetime | None,
    ) -> None:
        now = START - before_start
        found = look_for_work(JOB, context(store, now), now + timedelta(hours=2))
        assert found == (is_due, was_due, next_due)


class TestSettings:
    def load(self, **variables: str) -> Settings:
        return load({"DATABASE_URL": "sqlite:///:memory:", **variables})

    def test_are_read(self) -> None:
        settings = self.load(SPEAKERBOT_STARTING_BEFORE="5m", SPEAKERBOT_STARTING_MENTION="42")
        assert (settings.starting_before, settings.starting_mention) == (timedelta(minutes=5), "42")
        default = self.load()
        assert (default.starting_before, default.starting_mention) == (timedelta(minutes=15), None)

    @pytest.mark.parametrize("text", ["0s", "59s", "25h", "soon"])
    def test_a_time_that_makes_no_sense_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="SPEAKERBOT_STARTING_BEFORE"):
            self.load(SPEAKERBOT_STARTING_BEFORE=text)

    @pytest.mark.parametrize("text", ["@everyone", "<@&42>", "everyone"])
    def test_a_mention_is_a_roles_id(self, text: str) -> None:
        with pytest.raises(ConfigError, match="SPEAKERBOT_STARTING_MENTION"):
            self.load(SPEAKERBOT_STARTING_MENTION=text)

    def test_the_role_of_everyone_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="@everyone's role"):
            self.load(SPEAKERBOT_STARTING_MENTION="9", DISCORD_GUILD_ID="9")


def test_a_talk_is_explained_before_and_after(store: Store) -> None:
    assert JOB.prospects
    [prospect] = JOB.prospects(context(store, DUE - timedelta(days=3)), "t")
    assert (prospect.message.key, prospect.dropped) == (KEY, "")
    change(store, completed=True)
    [prospect] = JOB.prospects(context(store, DUE), "t")
    assert prospect.dropped == "the talk is marked as completed"
    nowhere = replace(SETTINGS, announcements_channel_id=None)
    assert list(JOB.prospects(context(store, DUE, nowhere), "t")) == []
    change(store, starts_at=None)
    assert list(JOB.prospects(context(store, DUE), "t")) == []
    assert list(JOB.prospects(context(store, DUE), "gone")) == []
