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


def test_in_fresh_doubt_the_same_text_goes_again(desk: Desk) -> None:
    assert desk.deliver(desk.unconfirmed(JUST_NOW, text="hello as it was")).state == "sent"
    assert desk.discord.asked == ["send 77"]
    assert desk.discord.texts == ["hello as it was"]


def test_in_old_doubt_it_is_looked_for(desk: Desk) -> None:
    desk.discord.history = "55"
    record = desk.deliver(desk.unconfirmed(HOUR))
    assert (record.state, record.message_id, record.channel_id) == ("sent", "55", "77")
    assert desk.discord.asked == ["find 77"]


def test_doubt_from_the_future_is_old_too(desk: Desk) -> None:
    """A clock that went backwards: nobody knows how long ago it was."""
    desk.deliver(desk.unconfirmed(-HOUR))
    assert desk.discord.asked == ["find 77", "send 77"]


def test_what_is_not_there_is_sent_with_the_present_text(desk: Desk) -> None:
    assert desk.deliver(desk.unconfirmed(HOUR, text="hello as it was")).state == "sent"
    assert desk.discord.asked == ["find 77", "send 77"]
    assert desk.discord.texts == ["hello"]


@pytest.mark.parametrize(
    ("why", "state"),
    [("permission", "unknown"), ("recipient", "unknown"), ("transient", "failed")],
)
def test_where_nobody_can_look_it_is_not_sent(desk: Desk, why: RefusalClass, state: str) -> None:
    desk.discord.history = Refused(why, "no")
    record = desk.deliver(desk.unconfirmed(HOUR))
    assert record.state == state
    assert desk.discord.asked == ["find 77"]
    assert state == "unknown" or record.unconfirmed_since is not None


def test_a_refusal_in_fresh_doubt_is_looked_into_before_the_next_route(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.history = "55"
    record = desk.deliver(desk.unconfirmed(JUST_NOW))
    assert (record.state, record.message_id) == ("sent", "55")
    assert desk.discord.asked == ["send 77", "find 77"]


def test_so_is_a_rejected_text(desk: Desk) -> None:
    desk.discord.refuse("77", "rejected")
    desk.discord.history = "55"
    assert desk.deliver(desk.unconfirmed(JUST_NOW)).message_id == "55"


def test_past_its_time_doubt_is_still_settled(desk: Desk) -> None:
    desk.discord.history = "55"
    assert desk.deliver(desk.unconfirmed(JUST_NOW), offset=2 * HOUR).state == "sent"
    desk.discord.history = None
    assert desk.deliver(desk.unconfirmed(JUST_NOW), offset=2 * HOUR).state == "expired"
    assert desk.discord.asked == ["find 77", "find 77"]
