"""What the engine asks of any channel, of those that ship: Discord, at the loopback service, and
the web inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import pytest

from speakerbot import bootstrap
from speakerbot.clock import Clock
from speakerbot.config import Settings
from speakerbot.domain.message import Route
from speakerbot.domain.service_request import (
    PutReaction,
    Reactions,
    ReadReactions,
    ServiceRequest,
)
from speakerbot.ports.channel import (
    Channel,
    ChannelAccess,
    Outgoing,
    RefusalClass,
    Refused,
    Withheld,
)
from speakerbot.ports.store import Breaker, Store
from speakerbot.stores import open_store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

T = TypeVar("T")
ROUTES = {"discord": Route("dm", "7"), "inbox": Route("inbox", "user:7")}
OTHERS = {"discord": Route("dm", "8"), "inbox": Route("inbox", "user:8")}


class Lane:
    """Lets everybody pass."""

    async def slot(self) -> None: ...

    async def stopped(self) -> None:
        await asyncio.Event().wait()

    def slow_down(self, seconds: float, everywhere: bool) -> None: ...


@dataclass
class Host:
    """What the engine lends to a channel."""

    store: Store
    sender: str
    clock: Clock = field(default_factory=Clock)
    longest_request: timedelta = timedelta(seconds=20)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)

    def lane(self, name: str, interval: float, *, ahead: int = 0) -> Lane:  # noqa: ARG002
        return Lane()

    async def ask_store(self, call: Callable[[Store], T]) -> T:
        return call(self.store)

    async def save_breaker(self, name: str, breaker: Breaker) -> None:  # noqa: ARG002
        raise AssertionError("nothing goes wrong here")


@dataclass
class Subject:
    """One channel, with two people whom it can reach."""

    access: ChannelAccess
    host: Host

    @property
    def route(self) -> Route:
        return ROUTES[self.access.name]

    @property
    def other(self) -> Route:
        return OTHERS[self.access.name]

    def open(self) -> AbstractAsyncContextManager[Channel]:
        return self.access.open(self.host)

    def message(self, key: str, route: Route | None = None, text: str = "hello") -> Outgoing:
        route = route or self.route
        return Outgoing(key, "user:7", route, text, self.access.nonce(key, route))

    def visit(self, talk: Callable[[Channel], Awaitable[None]]) -> None:
        async def visiting() -> None:
            async with self.open() as channel:
                await channel.expect([self.route, self.other])
                await talk(channel)

        asyncio.run(visiting())


@pytest.fixture
def loopback() -> Iterator[LoopbackDiscord]:
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as running:
        yield running


@pytest.fixture(params=["discord", "inbox"])
def subject(request: pytest.FixtureRequest, loopback: LoopbackDiscord) -> Iterator[Subject]:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    settings = Settings(
        database_url="",
        discord_token="t",
        discord_api_base=loopback.base_url,
        reminder_routes=("dm", "inbox"),
        new_dm_every=timedelta(0),
    )
    channels = bootstrap.channels(settings)
    assert set(channels) == set(ROUTES), "each channel that ships has its place in this suite"
    access = channels[request.param]
    yield Subject(access, Host(store, access.sender))
    store.close()


async def always() -> None:
    pass


async def never() -> None:
    raise Withheld


def test_every_channel_that_ships_can_render_texts() -> None:
    assert set(bootstrap.templates().channels) == set(ROUTES)


def test_what_was_sent_is_found_and_nothing_else_is(subject: Subject) -> None:
    since = Clock().real()

    async def talk(channel: Channel) -> None:
        mine, others = subject.message("k1"), subject.message("k2", subject.other, "else")
        assert await channel.find(mine, since=since, known=(), author=None) is None
        receipt = await channel.send(mine, always)
        theirs = await channel.send(others, always)
        assert receipt.message_id != theirs.message_id
        assert await channel.find(mine, since=since, known=(), author=None) == receipt
        assert await channel.find(others, since=since, known=(), author=None) == theirs
        elsewhere = subject.message("k3", text="not sent")
        assert await channel.find(elsewhere, since=since, known=(), author=None) is None

    assert subject.access.capabilities.looks_back
    subject.visit(talk)


def test_sending_again_returns_the_first_receipt(subject: Subject) -> None:
    async def talk(channel: Channel) -> None:
        first = await channel.send(subject.message("k"), always)
        assert await channel.send(subject.message("k"), always) == first

    assert subject.access.capabilities.idempotent_for > timedelta(minutes=1)
    subject.visit(talk)


def test_a_second_session_finds_what_the_first_has_sent(subject: Subject) -> None:
    since = Clock().real()

    async def send(channel: Channel) -> None:
        await channel.send(subject.message("k"), always)

    async def look(channel: Channel) -> None:
        assert await channel.find(subject.message("k"), since=since, known=(), author=None)

    subject.visit(send)
    subject.visit(look)


def test_what_ready_raises_keeps_the_message_from_leaving(subject: Subject) -> None:
    since = Clock().real()

    async def talk(channel: Channel) -> None:
        with pytest.raises(Withheld):
            await channel.send(subject.message("k"), never)
        assert await channel.find(subject.message("k"), since=since, known=(), author=None) is None

    subject.visit(talk)


def test_probing_a_service_that_works_raises_nothing(subject: Subject) -> None:
    async def talk(channel: Channel) -> None:
        await channel.probe()

    subject.visit(talk)


def test_what_a_channel_cannot_do_is_refused(subject: Subject) -> None:
    class Unheard(ServiceRequest[None]):
        target = "1"

    async def talk(channel: Channel) -> None:
        with pytest.raises(Refused) as refused:
            await channel.ask(Unheard())
        assert refused.value.why == RefusalClass.REJECTED

    subject.visit(talk)


def test_a_message_can_be_asked_about_where_people_react(
    subject: Subject, loopback: LoopbackDiscord
) -> None:
    """Ours alone, then the other one's: no other author."""

    async def talk(channel: Channel) -> None:
        receipt = await channel.send(subject.message("k"), always)
        asked = ReadReactions(*receipt, "7", ("✅", "❌"), direct=True)
        if not subject.access.capabilities.reactions:
            with pytest.raises(Refused):
                await channel.ask(asked)
            return
        for _ in range(2):
            await channel.ask(PutReaction(*receipt, "✅"))
        assert await channel.ask(asked) == Reactions(frozenset("✅"), frozenset())
        loopback.world.react(receipt.message_id, "7", "✅")
        loopback.world.react(receipt.message_id, "7", "❌")
        assert await channel.ask(asked) == Reactions(frozenset("✅"), frozenset("✅❌"))

    subject.visit(talk)


def test_nonces_are_the_same_for_each_attempt_and_fit_the_record(subject: Subject) -> None:
    nonce = subject.access.nonce("k", subject.route)
    assert nonce == subject.access.nonce("k", subject.route)
    assert len(nonce) <= 25


@pytest.mark.parametrize("text", ["plain", "*a* `b` <@7> @everyone\nsecond line", "\U0001f600" * 9])
def test_escaped_text_is_one_line_without_mentions(subject: Subject, text: str) -> None:
    able = subject.access.capabilities
    escaped = able.escape(text)
    assert "\n" not in escaped
    assert "second" in escaped or "second" not in text
    assert able.length(escaped) >= able.length(able.escape(""))
    assert able.addressed(escaped, None) == escaped
    assert able.addressed(escaped, "7").endswith(escaped)
