"""What the loopback accepts as a message, gives back, and remembers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from speakerbot.testing.discord import (
    NO_LIMITS,
    DiscordWorld,
    LoopbackClock,
    LoopbackSettings,
    created_at,
)
from speakerbot.testing.discord.service import DiscordService, IncomingRequest
from speakerbot.testing.discord.world import transcript

START = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)


class Bot:
    """Speaks to a loopback without a network."""

    def __init__(self, settings: LoopbackSettings = NO_LIMITS) -> None:
        self.service = DiscordService(settings, LoopbackClock(START), None)
        self.world = DiscordWorld(self.service.state)

    def ask(self, method: str, path: str, json_body: Any = None, **query: str) -> tuple[int, Any]:
        body = b"" if json_body is None else json.dumps(json_body).encode()
        request = IncomingRequest(method, f"/api/v10{path}", query, "Bot t", body)
        answer = self.service.answer(request)
        return answer.status, json.loads(answer.body) if answer.body else None

    def send(self, content: str, channel: str = "5", **more: Any) -> tuple[int, Any]:
        return self.ask("POST", f"/channels/{channel}/messages", {"content": content, **more})

    def history(self, **query: str) -> list[str]:
        status, messages = self.ask("GET", "/channels/5/messages", **query)
        assert status == 200
        return [message["content"] for message in messages]


@pytest.fixture
def bot() -> Bot:
    return Bot()


def code_of(reply: tuple[int, Any]) -> tuple[int, int]:
    status, body = reply
    return status, body["code"]


def test_a_message_is_remembered_with_the_loopbacks_time_in_its_id(bot: Bot) -> None:
    status, body = bot.send("hello", nonce="n")
    (message,) = bot.service.state.messages
    assert status == 200
    assert (body["id"], body["nonce"]) == (message.id, "n")
    assert timedelta() <= created_at(body["id"]) - START < timedelta(seconds=5)
    assert body["timestamp"] == message.at.isoformat()


def test_ids_grow_even_within_a_millisecond(bot: Bot) -> None:
    ids = [int(bot.send(str(n))[1]["id"]) for n in range(2000)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("length", [1, 2000])
def test_length_is_counted_in_code_points(bot: Bot, length: int) -> None:
    assert bot.send("🎤" * length)[0] == 200


def test_a_longer_message_is_refused_and_the_field_named(bot: Bot) -> None:
    status, body = bot.send("x" * 2001)
    assert (status, body["code"]) == (400, 50035)
    assert list(body["errors"]) == ["content"]


@pytest.mark.parametrize("content", ["", "  \n "])
def test_an_empty_message_is_refused(bot: Bot, content: str) -> None:
    assert code_of(bot.send(content)) == (400, 50006)


def test_an_embed_alone_is_a_message(bot: Bot) -> None:
    status, body = bot.send(
        "", embeds=[{"title": "Talks", "fields": [{"name": "a", "value": "b"}]}]
    )
    assert status == 200
    assert body["embeds"][0]["type"] == "rich"
    assert body["embeds"][0]["fields"][0]["inline"] is False


def test_white_space_around_a_message_is_stripped(bot: Bot) -> None:
    assert bot.send(" hello\n")[1]["content"] == "hello"


CUSTOM = "<:party:123456789012345678> then <a:dance:223456789012345678>"


def test_emoji_that_the_bot_cannot_use_become_their_names(bot: Bot) -> None:
    assert bot.send(f" {CUSTOM}\n")[1]["content"] == ":party: then :dance:"
    (message,) = bot.service.state.messages
    assert message.content == ":party: then :dance:"
    assert bot.history() == [":party: then :dance:"]


def test_emoji_that_the_bot_may_use_stay(bot: Bot) -> None:
    bot.world.allow_emoji("123456789012345678")
    assert bot.send(CUSTOM)[1]["content"] == "<:party:123456789012345678> then :dance:"


@pytest.mark.parametrize("text", ["<@42>", "<:party:>", "<b:party:123456789012345678>", "<t:1:R>"])
def test_what_is_not_an_emoji_stays(bot: Bot, text: str) -> None:
    assert bot.send(text)[1]["content"] == text


def test_edits_are_rewritten_too(bot: Bot) -> None:
    _, sent = bot.send("first")
    _, edited = bot.ask("PATCH", f"/channels/5/messages/{sent['id']}", {"content": f" {CUSTOM} "})
    assert edited["content"] == ":party: then :dance:"
    assert bot.history() == [":party: then :dance:"]


def test_length_is_counted_before_emoji_are_rewritten(bot: Bot) -> None:
    assert bot.send("x" * 1980 + CUSTOM)[0] == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", 50109), (b"\xff", 50109), (b'{"content": 5}', 50035), (b"[]", 50035)],
)
def test_a_broken_body_is_refused(bot: Bot, body: bytes, code: int) -> None:
    request = IncomingRequest("POST", "/api/v10/channels/5/messages", {}, "Bot t", body)
    answer = bot.service.answer(request)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


@pytest.mark.parametrize(
    ("content", "allowed", "users", "everyone"),
    [
        ("<@1> and <@!2>", None, ("1", "2"), False),
        ("<@1> and <@2>", {"parse": []}, (), False),
        ("<@1> and <@2>", {"parse": [], "users": [1]}, ("1",), False),
        ("<@1> @everyone", {"parse": ["users"]}, ("1",), False),
        ("@here", None, (), True),
        ("@everyone", {"parse": ["everyone"]}, (), True),
        ("me@everyone.example", {"parse": []}, (), False),
    ],
)
def test_who_is_notified_follows_allowed_mentions(
    bot: Bot, content: str, allowed: Any, users: tuple[str, ...], everyone: bool
) -> None:
    _, body = bot.send(content, allowed_mentions=allowed)
    (message,) = bot.service.state.messages
    assert (message.users_notified, message.everyone_notified) == (users, everyone)
    assert [user["id"] for user in body["mentions"]] == list(users)
    assert body["mention_everyone"] is everyone


def test_allowed_mentions_that_contradict_themselves_are_refused(bot: Bot) -> None:
    allowed = {"parse": ["users"], "users": ["1"]}
    assert code_of(bot.send("<@1>", allowed_mentions=allowed)) == (400, 50035)


def test_history_is_newest_first_and_pages_as_discords(bot: Bot) -> None:
    ids = [bot.send(str(n))[1]["id"] for n in range(9)]
    assert bot.history() == list("876543210")
    assert bot.history(limit="3") == list("876")
    assert bot.history(limit="2", before=ids[4]) == list("32")
    assert bot.history(limit="2", after=ids[4]) == list("65"), "the ones right after, newest first"
    assert bot.history(limit="3", around=ids[4]) == list("543")
    assert bot.history(after=ids[8]) == []


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1"])
def test_a_page_holds_1_to_100_messages(bot: Bot, limit: str) -> None:
    assert code_of(bot.ask("GET", "/channels/5/messages", limit=limit)) == (400, 50035)


def test_history_can_be_read_from_an_instant(bot: Bot) -> None:
    bot.send("before")
    bot.service.clock.advance(timedelta(hours=1))
    since = bot.service.clock.now()
    bot.send("after")
    milliseconds = int(since.timestamp() * 1000) - 1_420_070_400_000
    assert bot.history(after=str((milliseconds << 22) - 1)) == ["after"]


@pytest.mark.parametrize("shown", [False, True])
def test_history_shows_nonces_only_if_it_is_set_to(shown: bool) -> None:
    bot = Bot(LoopbackSettings(history_nonces=shown))
    bot.send("hello", nonce="n")
    _, (message,) = bot.ask("GET", "/channels/5/messages")
    assert message.get("nonce") == ("n" if shown else None)


def test_an_edit_keeps_what_was_there_before(bot: Bot) -> None:
    _, sent = bot.send("first", embeds=[{"title": "a"}])
    path = f"/channels/5/messages/{sent['id']}"
    status, edited = bot.ask("PATCH", path, {"content": "second"})
    (message,) = bot.service.state.messages
    assert (status, edited["content"]) == (200, "second")
    assert edited["embeds"], "what the edit does not name stays"
    assert edited["edited_timestamp"] == message.edits[0].at.isoformat()
    assert (message.original, message.content) == ("first", "second")


def test_others_messages_cannot_be_edited_or_deleted(bot: Bot) -> None:
    theirs = bot.world.post("5", "77", "mine")
    path = f"/channels/5/messages/{theirs.id}"
    assert code_of(bot.ask("PATCH", path, {"content": "ours"})) == (403, 50005)
    assert code_of(bot.ask("DELETE", path)) == (403, 50013)
    assert bot.history() == ["mine"]


def test_a_deleted_message_is_gone_but_remembered(bot: Bot) -> None:
    _, sent = bot.send("hello")
    path = f"/channels/5/messages/{sent['id']}"
    assert bot.ask("DELETE", path) == (204, None)
    assert code_of(bot.ask("GET", path)) == (404, 10008)
    assert bot.history() == []
    assert [m.deleted for m in bot.service.state.messages] == [True]


@pytest.mark.parametrize("by_moderator", [False, True])
def test_a_channels_last_message_id_may_be_of_a_message_that_was_deleted(
    bot: Bot, by_moderator: bool
) -> None:
    bot.send("first")
    _, last = bot.send("last")
    if by_moderator:
        bot.world.delete_message(last["id"])
    else:
        bot.ask("DELETE", f"/channels/5/messages/{last['id']}")
    _, channel = bot.ask("GET", "/channels/5")
    assert channel["last_message_id"] == last["id"]
    assert code_of(bot.ask("GET", f"/channels/5/messages/{last['id']}")) == (404, 10008)
    assert bot.history() == ["first"]


def test_a_channel_that_never_had_a_message_has_no_last_one(bot: Bot) -> None:
    assert bot.ask("GET", "/channels/5")[1]["last_message_id"] is None


def test_the_transcript_is_what_people_see_channel_by_channel(bot: Bot) -> None:
    bot.world.add_user("42", "Ada")
    bot.world.add_thread("6", "5", "Ada's talk")
    _, dm = bot.ask("POST", "/users/@me/channels", {"recipient_id": "42"})
    bot.send("tomorrow", channel=dm["id"])
    bot.world.post(dm["id"], "42", "thanks")
    bot.send("today", channel="6")
    _, withdrawn = bot.send("oops")
    bot.world.delete_message(withdrawn["id"])
    assert [(c.kind, c.name, [(x.author, x.message.content) for x in c.lines])
            for c in transcript(bot.service.state)] == [
        ("dm", "Ada", [("speakerbot", "tomorrow"), ("Ada", "thanks")]),
        ("thread", "Ada's talk", [("speakerbot", "today")]),
    ]  # fmt: skip
