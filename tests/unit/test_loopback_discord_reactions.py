"""Reactions in the loopback: what a message shows of them, who may put and take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from speakerbot.testing.discord import (
    BOT_ID,
    NO_LIMITS,
    DiscordMessage,
    DiscordWorld,
    LoopbackClock,
    LoopbackSettings,
    read_record,
)
from speakerbot.testing.discord.service import DiscordService, IncomingRequest

YES, NO = "✅", "❌"
PARTY = "party:1234567890123456789"


class Bot:
    """Speaks to a loopback without a network about one message of its own in channel 5."""

    def __init__(
        self,
        settings: LoopbackSettings = NO_LIMITS,
        record: Path | None = None,
        channel: str = "5",
    ) -> None:
        self.clock = LoopbackClock()
        self.service = DiscordService(settings, self.clock, record)
        self.world = DiscordWorld(self.service.state)
        self.channel = channel
        sent = self.ask("POST", f"/channels/{channel}/messages", {"content": "Will you be there?"})
        self.message = sent[1]["id"]

    def ask(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        asked = IncomingRequest(method, f"/api/v10{path}", query or {}, "Bot t", raw)
        answer = self.service.answer(asked)
        return answer.status, json.loads(answer.body or b"null")

    def put(self, emoji: str, message: str | None = None) -> tuple[int, int | None]:
        return code(self.ask("PUT", f"{self.path(message)}/reactions/{emoji}/@me"))

    def take(self, emoji: str, user: str = "@me") -> tuple[int, int | None]:
        return code(self.ask("DELETE", f"{self.path()}/reactions/{emoji}/{user}"))

    def users(self, emoji: str, **query: str) -> list[str]:
        _, users = self.ask("GET", f"{self.path()}/reactions/{emoji}", query=query)
        return [user["id"] for user in users]

    def shown(self) -> list[tuple[str, int, bool]]:
        """The emoji under the message, with count and ``me``."""
        _, message = self.ask("GET", self.path())
        reactions = message.get("reactions", [])
        return [(r["emoji"]["name"], r["count"], r["me"]) for r in reactions]

    def path(self, message: str | None = None) -> str:
        return f"/channels/{self.channel}/messages/{message or self.message}"


def code(reply: tuple[int, Any]) -> tuple[int, int | None]:
    return reply[0], reply[1] and reply[1]["code"]


@pytest.fixture
def bot() -> Bot:
    return Bot()


def test_a_message_shows_how_many_reacted_in_the_order_of_the_emoji(bot: Bot) -> None:
    assert bot.shown() == []
    assert (bot.put(YES), bot.put(NO)) == ((204, None), (204, None))
    bot.world.react(bot.message, "42", NO)
    bot.world.react(bot.message, "43", NO)
    assert bot.shown() == [(YES, 1, True), (NO, 3, True)]
    _, (listed,) = bot.ask("GET", "/channels/5/messages")
    assert listed["reactions"][1] == {
        "emoji": {"id": None, "name": NO},
        "count": 3,
        "count_details": {"burst": 0, "normal": 3},
        "me": True,
        "me_burst": False,
        "burst_colors": [],
    }


def test_putting_a_reaction_again_changes_nothing(bot: Bot) -> None:
    assert bot.put(YES) == bot.put(YES) == (204, None)
    assert bot.shown() == [(YES, 1, True)]


def test_reactions_are_taken_away_and_the_last_one_takes_the_emoji_with_it(bot: Bot) -> None:
    bot.put(YES)
    bot.world.react(bot.message, "42", YES)
    assert bot.take(YES) == (204, None)
    assert bot.shown() == [(YES, 1, False)]
    assert bot.take(YES) == (204, None), "others still have it there"
    bot.world.take_reaction(bot.message, "42", YES)
    assert bot.shown() == []
    assert bot.take(YES) == (400, 10014)


def test_who_reacted_is_listed_by_id_in_pages(bot: Bot) -> None:
    bot.put(YES)
    for user in ("300", "9", "42"):
        bot.world.react(bot.message, user, YES)
    assert bot.users(YES) == ["9", "42", "300", BOT_ID]
    assert bot.users(YES, limit="2") == ["9", "42"]
    assert bot.users(YES, limit="2", after="42") == ["300", BOT_ID]
    assert bot.users(YES, type="1") == []
    assert bot.users(NO) == [], "it was not used"
    assert code(bot.ask("GET", f"{bot.path()}/reactions/no")) == (400, 10014)
    assert code(bot.ask("GET", f"{bot.path()}/reactions/{YES}", query={"limit": "101"}))[0] == 400


@pytest.mark.parametrize("emoji", [YES, "❤️", "👍🏽", "👩‍💻", "🇪🇸", "1️⃣", "ℹ️"])
def test_emoji_are_known(bot: Bot, emoji: str) -> None:
    assert bot.put(emoji) == (204, None)
    assert bot.shown() == [(emoji, 1, True)]


@pytest.mark.parametrize("emoji", ["yes", "1", ":white_check_mark:", YES * 2, PARTY, "🇪", "%20"])
def test_what_is_no_emoji_that_the_bot_may_use_is_unknown(bot: Bot, emoji: str) -> None:
    assert bot.put(emoji) == (400, 10014)
    assert bot.shown() == []


def test_custom_emoji_are_used_where_the_bot_may_or_where_somebody_did(bot: Bot) -> None:
    bot.world.allow_emoji("1234567890123456789")
    assert bot.put(PARTY) == (204, None)
    bot.world.react(bot.message, "42", "cat:2234567890123456789")
    assert bot.put("cat:2234567890123456789") == (204, None)
    assert bot.shown() == [("party", 1, True), ("cat", 2, True)]


def test_no_message_takes_more_than_twenty_different_emoji(bot: Bot) -> None:
    for number in range(20):
        assert bot.put(chr(0x1F600 + number)) == (204, None)
    assert bot.put(YES) == (400, 30010)
    assert bot.put(chr(0x1F600)) == (204, None)


def test_a_message_that_is_not_there_has_no_reactions(bot: Bot) -> None:
    assert bot.put(YES, "1") == (404, 10008)
    bot.put(YES)
    bot.world.delete_message(bot.message)
    assert bot.put(YES) == bot.take(YES) == (404, 10008)
    assert code(bot.ask("GET", f"{bot.path()}/reactions/{YES}")) == (404, 10008)
    with pytest.raises(KeyError):
        bot.world.react(bot.message, "42", YES)


REFUSED: list[tuple[Callable[[DiscordWorld], object], tuple[int, int]]] = [
    (lambda world: world.forbid("5", react=True), (403, 50013)),
    (lambda world: world.forbid("5", history=True), (403, 50001)),
    (lambda world: world.forbid("5", read=True), (403, 50001)),
    (lambda world: world.archive("5"), (400, 50083)),
    (lambda world: world.lock("5"), (403, 160005)),
    (lambda world: world.delete_channel("5"), (404, 10003)),
]


@pytest.mark.parametrize(("change", "expected"), REFUSED)
def test_what_the_bot_may_not_do_in_the_channel(
    bot: Bot, change: Callable[[DiscordWorld], object], expected: tuple[int, int]
) -> None:
    change(bot.world)
    assert bot.put(YES) == expected


def test_only_a_new_emoji_needs_the_permission_to_add_reactions(bot: Bot) -> None:
    bot.world.forbid("5", react=True)
    bot.world.react(bot.message, "42", YES)
    assert bot.put(YES) == (204, None)
    assert bot.put(NO) == (403, 50013)
    assert bot.take(YES) == (204, None)


def test_the_permissions_in_a_channel_say_that_reactions_are_forbidden(bot: Bot) -> None:
    bot.world.forbid("5", react=True)
    _, channel = bot.ask("GET", "/channels/5")
    assert channel["permission_overwrites"][0]["deny"] == str(1 << 6)


def test_anothers_reaction_is_taken_away_only_by_who_manages_messages(bot: Bot) -> None:
    bot.put(YES)
    bot.world.react(bot.message, "42", YES)
    assert bot.take(YES, "42") == (403, 50013)
    assert bot.take(YES, BOT_ID) == (204, None), "the bot's own, by its id"
    bot.world.allow_managing("5")
    assert bot.take(YES, "42") == (204, None)
    assert bot.shown() == []


def test_in_a_dm_the_bot_reacts_but_manages_nothing() -> None:
    bot = Bot()
    _, dm = bot.ask("POST", "/users/@me/channels", {"recipient_id": "42"})
    bot.channel = dm["id"]
    _, sent = bot.ask("POST", f"/channels/{dm['id']}/messages", {"content": "Coming?"})
    bot.message = sent["id"]
    assert bot.put(YES) == (204, None)
    bot.world.react(bot.message, "42", YES)
    assert bot.shown() == [(YES, 2, True)]
    assert bot.take(YES, "42") == (403, 50003)
    assert bot.take(YES) == (204, None)
    bot.world.block_bot("42")
    assert bot.put(YES) == (403, 90001)


def test_who_blocked_the_bot_gets_no_reaction_in_a_channel_either(bot: Bot) -> None:
    theirs = bot.world.post("5", "42", "hello")
    bot.world.block_bot("42")
    assert bot.put(YES, theirs.id) == (403, 90001)
    assert bot.put(YES) == (204, None)


def test_one_bucket_of_a_channel_holds_putting_and_taking() -> None:
    bot = Bot(LoopbackSettings())
    assert bot.put(YES) == (204, None)
    status, limited = bot.ask("DELETE", f"{bot.path()}/reactions/{YES}/@me")
    assert (status, limited["global"]) == (429, False)
    assert 0 < limited["retry_after"] <= 0.25
    assert bot.users(YES) == [BOT_ID], "reading them has another bucket"
    bot.clock.advance(timedelta(seconds=limited["retry_after"]))
    assert bot.take(YES) == (204, None)


def test_reactions_are_on_record_and_there_again_in_the_next_process(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    first = Bot(record=record)
    first.put(YES)
    first.put(NO)
    first.world.react(first.message, "42", YES)
    first.take(NO)
    (message,) = [m for m in read_record(record) if isinstance(m, DiscordMessage)]
    assert message.reactions == {YES: (BOT_ID, "42")}
    first.service.close()
    second = Bot(record=record)
    second.message = first.message
    assert second.shown() == [(YES, 2, True)]
    second.service.close()
