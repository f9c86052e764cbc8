"""What a speaker reads, and where, when and for how long it may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.changes import notice
from speakerbot.bootstrap import templates as templates_of
from speakerbot.channels.discord.access import LIMIT
from speakerbot.config import Settings
from speakerbot.domain.talk import Talk
from speakerbot.domain.talk_changes import TalkSnapshot, TalkVersion
from speakerbot.text import length

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
SETTINGS = Settings("sqlite:///:memory:")
OLD = TalkVersion(date(2026, 11, 27), "Engines")
NEW = TalkVersion(date(2026, 11, 29), "Engines")
MOVED = TalkSnapshot("a", "1", OLD, NEW, True, 2, NOW, "ada", "77")


def test_a_notice_says_who_where_and_until_when() -> None:
    message = notice(MOVED, SETTINGS)
    assert message.key == "change.moved/talk:a/user:1/2026-11-27..2026-11-29#2"
    assert [(route.name, route.target) for route in message.routes] == [
        ("dm", "1"),
        ("thread", "77"),
    ]
    assert (message.due_at, message.expires_at) == (NOW, datetime(2026, 11, 30, tzinfo=UTC))
    assert (message.opt_out, message.waits_past_expiry) == ("changes", False)
    assert message.reason == "moved from 2026-11-27 to 2026-11-29"


def test_its_time_is_the_communitys() -> None:
    berlin = replace(SETTINGS, timezone=ZoneInfo("Europe/Berlin"))
    assert notice(MOVED, berlin).expires_at == datetime(2026, 11, 29, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            replace(MOVED, told=None),
            (
                'Hi ada! You are booked to speak on 2026-11-29 about "Engines". '
                "Looking forward to your talk!"
            ),
        ),
        (MOVED, 'Hi ada! Your talk about "Engines" was moved from 2026-11-27 to 2026-11-29.'),
        (
            replace(MOVED, seen=None),
            'Hi ada! Your talk about "Engines" on 2026-11-27 was cancelled.',
        ),
        (
            replace(MOVED, seen=replace(OLD, topic="Looms")),
            'Hi ada! The topic of your talk on 2026-11-27 was changed from "Engines" to "Looms".',
        ),
        (
            replace(MOVED, told=None, seen=replace(NEW, start="19:30")),
            (
                'Hi ada! You are booked to speak on Sunday 2026-11-29, 19:30 about "Engines". '
                "Your time: <t:1795980600:F> (<t:1795980600:R>). Looking forward to your talk!"
            ),
        ),
        (
            replace(MOVED, told=replace(OLD, start="18:00"), seen=replace(OLD, start="19:30")),
            (
                'Hi ada! Your talk about "Engines" was moved from Friday 2026-11-27, 18:00 to '
                "Friday 2026-11-27, 19:30. Your time: <t:1795807800:F> (<t:1795807800:R>)."
            ),
        ),
        (
            replace(MOVED, told=replace(OLD, start="18:00")),
            (
                'Hi ada! Your talk about "Engines" was moved from Friday 2026-11-27, 18:00 to '
                "2026-11-29."
            ),
        ),
        (
            replace(MOVED, told=replace(OLD, start="18:00"), seen=None),
            'Hi ada! Your talk about "Engines" on Friday 2026-11-27, 18:00 was cancelled.',
        ),
        (
            replace(MOVED, told=replace(OLD, start=None), seen=replace(NEW, start=None)),
            'Hi ada! Your talk about "Engines" was moved from 2026-11-27 to 2026-11-29.',
        ),
    ],
)
def test_the_texts(entry: TalkSnapshot, text: str) -> None:
    assert templates_of().of(notice(entry, SETTINGS)) == text


def test_a_notice_says_where_the_talk_is_now() -> None:
    entry = replace(MOVED, told=None, seen=replace(NEW, start="19:30"))
    talk = Talk("a", "1", "ada", "Engines", NEW.date, starts_at=time(19, 30), room="Hall 2")
    assert "Place: Hall 2." in templates_of().of(notice(entry, SETTINGS, talk))


def test_a_topic_can_neither_ping_nor_break_out_nor_be_too_long() -> None:
    loud = TalkVersion(NEW.date, "@everyone `rm -rf`\n# hi " + "x" * 3000)
    entry = replace(MOVED, told=replace(OLD, topic="y" * 3000), seen=loud)
    text = templates_of().of(notice(entry, SETTINGS))
    assert "@everyone" not in text
    assert "\n" not in text
    assert length(text) <= LIMIT - length("<@1> ")
    assert text.endswith("was moved from 2026-11-27 to 2026-11-29.")
    renamed = replace(entry, seen=replace(loud, date=OLD.date))
    assert length(templates_of().of(notice(renamed, SETTINGS))) <= LIMIT


def test_an_entry_that_never_was_a_talk_has_no_notice() -> None:
    with pytest.raises(ValueError, match="never was one"):
        notice(replace(MOVED, told=None, seen=None), SETTINGS)


def test_the_notice_of_a_far_away_talk_waits_as_long() -> None:
    far = replace(MOVED, seen=TalkVersion(OLD.date + timedelta(days=700), "Engines"))
    assert notice(far, SETTINGS).expires_at == datetime(2028, 10, 28, tzinfo=UTC)
