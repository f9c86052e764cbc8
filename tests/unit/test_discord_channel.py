"""DM channels are opened once per person, at their own pace, and remembered before use; archived
threads and vanished DM channels are opened again."""
# ruff: noqa: ARG002  # the fakes take all that the real ones do

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import pytest

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.channels.discord.channel import REST, DiscordChannel
from speakerbot.channels.discord.error_codes import ARCHIVED, NO_NEW_DMS, UNKNOWN_CHANNEL
from speakerbot.clock import Clock
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Outgoing, Receipt, RefusalClass, Refused
from speakerbot.ports.store import Breaker, Store
from speakerbot.stores import open_store

DM = Route("dm", "7")
THREAD = Route("thread", "70", mention="7")
T = TypeVar("T")


@dataclass
class Lane:
    """Lets everybody pass, and counts them."""

    slots: int = 0

    async def slot(self) -> None:
        self.slots += 1

    async def stopped(self) -> None:
        await asyncio.Event().wait()

    def slow_down(self, seconds: float, everywhere: bool) -> None:
        raise AssertionError("nothing is limited here")


@dataclass
class Host:
    """What the engine lends to a channel, on a store in memory."""

    store: Store
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    saved: dict[str, Breaker] = field(default_factory=dict)
    opening: Lane = field(default_factory=Lane)
    clock: Clock = field(default_factory=Clock)
    sender: str = "bot"
    longest_request: timedelta = timedelta(seconds=60)

    def lane(self, name: str, interval: float, *, ahead: int = 0) -> Lane:
        assert (name, ahead) == ("new_dms", 0)
        return self.opening

    async def ask_store(self, call: Callable[[Store], T]) -> T:
        return call(self.store)

    async def save_breaker(self, name: str, breaker: Breaker) -> None:
        self.saved[name] = breaker

    @property
    def remembered(self) -> dict[str, str]:
        return self.store.limits.dm_channels("bot", ["7", "8"])


@dataclass
class Api:
    """Requests, refused in order as told, else done."""

    refusals: list[Refused] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.refusals:
            raise self.refusals.pop(0)

    async def open_dm(self, user_id: str) -> str:
        self._ask(f"open {user_id}")
        return f"{user_id}-{len(self.asked)}"

    async def send(self, channel_id: str, text: str, **_: object) -> str:
        self._ask(f"send {channel_id}")
        return "1"

    async def unarchive(self, thread_id: str) -> None:
        self.asked.append(f"unarchive {thread_id}")

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        self._ask(f"edit {channel_id}")

    async def find(self, channel_id: str, text: str, **_: object) -> str | None:
        self._ask(f"find {channel_id}")
        return None


@dataclass
class Line:
    """A channel with fakes at both of its ends."""

    channel: DiscordChannel
    host: Host
    api: Api

    async def send(self, route: Route = DM) -> Receipt:
        return await self.channel.send(Outgoing("k", "user:7", route, "hello", "n"), _always)

    async def refused(self, route: Route = DM) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.send(route)
        return caught.value

    async def remember(self, channel_id: str) -> None:
        self.host.store.limits.remember_dms("bot", {"7": channel_id})


def refusal(code: int, why: RefusalClass = RefusalClass.TARGET) -> Refused:
    return Refused(why, "no", code=code)


def visited(
    talk: Callable[[Line], Awaitable[None]],
    *,
    every: float = 5.0,
    breakers: Mapping[str, Breaker] | None = None,
) -> None:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    host, api = Host(store, breakers or {}), Api()
    channel = DiscordChannel(cast("DiscordApi", api), host, new_dm_every=every)
    asyncio.run(_visit(talk, Line(channel, host, api)))
    store.close()


async def _visit(talk: Callable[[Line], Awaitable[None]], line: Line) -> None:
    await talk(line)


async def _always() -> None:
    pass


def test_a_thread_is_its_own_address() -> None:
    async def talk(line: Line) -> None:
        assert await line.channel.expect([THREAD]) == set()
        assert await line.send(THREAD) == ("70", "1")
        assert line.api.asked == ["send 70"]

    visited(talk)


def test_a_known_channel_is_used_and_an_unknown_one_opened_once() -> None:
    async def talk(line: Line) -> None:
        await line.remember("77")
        stranger = Route("dm", "8")
        assert await line.channel.expect([DM, stranger, THREAD]) == {stranger}
        await line.channel.turn_to_open()
        assert await line.send() == ("77", "1")
        assert await line.send(stranger) == await line.send(stranger)
        assert line.api.asked == ["send 77", "open 8", "send 8-2", "send 8-2"]
        assert line.host.remembered == {"7": "77", "8": "8-2"}
        assert line.host.opening.slots == 1, "its turn came before it was claimed"

    visited(talk)


def test_without_a_pace_requests_do_not_wait() -> None:
    async def talk(line: Line) -> None:
        assert await line.channel.expect([DM]) == set()

    visited(talk, every=0.0)


def test_an_unexpected_opening_waits_for_its_slot() -> None:
    """A second route that turned out to be needed."""

    async def talk(line: Line) -> None:
        await line.send()
        assert line.host.opening.slots == 1

    visited(talk)


def test_a_person_is_dropped_only_when_all_their_messages_are_through() -> None:
    async def talk(line: Line) -> None:
        await line.remember("77")
        await line.channel.expect([DM, DM])
        line.host.store.limits.remember_dms("bot", {"7": None})
        line.channel.done_with([DM])
        assert await line.send() == ("77", "1")
        line.channel.done_with([DM])
        assert await line.channel.expect([DM]) == {DM}

    visited(talk)


def test_a_dm_channel_that_is_gone_is_opened_again_once() -> None:
    async def talk(line: Line) -> None:
        await line.remember("77")
        await line.channel.expect([DM])
        line.api.refusals.append(refusal(UNKNOWN_CHANNEL))
        assert await line.send() == ("7-2", "1")
        assert line.api.asked == ["send 77", "open 7", "send 7-2"]
        assert line.host.remembered == {"7": "7-2"}

    visited(talk)


def test_a_thread_that_is_gone_is_not() -> None:
    async def talk(line: Line) -> None:
        line.api.refusals.append(refusal(UNKNOWN_CHANNEL))
        assert (await line.refused(THREAD)).code == UNKNOWN_CHANNEL
        assert line.api.asked == ["send 70"]

    visited(talk)


def test_an_archived_thread_is_opened_once() -> None:
    async def talk(line: Line) -> None:
        line.api.refusals.append(refusal(ARCHIVED))
        assert await line.send(THREAD) == ("70", "1")
        assert line.api.asked == ["send 70", "unarchive 70", "send 70"]
        line.api.refusals += [refusal(ARCHIVED), refusal(ARCHIVED)]
        assert (await line.refused(THREAD)).why == RefusalClass.TARGET

    visited(talk)


def test_an_archived_thread_is_opened_for_an_edit_too() -> None:
    async def talk(line: Line) -> None:
        line.api.refusals.append(refusal(ARCHIVED))
        await line.channel.edit(Receipt("70", "1"), "new")
        assert line.api.asked == ["edit 70", "unarchive 70", "edit 70"]

    visited(talk)


def test_after_a_refusal_no_channel_is_opened_for_minutes() -> None:
    async def talk(line: Line) -> None:
        line.api.refusals.append(refusal(NO_NEW_DMS, RefusalClass.SERVICE))
        refused = [await line.refused(), await line.refused(Route("dm", "8"))]
        for each in refused:
            assert (each.why, each.limited) == (RefusalClass.SERVICE, True)
            assert 0 < each.retry_after <= REST.total_seconds()
        assert line.api.asked == ["open 7"]
        assert line.host.saved["new_dms"].reason == "no"

    visited(talk)


@pytest.mark.parametrize("minutes", [1, -1])
def test_a_rest_of_an_earlier_run_is_kept_until_it_is_over(minutes: int) -> None:
    async def talk(line: Line) -> None:
        if minutes > 0:
            assert (await line.refused()).limited
        else:
            await line.send()

    until = Clock().real() + timedelta(minutes=minutes)
    visited(talk, breakers={"new_dms": Breaker(until, "earlier")})


def test_opening_never_leaves_it_open_whether_a_message_arrived() -> None:
    async def talk(line: Line) -> None:
        line.api.refusals.append(Refused(RefusalClass.SERVICE, "no answer", maybe_accepted=True))
        assert not (await line.refused()).maybe_accepted
        assert line.host.remembered == {}

    visited(talk)


def test_nothing_is_looked_for_where_no_dm_channel_was_ever_opened() -> None:
    async def talk(line: Line) -> None:
        sought = Outgoing("k", "user:7", DM, "hello", "n")
        since = Clock().real()
        assert await line.channel.find(sought, since=since, known=(), author=None) is None
        assert line.api.asked == []

    visited(talk)


def test_direct_messages_of_another_bot_cannot_be_seen() -> None:
    async def talk(line: Line) -> None:
        sought = Outgoing("k", "user:7", DM, "hello", "n")
        with pytest.raises(Refused) as caught:
            await line.channel.find(sought, since=Clock().real(), known=(), author="another")
        assert (caught.value.why, line.api.asked) == (RefusalClass.TARGET, [])

    visited(talk)
