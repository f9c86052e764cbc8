"""What is done about a message that may have arrived already."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.ports.channel import RefusalClass, Refused

if TYPE_CHECKING:
    from tests.unit.conftest import Desk

HOUR = timedelta(hours=1)
JUST_NOW = timedelta()


@pytest.mark.parametrize("ago", [JUST_NOW, HOUR, -HOUR])
def test_what_may_have_arrived_is_looked_for_however_long_ago_that_was(
    desk: Desk, ago: timedelta
) -> None:
    """How long Discord remembers nonces is not for us to rely on."""
    desk.discord.history = "55"
    record = desk.deliver(desk.unconfirmed(ago))
    assert (record.state, record.message_id, record.channel_id) == ("sent", "55", "77")
    assert desk.discord.asked == ["find 77"]


@pytest.mark.parametrize("route", ["dm", "thread"])
def test_another_bots_attempt_is_looked_for_as_its_message(desk: Desk, route: str) -> None:
    ended = desk.unconfirmed(HOUR).before
    assert ended is not None
    target = "7" if route == "dm" else "70"
    theirs = ended._replace(bot="999", route=route, target=target)
    desk.discord.history = "55"
    record = desk.deliver(desk.claim(before=theirs))
    assert record.state == "sent"
    assert desk.discord.asked == ["find 77 by 999" if route == "dm" else "find 70 by 999"]


def test_a_look_that_meets_faults_is_given_up_a_day_after_expiry(desk: Desk) -> None:
    desk.discord.history = Refused(RefusalClass.SERVICE, "503")
    assert desk.deliver(desk.unconfirmed(HOUR), offset=24 * HOUR).state == "failed"
    assert desk.deliver(desk.unconfirmed(HOUR), offset=26 * HOUR).state == "unknown"


def test_what_is_not_there_is_sent_with_the_present_text(desk: Desk) -> None:
    assert desk.deliver(desk.unconfirmed(HOUR, text="hello as it was")).state == "sent"
    assert desk.discord.asked == ["find 77", "send 77"]
    assert desk.discord.texts == ["hello"]


@pytest.mark.parametrize(
    ("why", "state"),
    [("target", "unknown"), ("recipient", "unknown"), ("service", "failed")],
)
def test_where_nobody_can_look_it_is_not_sent(desk: Desk, why: str, state: str) -> None:
    desk.discord.history = Refused(RefusalClass(why), "no")
    record = desk.deliver(desk.unconfirmed(HOUR))
    assert record.state == state
    assert desk.discord.asked == ["find 77"]
    assert state == "unknown" or record.unconfirmed_since is not None


def test_past_its_time_what_may_have_arrived_is_still_settled(desk: Desk) -> None:
    desk.discord.history = "55"
    assert desk.deliver(desk.unconfirmed(JUST_NOW), offset=2 * HOUR).state == "sent"
    desk.discord.history = None
    assert desk.deliver(desk.unconfirmed(JUST_NOW), offset=2 * HOUR).state == "expired"
    assert desk.discord.asked == ["find 77", "find 77"]
