"""The Discord channel over real HTTP: every answer, and every missing one, means something."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from speakerbot.channels.discord.api import DiscordApi
from speakerbot.ports.channel import Refused
from speakerbot.testing.discord import NO_LIMITS, Bucket, Fault
from speakerbot.testing.discord.routing import Operation
from tests.integration.conftest import Over, Unpaced, always

if TYPE_CHECKING:
    from tests.integration.conftest import Connected, Line, always

SENT: Operation = "create_message"


def opened(base: str, timeout: float) -> DiscordApi:
    limit = timedelta(seconds=timeout)
    return DiscordApi("t", base, timeout=limit, pace=Unpaced())


def test_a_session_opens_without_a_request_and_a_message_costs_one(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        assert line.discord.requests == []
        message_id = await line.send()
        assert [m.id for m in line.discord.messages] == [message_id]
        assert len(line.discord.requests) == line.channel.requests == 1

    connected(talk)


def sending_when_its_lane_stops(line: Line) -> asyncio.Task[str]:
    """A message whose first try has been answered by then, or is under way."""
    sending = asyncio.create_task(line.send())
    asyncio.get_running_loop().call_later(0.25, line.stop.set)
    return sending


def test_once_its_lane_has_stopped_a_request_is_not_repeated(connected: Connected) -> None:
    """discord.py sleeps before it would be."""

    async def limited(line: Line) -> None:
        line.discord.inject(Fault(kind="rate_limit", on=SENT, retry_after=9.0, times=None))
        begin = monotonic()
        with pytest.raises(Over):
            await sending_when_its_lane_stops(line)
        assert monotonic() - begin < 4
        assert len(line.discord.requests) == 1

    async def failed(line: Line) -> None:
        line.discord.inject(Fault(kind="error", on=SENT, status=500, times=None))
        refusal = await line.refused(sending_when_its_lane_stops(line))
        assert refusal.maybe_accepted
        assert len(line.discord.requests) == 1

    connected(limited)
    connected(failed)


def test_a_request_that_is_under_way_when_its_lane_stops_ends_as_ever(connected: Connected) -> None:
    async def answered(line: Line) -> None:
        message_id = await sending_when_its_lane_stops(line)
        assert message_id == line.discord.messages[0].id

    async def unanswered(line: Line) -> None:
        line.discord.inject(Fault(kind="hang", on=SENT, accepted=True))
        refusal = await line.refused(sending_when_its_lane_stops(line))
        assert refusal.maybe_accepted
        assert len(line.discord.messages) == 1

    connected(answered, replace(NO_LIMITS, latency=0.5))
    connected(unanswered, timeout=0.6)


def test_sending_again_with_the_same_nonce_returns_the_first_message(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        first = await line.send()
        assert await line.send() == first
        assert await line.send(nonce="n2") != first

    connected(talk)


def test_only_the_named_user_is_notified(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        text = "<@5> <@6> @everyone"
        await line.channel.send("77", text, nonce="a", mention="5", ready=always)
        await line.channel.send("77", text, nonce="b", mention=None, ready=always)
        notified = [(m.users_notified, m.everyone_notified) for m in line.discord.messages]
        assert notified == [(("5",), False), ((), False)]

    connected(talk)


def test_acceptance_is_known_before_discord_py_lets_the_request_return(
    connected: Connected,
) -> None:
    """It holds back the answer that empties a channel's bucket for as long as the bucket lasts."""

    async def talk(line: Line) -> None:
        begin = monotonic()
        for number in range(3):
            await line.send(nonce=f"n{number}")
        assert monotonic() - begin < 2
        assert len(line.discord.messages) == 3

    connected(talk, replace(NO_LIMITS, message_bucket=Bucket(3, 5.0)))


def test_an_error_of_the_server_leaves_open_whether_the_message_is_there(
    connected: Connected,
) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind="error", status=503, on=SENT))
        refusal = await line.refused(line.send())
        assert (refusal.why, refusal.maybe_accepted) == ("service", True)

    connected(talk)


@pytest.mark.parametrize("kind", ["reset", "lost_response", "html"])
def test_so_does_a_broken_connection_and_a_page_instead_of_an_answer(
    connected: Connected, kind: Any
) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind=kind, on=SENT))
        refusal = await line.refused(line.send())
        assert (refusal.why, refusal.maybe_accepted) == ("service", True)

    connected(talk)


def test_a_refusal_after_a_try_without_answer_settles_nothing(connected: Connected) -> None:
    """discord.py tries again by itself: accepted and lost, then refused for another reason."""

    async def talk(line: Line) -> None:
        lost = Fault(kind="error", status=502, on=SENT, accepted=True)
        line.discord.inject(lost, Fault(kind="rate_limit", on=SENT, nth=2, retry_after=40))
        refusal = await line.refused(line.send())
        assert (refusal.why, refusal.maybe_accepted) == ("service", True)
        assert len(line.discord.messages) == 1

    connected(talk)


def test_nor_does_a_connection_that_cannot_be_made_after_it(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind="error", status=502, on=SENT, accepted=True))
        sending = asyncio.create_task(line.send())
        await asyncio.sleep(0.5)  # discord.py waits for a second before it tries again
        assert line.discord.messages
        await line.discord.stop()
        refusal = await line.refused(sending)
        assert (refusal.why, refusal.maybe_accepted) == ("service", True)

    connected(talk)


def test_when_the_connection_is_refused_nothing_was_sent() -> None:
    async def talk() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            base = f"http://127.0.0.1:{free.getsockname()[1]}/api/v10"
        async with opened(base, 20.0) as channel:
            with pytest.raises(Refused) as caught:
                await channel.send("77", "hello", nonce="n1", mention=None, ready=always)
        assert (caught.value.why, caught.value.maybe_accepted) == ("service", False)
        assert base in caught.value.detail

    asyncio.run(talk())


def test_a_path_that_discord_does_not_know_is_about_its_target(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.channel._base = line.discord.base_url  # as it is: the path below is wrong
        refusal = await line.refused(line.channel.unarchive("77/no/such/path"))
        assert refusal.why == "recipient"

    connected(talk)


def test_one_time_limit_covers_a_request_with_all_its_tries(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind="error", status=500, on=SENT, times=None))
        begin = monotonic()
        refusal = await line.refused(line.send())
        assert 1.5 < monotonic() - begin < 2.5
        assert (refusal.why, refusal.maybe_accepted) == ("service", True)

    connected(talk, timeout=2.0)


def test_a_wait_for_the_global_limit_that_is_cut_short_does_not_block_all_others(
    connected: Connected,
) -> None:
    """discord.py would never wake them."""

    async def talk(line: Line) -> None:
        for number in range(3):
            await line.send(nonce=f"n{number}")
        refusal = await line.refused(line.send(nonce="n3"))
        assert refusal.why == "service"
        line.discord.settings = NO_LIMITS
        assert await line.send(nonce="n4", to="78")

    connected(talk, replace(NO_LIMITS, global_limit=3), timeout=0.4)


def test_a_rate_limit_is_obeyed_counted_and_reported(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind="rate_limit", on=SENT, retry_after=0.2))
        assert await line.send()
        assert line.channel.rate_limited == line.channel.invalid_requests == 1
        assert line.pauses == [1.0]

    connected(talk)


def test_a_rate_limit_that_is_too_long_is_left_to_a_later_run(connected: Connected) -> None:
    async def talk(line: Line) -> None:
        line.discord.inject(Fault(kind="rate_limit", on=SENT, retry_after=100))
        refusal = await line.refused(line.send())
        assert (refusal.why, refusal.maybe_accepted) == ("service", False)
        assert refusal.retry_after == 100

    connected(talk)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"[]", 200, "service"),
        (b"{}", 200, "service"),
        (b"null", 200, "service"),
        (b"{", 200, "service"),
        (b'{"message": "slow down"}', 429, "service"),
        (b"[]", 429, "service"),
        (b"{}", 404, "service"),
        (b"{}", 403, "service"),
        (b"{}", 401, "service"),
        (b"<html>Forbidden</html>", 403, "service"),
        (b"", 400, "service"),
        (b'{"message": "Unauthorized", "code": 0}', 401, "token"),
        (b'{"message": "Forbidden", "code": 0}', 403, "recipient"),
        (b'{"message": "of next year", "code": 50299}', 403, "recipient"),
        (b'{"message": "of next year", "code": 50299}', 400, "rejected"),
        (b'{"message": "too many threads", "code": 160006}', 400, "target"),
        (b'{"message": "too large", "code": 40005}', 413, "rejected"),
        (b'{"message": "Bad Request", "code": 0}', 400, "rejected"),
        (b'{"message": "no DMs", "code": 50278}', 403, "recipient"),
    ],
)
def test_an_answer_that_is_not_discords_ends_no_run(body: bytes, status: int, why: str) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        headers = {"Via": "1.1 proxy"}
        return web.Response(
            status=status, body=body, content_type="application/json", headers=headers
        )

    async def talk() -> None:
        async with served(answer) as base, opened(base, 5.0) as line:
            with pytest.raises(Refused) as caught:
                await line.send("77", "hello", nonce="n1", mention=None, ready=always)
            assert caught.value.why == why
            with pytest.raises(Refused):
                await line.open_dm("7")

    asyncio.run(talk())


@asynccontextmanager
async def served(
    answer: Callable[[web.BaseRequest], Awaitable[web.Response]],
) -> AsyncIterator[str]:
    """The address of a server that gives this answer to everything."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    await runner.cleanup()


def test_bookkeeping_for_thousands_of_channels_is_dropped_but_not_that_of_a_full_bucket(
    connected: Connected,
) -> None:
    async def talk(line: Line) -> None:
        for number in range(2):
            await line.send(nonce=f"full {number}", to="1")
        for number in range(250):
            await line.send(nonce=f"n{number}", to=str(1000 + number))
        begin = monotonic()
        await line.send(nonce="one more", to="1")
        assert line.channel.rate_limited == 0
        assert len(line.channel._http._buckets) < 250
        assert monotonic() - begin > 0.1

    connected(talk, replace(NO_LIMITS, message_bucket=Bucket(2, 3.0)))
