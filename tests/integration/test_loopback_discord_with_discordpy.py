"""discord.py, which others wrote, finds in the loopback what it expects of Discord."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import discord
import pytest
from discord.http import Route

from speakerbot.testing.discord import (
    NO_LIMITS,
    Bucket,
    Fault,
    FaultBody,
    LoopbackDiscord,
    LoopbackSettings,
)

Scenario = Callable[[LoopbackDiscord, discord.Client], Awaitable[None]]


@asynccontextmanager
async def logged_in(loopback: LoopbackDiscord) -> AsyncIterator[discord.Client]:
    client = discord.Client(intents=discord.Intents(guilds=True), max_messages=None)
    async with client:
        await client.login("any-token")
        yield client


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scenario, LoopbackSettings], LoopbackDiscord]:
    """Runs a scenario against a loopback of its own and gives that back for its records."""

    async def running(scenario: Scenario, settings: LoopbackSettings) -> LoopbackDiscord:
        async with LoopbackDiscord(settings) as loopback:
            monkeypatch.setattr(Route, "BASE", loopback.base_url)
            async with logged_in(loopback) as client:
                await scenario(loopback, client)
        return loopback

    return lambda scenario, settings: asyncio.run(running(scenario, settings))


Run = Callable[[Scenario, LoopbackSettings], LoopbackDiscord]


def test_a_dm_is_opened_sent_read_back_edited_and_deleted(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.world.add_user("42", "Ada")
        user = await client.fetch_user(42)
        channel = await user.create_dm()
        assert channel.recipient is not None
        assert channel.recipient.name == "Ada"
        sent = await channel.send("hello", nonce="n" * 24)
        assert sent.created_at == loopback.messages[0].at
        (read,) = [message async for message in channel.history(limit=5)]
        assert (read.id, read.content) == (sent.id, "hello")
        assert client.user is not None
        assert read.author.id == client.user.id
        await read.edit(content="edited")
        assert (await channel.fetch_message(sent.id)).content == "edited"
        await read.delete()
        assert [message async for message in channel.history()] == []

    loopback = run(scenario, LoopbackSettings())
    (message,) = loopback.messages
    assert (message.nonce, message.original, message.deleted) == ("n" * 24, "hello", True)
    assert loopback.counts["create_dm", 200] == 1


def test_a_reaction_is_put_counted_read_and_taken_away(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        channel = client.get_partial_messageable(5)
        sent = await channel.send("Will you be there?")
        await sent.add_reaction("✅")
        loopback.world.react(str(sent.id), "42", "✅")
        (reaction,) = (await channel.fetch_message(sent.id)).reactions
        assert (reaction.emoji, reaction.count, reaction.me) == ("✅", 2, True)
        assert client.user is not None
        assert {user.id async for user in reaction.users()} == {42, client.user.id}
        await sent.remove_reaction("✅", client.user)
        with pytest.raises(discord.HTTPException) as refused:
            await sent.add_reaction("yes")
        assert (refused.value.status, refused.value.code) == (400, 10014)

    loopback = run(scenario, LoopbackSettings())
    assert loopback.messages[0].reactions == {"✅": ("42",)}
    assert loopback.rate_limited == 0


def test_an_event_is_made_listed_edited_and_deleted(run: Run) -> None:
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        guild = await client.fetch_guild(900)
        event = await guild.create_scheduled_event(
            name="On engines",
            start_time=begin,
            end_time=begin + timedelta(hours=1),
            entity_type=discord.EntityType.external,
            privacy_level=discord.PrivacyLevel.guild_only,
            location="Room 1",
        )
        assert (event.location, event.status) == ("Room 1", discord.EventStatus.scheduled)
        await event.edit(description="Ada speaks.")
        (listed,) = await guild.fetch_scheduled_events(with_counts=True)
        assert (listed.id, listed.description, listed.start_time) == (
            event.id,
            "Ada speaks.",
            begin,
        )
        assert listed.user_count == 0
        await event.delete()
        assert await guild.fetch_scheduled_events() == []

    loopback = run(scenario, LoopbackSettings())
    assert [event.deleted for event in loopback.events] == [True]


def test_a_stored_dm_takes_one_request(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.world.add_dm("42", "4200")
        await client.get_partial_messageable(4200).send("hello")

    loopback = run(scenario, NO_LIMITS)
    assert [r.operation for r in loopback.requests][2:] == ["create_message"]
    assert loopback.transcript()[0].user_id == "42"


def test_history_pages_as_discordpy_asks_for_it(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        sent = [loopback.world.post("5", "42", str(n)) for n in range(250)]
        channel = client.get_partial_messageable(5)
        newest = [message.content async for message in channel.history(limit=None)]
        assert newest == [str(n) for n in reversed(range(250))]
        since = discord.Object(sent[100].id)
        after = [message.content async for message in channel.history(limit=None, after=since)]
        assert after == [str(n) for n in range(101, 250)]

    loopback = run(scenario, LoopbackSettings())
    assert loopback.counts["list_messages", 200] > 4


def test_discordpy_sees_the_guild_its_channels_and_the_bots_permissions(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.world.use_guild("900", "Python Berlin")
        loopback.world.add_channel("500", "talks")
        loopback.world.add_channel("501", "readonly")
        loopback.world.forbid("501", send=True, history=True)
        guild = await client.fetch_guild(900)
        assert client.user is not None
        me = await guild.fetch_member(client.user.id)
        channels = {c.name: c.permissions_for(me) for c in await guild.fetch_channels()}
        assert guild.name == "Python Berlin"
        assert (channels["talks"].send_messages, channels["readonly"].send_messages) == (1, 0)
        assert channels["readonly"].view_channel
        assert not channels["readonly"].read_message_history

    run(scenario, LoopbackSettings())


def test_an_archived_thread_opens_when_it_is_written_to(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.world.use_guild("900")
        loopback.world.add_thread("600", "500", "Ada's talk")
        loopback.world.archive("600")
        thread = await client.fetch_channel(600)
        assert isinstance(thread, discord.Thread)
        assert thread.archived
        await thread.send("today")
        assert not (await client.fetch_channel(600)).archived  # type: ignore[union-attr]
        loopback.world.archive("600", sends_unarchive=False)
        await thread.edit(archived=False)
        await thread.send("today again")

    assert len(run(scenario, LoopbackSettings()).messages) == 2


def test_refusals_are_the_exceptions_discordpy_has_for_them(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.world.close_dms("42")
        loopback.world.delete_channel("5")
        dm = await (await client.fetch_user(42)).create_dm()
        with pytest.raises(discord.Forbidden) as closed:
            await dm.send("hello")
        with pytest.raises(discord.NotFound) as unknown:
            await client.get_partial_messageable(5).send("hello")
        with pytest.raises(discord.HTTPException, match="In content: Must be 2000") as too_long:
            await client.get_partial_messageable(6).send("x" * 2001)
        codes = [refused.value.code for refused in (closed, unknown, too_long)]
        assert codes == [50007, 10003, 50035]

    run(scenario, NO_LIMITS)


def test_a_refused_token_is_a_login_failure(run: Run) -> None:
    async def never(_loopback: LoopbackDiscord, _client: discord.Client) -> None:
        pytest.fail("It was accepted.")

    with pytest.raises(discord.LoginFailure):
        run(never, LoopbackSettings(token="another"))


def test_discordpy_waits_out_a_full_bucket_without_a_429(run: Run) -> None:
    async def scenario(_loopback: LoopbackDiscord, client: discord.Client) -> None:
        channel = client.get_partial_messageable(5)
        await asyncio.gather(*(channel.send(str(n)) for n in range(7)))

    loopback = run(scenario, LoopbackSettings(message_bucket=Bucket(3, 1.0)))
    times = [message.at for message in loopback.messages]
    assert len(times) == 7
    assert (times[-1] - times[0]).total_seconds() >= 2
    assert loopback.rate_limited == 0


def test_discordpy_obeys_the_429_of_a_bucket_that_others_emptied(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        async with logged_in(loopback) as another:
            await another.get_partial_messageable(5).send("theirs")
            await another.get_partial_messageable(5).send("theirs")
        await client.get_partial_messageable(5).send("ours")

    loopback = run(scenario, LoopbackSettings(message_bucket=Bucket(2, 1.0)))
    assert [message.content for message in loopback.messages] == ["theirs", "theirs", "ours"]
    assert loopback.rate_limited <= 1


def test_the_global_limit_holds_against_a_crowd_and_obeying_gets_everybody_through(
    run: Run,
) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        await asyncio.sleep(1)  # the log-in's two requests count as well
        channels = [client.get_partial_messageable(n) for n in range(1, 16)]
        await asyncio.gather(*(channel.send("hello") for channel in channels))

    loopback = run(scenario, LoopbackSettings(global_limit=5))
    assert len(loopback.messages) == 15
    assert loopback.rate_limited > 0
    served = [request.at for request in loopback.requests if request.status == 200]
    for begin in served:
        assert sum(0 <= (at - begin).total_seconds() < 1 for at in served) <= 5


def test_a_server_error_is_retried_with_the_same_nonce(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.inject(Fault(kind="error", status=502, on="create_message", accepted=True))
        await client.get_partial_messageable(5).send("hello")

    loopback = run(scenario, NO_LIMITS)
    assert len(loopback.messages) == 1
    assert loopback.counts["create_message", 502] == 1


def test_after_a_lost_response_the_same_nonce_finds_the_message(run: Run) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.inject(Fault(kind="lost_response", on="create_message"))
        channel = client.get_partial_messageable(5)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await channel.send("hello", nonce="n")
        again = await channel.send("hello", nonce="n")
        assert str(again.id) == loopback.messages[0].id

    assert len(run(scenario, NO_LIMITS).messages) == 1


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ("json", discord.Forbidden),
        ("html", discord.Forbidden),
        ("empty", discord.Forbidden),
        ("truncated", json.JSONDecodeError),
        ("cut_off", aiohttp.ClientPayloadError),
    ],
)
def test_a_bare_answer_is_not_always_an_error_of_discordpys_own(
    run: Run, body: FaultBody, raised: type[Exception]
) -> None:
    async def scenario(loopback: LoopbackDiscord, client: discord.Client) -> None:
        loopback.inject(Fault(kind="error", status=403, code=50278, body=body))
        with pytest.raises(raised) as refused:
            await client.get_partial_messageable(5).send("hello")
        if isinstance(refused.value, discord.Forbidden):
            assert refused.value.code == (50278 if body == "json" else 0)

    assert run(scenario, NO_LIMITS).counts["create_message", 403] == 1
