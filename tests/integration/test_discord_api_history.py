"""Looking through a channel's history for a message that may be there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.testing.discord import NO_LIMITS, LoopbackClock
from tests.integration.conftest import Unpaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Connected, Line


def test_what_was_sent_is_found_by_its_text_and_others_are_not(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.world.post("77", "5", "hello")
        assert await line.find() is None
        message_id = await line.send("hello ")
        assert await line.find("hello") == message_id
        assert await line.find("hello", known=(message_id,)) is None
        assert await line.find("something else") is None

    connected(talk)


def test_where_discord_shows_nonces_they_decide(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        other = await line.send(nonce="n2")
        assert await line.find() is None
        mine = await line.send(nonce="n1")
        assert await line.find() == mine != other

    connected(talk, replace(NO_LIMITS, history_nonces=True))


def test_it_is_found_behind_many_later_messages(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        message_id = await line.send()
        for number in range(250):
            line.discord.world.post("77", "5", f"noise {number}")
        assert await line.find() == message_id
        pages = [r for r in line.discord.requests if r.operation == "list_messages"]
        assert len(pages) == 3

    connected(talk)


def test_reading_stops_at_the_page_with_which_older_messages_begin(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        for number in range(250):
            line.discord.world.post("77", "5", f"noise {number}")
        line.discord.clock.advance(timedelta(hours=1))
        line.discord.world.post("77", "5", "later")
        assert await line.find() is None
        pages = [r for r in line.discord.requests if r.operation == "list_messages"]
        assert len(pages) == 1

    connected(talk, clock=LoopbackClock(datetime.now(UTC) - timedelta(hours=1)))


def test_an_endless_channel_is_given_up(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        for number in range(2001):
            line.discord.world.post("77", "5", f"noise {number}")
        refusal = await line.refused(line.find())
        assert refusal.why == "target"

    connected(talk)


def test_a_history_we_may_not_read_is_not_taken_for_an_empty_one(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.world.forbid("77", history=True)
        assert await line.find() is None, "nothing was ever written there"
        await line.send()
        refusal = await line.refused(line.find())
        assert refusal.why == "target"

    connected(talk)


def test_who_we_are_is_asked_once_however_many_look(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        await line.send()
        await asyncio.gather(*(line.find() for _ in range(10)))
        assert sum(r.operation == "get_my_user" for r in line.discord.requests) == 1

    connected(talk)


def test_what_arrives_while_an_empty_channel_is_looked_through_is_no_sign_of_a_ban(
    connected: Connected,
) -> None:
    """As where two messages to one channel are looked for at once, and the first is sent again."""

    async def talk(line: Line) -> None:
        pace = Meanwhile(lambda: line.discord.world.post("77", "5", "somebody else's"))
        timeout = timedelta(seconds=20)
        async with DiscordApi("t", line.discord.base_url, timeout=timeout, pace=pace) as channel:
            other = replace(line, channel=channel)
            assert await other.find() is None
            assert [r.operation for r in line.discord.requests][-2:] == [
                "get_message", "list_messages"
            ]  # fmt: skip

    connected(talk)


class Meanwhile(Unpaced):
    """Something happens before the third request: between that for the history and that for the
    channel."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__([])
        self.happens, self.requests = happens, 0

    async def slot(self) -> None:
        self.requests += 1
        if self.requests == 3:
            self.happens()
