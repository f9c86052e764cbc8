"""Each refusal of the loopback: what brings it about, and Discord's status and code for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from speakerbot.testing.discord import NO_LIMITS, DiscordWorld, LoopbackClock, LoopbackSettings
from speakerbot.testing.discord.service import DiscordService, IncomingRequest

STRICT = LoopbackSettings(strict=True)


class Bot:
    """Speaks to a loopback without a network."""

    def __init__(self, settings: LoopbackSettings = NO_LIMITS) -> None:
        self.service = DiscordService(settings, LoopbackClock(), None)
        self.world = DiscordWorld(self.service.state)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        answer = self.service.answer(IncomingRequest(method, f"/api/v10{path}", {}, "Bot t", raw))
        return answer.status, json.loads(answer.body)

    def open_dm(self, user: str | int = "42") -> tuple[int, Any]:
        return self.ask("POST", "/users/@me/channels", {"recipient_id": user})

    def send(self, channel: str) -> tuple[int, Any]:
        return self.ask("POST", f"/channels/{channel}/messages", {"content": "hello"})

    def send_dm(self, user: str = "42") -> tuple[int, Any]:
        return self.send(self.open_dm(user)[1]["id"])


def code(reply: tuple[int, Any]) -> tuple[int, int]:
    return reply[0], reply[1]["code"]


@pytest.fixture
def bot() -> Bot:
    return Bot()


def test_in_the_open_world_everybody_exists(bot: Bot) -> None:
    assert bot.send_dm("123")[0] == 200
    assert bot.send("456")[0] == 200
    assert bot.ask("GET", "/guilds/7/members/8")[1]["user"]["id"] == "8"


def test_opening_a_dm_again_gives_the_same_channel_and_takes_numbers_too(bot: Bot) -> None:
    assert bot.open_dm("42") == bot.open_dm(42)
    assert [opened.user_id for opened in bot.service.state.dms_opened] == ["42"]


REFUSED_DMS: list[tuple[Callable[[DiscordWorld], object], tuple[int, int]]] = [
    (lambda world: world.close_dms("42"), (403, 50007)),
    (lambda world: world.close_dms("42", code=50278), (403, 50278)),
    (lambda world: world.leave_guild("42"), (403, 50278)),
    (lambda world: world.delete_user("42"), (403, 50007)),
]


@pytest.mark.parametrize(("change", "expected"), REFUSED_DMS)
def test_a_dm_that_people_refuse_fails_on_sending(
    bot: Bot, change: Callable[[DiscordWorld], object], expected: tuple[int, int]
) -> None:
    _, channel = bot.open_dm()
    change(bot.world)
    assert code(bot.send(channel["id"])) == expected
    assert bot.service.state.messages == []


def test_closed_dms_can_be_opened_again(bot: Bot) -> None:
    bot.world.close_dms("42")
    assert code(bot.send_dm()) == (403, 50007)
    bot.world.reopen_dms("42")
    assert bot.send_dm()[0] == 200


def test_dms_that_cannot_be_opened(bot: Bot) -> None:
    bot.world.close_dms("42", refuse_opening=True)
    bot.world.delete_user("43")
    assert code(bot.open_dm("42")) == (400, 50007)
    assert code(bot.open_dm("43")) == (404, 10013)
    assert code(bot.open_dm(bot.service.state.bot.id)) == (400, 50007)
    assert code(bot.ask("GET", "/users/43")) == (404, 10013)


def test_both_codes_for_closed_dms_occur_side_by_side_and_on_opening_too(bot: Bot) -> None:
    bot.world.close_dms("42")
    bot.world.close_dms("43", code=50278)
    assert [code(bot.send_dm(user)) for user in ("42", "43")] == [(403, 50007), (403, 50278)]
    bot.world.close_dms("42", code=50278, refuse_opening=True)
    bot.world.close_dms("43", refuse_opening=True)
    assert [code(bot.open_dm(user)) for user in ("42", "43")] == [(403, 50278), (400, 50007)]


def test_who_leaves_the_guild_is_not_a_member_until_added_again(bot: Bot) -> None:
    bot.world.leave_guild("42")
    assert code(bot.ask("GET", "/guilds/7/members/42")) == (404, 10007)
    bot.world.add_user("42")
    assert bot.ask("GET", "/guilds/7/members/42")[0] == 200
    assert bot.send_dm("42")[0] == 200


@pytest.mark.parametrize(("state", "refusal"), [("too_fast", 40003), ("quarantined", 20026)])
def test_new_dms_can_be_refused_while_known_ones_go_on(bot: Bot, state: Any, refusal: int) -> None:
    _, opened = bot.open_dm("41")
    assert bot.send_dm("42")[0] == 200
    bot.world.add_dm("43", "4300")
    bot.world.set_new_dms(state)
    assert code(bot.open_dm("44")) == (403, refusal)
    assert code(bot.send(opened["id"])) == (403, refusal), "opened, but never written to"
    assert bot.send_dm("42")[0] == 200
    assert bot.send("4300")[0] == 200
    bot.world.set_new_dms("open")
    assert bot.send_dm("44")[0] == 200


def test_a_deleted_dm_channel_is_unknown_and_can_be_opened_again(bot: Bot) -> None:
    _, old = bot.open_dm()
    bot.world.delete_channel(old["id"])
    assert code(bot.send(old["id"])) == (404, 10003)
    _, new = bot.open_dm()
    assert new["id"] != old["id"]
    assert bot.send(new["id"])[0] == 200


def test_channels_that_refuse(bot: Bot) -> None:
    bot.world.delete_channel("1")
    bot.world.forbid("2", read=True)
    bot.world.forbid("3", send=True)
    bot.world.lock("4")
    codes = {channel: code(bot.send(channel)) for channel in "1234"}
    assert codes == {"1": (404, 10003), "2": (403, 50001), "3": (403, 50013), "4": (403, 160005)}
    assert bot.ask("GET", "/channels/3/messages") == (200, [])
    assert code(bot.ask("GET", "/channels/2/messages")) == (403, 50001)


def test_permissions_can_be_given_back(bot: Bot) -> None:
    bot.world.forbid("5", read=True, send=True)
    bot.world.forbid("5")
    assert bot.send("5")[0] == 200


def test_without_read_message_history_reading_is_empty_and_no_error(bot: Bot) -> None:
    _, sent = bot.send("5")
    bot.world.forbid("5", history=True)
    assert bot.ask("GET", "/channels/5/messages") == (200, [])
    assert code(bot.ask("GET", f"/channels/5/messages/{sent['id']}")) == (403, 50001)
    assert bot.send("5")[0] == 200


def test_without_view_channel_no_message_can_be_looked_at(bot: Bot) -> None:
    _, sent = bot.send("5")
    bot.world.forbid("5", read=True)
    for message in (sent["id"], "404"):
        assert code(bot.ask("GET", f"/channels/5/messages/{message}")) == (403, 50001)


def test_without_read_message_history_what_does_not_exist_is_not_told_from_what_does(
    bot: Bot,
) -> None:
    bot.world.forbid("5", history=True)
    assert code(bot.ask("GET", "/channels/5/messages/404")) == (403, 50001)
    bot.world.forbid("5")
    assert code(bot.ask("GET", "/channels/5/messages/404")) == (404, 10008)


def test_with_too_many_threads_none_is_taken_out_of_the_archive(bot: Bot) -> None:
    bot.world.archive("6")
    bot.world.archive("7", sends_unarchive=False)
    bot.world.add_thread("8", "5")
    bot.world.exhaust_threads()
    unarchive = {"archived": False}
    assert code(bot.send("6")) == (400, 160006)
    assert code(bot.ask("PATCH", "/channels/6", unarchive)) == (400, 160006)
    assert code(bot.send("7")) == (400, 50083), "sending would not have taken it out"
    assert bot.send("8")[0] == 200, "it is active already"
    assert bot.ask("PATCH", "/channels/8", unarchive)[0] == 200
    assert bot.ask("PATCH", "/channels/6", {"name": "new"})[0] == 200
    bot.world.exhaust_threads(exhausted=False)
    assert bot.send("6")[0] == 200


def test_sending_takes_a_thread_out_of_the_archive(bot: Bot) -> None:
    bot.world.add_thread("6", "5", "Ada's talk")
    bot.world.archive("6")
    assert bot.ask("GET", "/channels/6")[1]["thread_metadata"]["archived"] is True
    assert bot.send("6")[0] == 200
    assert bot.ask("GET", "/channels/6")[1]["thread_metadata"]["archived"] is False


def test_a_thread_may_want_to_be_taken_out_of_the_archive_first(bot: Bot) -> None:
    bot.world.archive("6", sends_unarchive=False)
    assert code(bot.send("6")) == (400, 50083)
    assert bot.ask("PATCH", "/channels/6", {"archived": False})[0] == 200
    assert bot.send("6")[0] == 200


def test_nothing_in_an_archived_thread_can_be_edited(bot: Bot) -> None:
    _, sent = bot.send("6")
    bot.world.archive("6")
    path = f"/channels/6/messages/{sent['id']}"
    assert code(bot.ask("PATCH", path, {"content": "new"})) == (400, 50083)


def test_a_locked_thread_stays_locked(bot: Bot) -> None:
    bot.world.archive("6")
    bot.world.lock("6")
    assert code(bot.ask("PATCH", "/channels/6", {"archived": False})) == (403, 50013)
    bot.world.lock("6", locked=False)
    assert bot.ask("PATCH", "/channels/6", {"archived": False, "name": "new"})[0] == 200


def test_in_the_strict_world_only_what_was_added_exists() -> None:
    bot = Bot(STRICT)
    assert code(bot.open_dm("42")) == (404, 10013)
    assert code(bot.send("5")) == (404, 10003)
    assert code(bot.ask("GET", "/guilds/7")) == (404, 10004)
    bot.world.use_guild("7", "Python Berlin")
    assert code(bot.ask("GET", "/guilds/7/members/42")) == (404, 10007)
    bot.world.add_user("42")
    bot.world.add_channel("5")
    assert bot.send_dm("42")[0] == 200
    assert bot.send("5")[0] == 200
    assert bot.ask("GET", "/guilds/7")[1]["name"] == "Python Berlin"
    assert [c["id"] for c in bot.ask("GET", "/guilds/7/channels")[1]] == ["5"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, 0)),
        ("PUT", "/channels/5/messages/6", (404, 0)),
        ("GET", "/channels/five", (400, 50035)),
        ("GET", "/users/" + "9" * 30, (400, 50035)),
    ],
)
def test_paths_that_make_no_sense(
    bot: Bot, method: str, path: str, expected: tuple[int, int]
) -> None:
    assert code(bot.ask(method, path)) == expected


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bot good", 200), ("Bot bad", 401), ("Bearer good", 401), ("Bot ", 401), ("", 401)],
)
def test_only_the_set_token_is_accepted(authorization: str, status: int) -> None:
    service = DiscordService(LoopbackSettings(token="good"), LoopbackClock(), None)
    answer = service.answer(IncomingRequest("GET", "/api/v10/users/@me", {}, authorization, b""))
    assert answer.status == status
    if status == 401:
        assert json.loads(answer.body) == {"message": "401: Unauthorized", "code": 0}
