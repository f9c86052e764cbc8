"""Events of the loopback's guild: what may be made of them, by whom, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from speakerbot.testing.discord import (
    BOT_ID,
    NO_LIMITS,
    DiscordWorld,
    LoopbackClock,
    LoopbackSettings,
    ScheduledEvent,
    loopback_process,
    read_record,
)
from speakerbot.testing.discord.scheduled_events import MOST_EVENTS
from speakerbot.testing.discord.service import DiscordService, IncomingRequest

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BEGIN, END = NOW + timedelta(hours=6), NOW + timedelta(hours=7)
TALK: dict[str, Any] = {
    "name": "On engines",
    "description": "Ada speaks.",
    "privacy_level": 2,
    "entity_type": 3,
    "entity_metadata": {"location": "Room 1"},
    "scheduled_start_time": BEGIN.isoformat(),
    "scheduled_end_time": END.isoformat(),
}


class Bot:
    """Speaks to a loopback without a network."""

    def __init__(self, settings: LoopbackSettings = NO_LIMITS, record: Path | None = None) -> None:
        self.clock = LoopbackClock(NOW)
        self.service = DiscordService(settings, self.clock, record)
        self.world = DiscordWorld(self.service.state)
        self.world.use_guild("900")

    def ask(self, method: str, path: str = "", body: Any = None, **query: str) -> tuple[int, Any]:
        raw = b"" if body is None else json.dumps(body).encode()
        whole = f"/api/v10/guilds/900/scheduled-events{path}"
        answer = self.service.answer(IncomingRequest(method, whole, query, "Bot t", raw))
        return answer.status, json.loads(answer.body or b"null")

    def make(self, **changes: Any) -> tuple[int, Any]:
        return self.ask("POST", "", {**TALK, **changes})

    def made(self) -> str:
        event_id: str = self.make()[1]["id"]
        return event_id

    def edit(self, event_id: str, **changes: Any) -> tuple[int, Any]:
        return self.ask("PATCH", f"/{event_id}", changes)

    def names(self) -> list[str]:
        return [event["name"] for event in self.ask("GET")[1]]


@pytest.fixture
def bot() -> Bot:
    return Bot()


def code(reply: tuple[int, Any]) -> tuple[int, int]:
    return reply[0], reply[1]["code"]


def field_code(reply: tuple[int, Any]) -> tuple[str, str]:
    """The field that is wrong, and how."""
    assert code(reply) == (400, 50035)
    ((field, problem),) = reply[1]["errors"].items()
    return field, problem["_errors"][0]["code"]


def test_an_event_is_made_read_edited_and_deleted(bot: Bot) -> None:
    status, made = bot.make()
    assert status == 200
    assert made == {
        "id": made["id"],
        "guild_id": "900",
        "name": "On engines",
        "description": "Ada speaks.",
        "channel_id": None,
        "creator_id": BOT_ID,
        "creator": made["creator"],
        "image": None,
        "scheduled_start_time": "2026-11-20T18:00:00+00:00",
        "scheduled_end_time": "2026-11-20T19:00:00+00:00",
        "status": 1,
        "entity_type": 3,
        "entity_id": None,
        "entity_metadata": {"location": "Room 1"},
        "recurrence_rule": None,
        "privacy_level": 2,
        "guild_scheduled_event_exceptions": [],
    }
    path = f"/{made['id']}"
    assert bot.ask("GET") == (200, [made])
    assert bot.ask("GET", path) == (200, made)
    edited = bot.edit(made["id"], name=" More on engines ", description=None)
    assert edited == (200, {**made, "name": "More on engines", "description": None})
    assert bot.ask("GET", path) == edited
    assert bot.ask("DELETE", path) == (204, None)
    assert bot.ask("GET") == (200, [])
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert code(bot.ask(method, path, body)) == (404, 10070)
    assert [(e.name, e.deleted) for e in bot.service.events()] == [("More on engines", True)]


def test_how_many_are_interested_is_shown_on_request(bot: Bot) -> None:
    event = bot.made()
    bot.world.show_interest(event, "42")
    assert "user_count" not in bot.ask("GET")[1][0]
    assert bot.ask("GET", with_user_count="true")[1][0]["user_count"] == 1
    assert bot.ask("GET", f"/{event}", with_user_count="1")[1]["user_count"] == 1


REQUIRED = (
    "name",
    "privacy_level",
    "entity_type",
    "scheduled_start_time",
    "scheduled_end_time",
    "entity_metadata",
)


@pytest.mark.parametrize("field", REQUIRED)
def test_an_event_outside_discord_must_have(bot: Bot, field: str) -> None:
    assert field_code(bot.make(**{field: None})) == (field, "BASE_TYPE_REQUIRED")
    assert bot.names() == []


LIMITS = [
    ({"name": "x" * 101}, "name"),
    ({"name": "  "}, "name"),
    ({"description": "x" * 1001}, "description"),
    ({"entity_metadata": {"location": "x" * 101}}, "location"),
    ({"entity_metadata": {"location": " "}}, "location"),
    ({"entity_metadata": {}}, "entity_metadata"),
]


@pytest.mark.parametrize(("change", "field"), LIMITS)
def test_texts_have_their_limits(bot: Bot, change: dict[str, Any], field: str) -> None:
    assert field_code(bot.make(**change))[0] == field
    assert bot.edit(bot.made(), **change)[0] == 400


def test_texts_as_long_as_may_be_are_taken(bot: Bot) -> None:
    longest = {
        "name": "x" * 100,
        "description": "y" * 1000,
        "entity_metadata": {"location": "z" * 100},
    }
    assert bot.make(**longest)[0] == 200


def test_a_voice_channel_that_does_not_exist_holds_no_event(bot: Bot) -> None:
    assert field_code(bot.make(entity_type=2)) == ("channel_id", "BASE_TYPE_REQUIRED")
    assert code(bot.make(entity_type=2, channel_id="5")) == (404, 10003)
    assert field_code(bot.make(entity_type=7)) == ("entity_type", "BASE_TYPE_CHOICES")


def test_no_event_begins_in_the_past_or_ends_before_it_begins(bot: Bot) -> None:
    past = (NOW - timedelta(seconds=1)).isoformat()
    wrong = ("scheduled_start_time", "GUILD_SCHEDULED_EVENT_SCHEDULE_PAST")
    assert field_code(bot.make(scheduled_start_time=past)) == wrong
    event = bot.made()
    assert field_code(bot.edit(event, scheduled_start_time=past)) == wrong
    reply = bot.make(scheduled_end_time=TALK["scheduled_start_time"])
    assert field_code(reply)[0] == "scheduled_end_time"
    late = (END + timedelta(hours=1)).isoformat()
    assert field_code(bot.edit(event, scheduled_start_time=late))[0] == "scheduled_end_time"
    assert bot.ask("GET")[1][0]["scheduled_start_time"] == TALK["scheduled_start_time"]


def test_a_time_that_is_none_is_named(bot: Bot) -> None:
    assert field_code(bot.make(scheduled_start_time="tomorrow"))[0] == "scheduled_start_time"


def test_an_event_begins_and_ends_by_itself_and_the_list_forgets_it(bot: Bot) -> None:
    event = bot.made()
    bot.clock.advance(timedelta(hours=6))
    assert [e["status"] for e in bot.ask("GET")[1]] == [2]
    started = bot.edit(event, scheduled_start_time=(END - timedelta(minutes=1)).isoformat())
    wrong = "GUILD_SCHEDULED_EVENT_SCHEDULE_INVALID_START_BY_STATUS"
    assert field_code(started) == ("scheduled_start_time", wrong)
    assert bot.edit(event, name="Running")[0] == 200
    bot.clock.advance(timedelta(hours=1))
    assert bot.names() == []
    assert bot.ask("GET", f"/{event}")[1]["status"] == 3
    assert code(bot.edit(event, name="Over")) == (400, 180000)
    assert bot.ask("DELETE", f"/{event}")[0] == 204


STATUSES = [
    ([2], [200]),
    ([2, 3], [200, 200]),
    ([4], [200]),
    ([3], [400]),
    ([1], [200]),
    ([2, 1], [200, 400]),
    ([2, 4], [200, 400]),
    ([4, 1], [200, 400]),
    ([2, 3, 2], [200, 200, 400]),
]


@pytest.mark.parametrize(("statuses", "answers"), STATUSES)
def test_a_status_only_follows_the_one_before(
    bot: Bot, statuses: list[int], answers: list[int]
) -> None:
    event = bot.made()
    assert [bot.edit(event, status=status)[0] for status in statuses] == answers


def test_a_guild_has_at_most_a_hundred_at_once(bot: Bot) -> None:
    made = [bot.made() for _ in range(MOST_EVENTS)]
    assert code(bot.make()) == (400, 30038)
    bot.world.set_event_status(made[0], "canceled")
    assert bot.make()[0] == 200
    assert code(bot.make()) == (400, 30038)


FORBIDDEN: list[tuple[Callable[[DiscordWorld], object], list[int]]] = [
    (lambda world: world.forbid_events(), [200, 200, 200]),
    (lambda world: world.forbid_events(manage=True), [200, 200, 403]),
    (lambda world: world.forbid_events(create=True), [200, 200, 200]),
    (lambda world: world.forbid_events(create=True, manage=True), [403, 403, 403]),
]


@pytest.mark.parametrize(("change", "answers"), FORBIDDEN)
def test_who_may_make_and_edit_events(
    bot: Bot, change: Callable[[DiscordWorld], object], answers: list[int]
) -> None:
    own = bot.made()
    theirs = bot.world.add_event("42", "By hand", BEGIN, END).id
    change(bot.world)
    replies = [bot.make(), bot.edit(own, name="x"), bot.edit(theirs, name="x")]
    assert [status for status, _ in replies] == answers
    assert {reply["code"] for status, reply in replies if status == 403} <= {50013}
    assert bot.ask("DELETE", f"/{theirs}")[0] == (204 if answers[2] == 200 else 403)
    assert bot.ask("GET")[0] == 200, "everybody may see them"


def test_the_guild_says_which_of_these_permissions_there_are(bot: Bot) -> None:
    def permissions() -> int:
        whole = IncomingRequest("GET", "/api/v10/guilds/900", {}, "Bot t", b"")
        return int(json.loads(bot.service.answer(whole).body)["roles"][0]["permissions"])

    both = permissions()
    bot.world.forbid_events(create=True, manage=True)
    assert both & ~permissions() == 1 << 44 | 1 << 33


def test_people_make_edit_and_delete_events(bot: Bot) -> None:
    event = bot.world.add_event("42", "Party", BEGIN, END, location="Park")
    (listed,) = bot.ask("GET")[1]
    assert (listed["creator_id"], listed["entity_metadata"]) == ("42", {"location": "Park"})
    bot.world.edit_event(event.id, name="Picnic", ends_at=END + timedelta(hours=1))
    (listed,) = bot.ask("GET")[1]
    assert (listed["name"], listed["scheduled_end_time"]) == ("Picnic", "2026-11-20T20:00:00+00:00")
    bot.world.delete_event(event.id)
    assert bot.names() == []
    with pytest.raises(KeyError):
        bot.world.edit_event(event.id, name="Gone")


def test_another_guild_has_other_events(bot: Bot) -> None:
    event = bot.made()
    elsewhere = IncomingRequest(
        "GET", f"/api/v10/guilds/901/scheduled-events/{event}", {}, "Bot t", b""
    )
    assert bot.service.answer(elsewhere).status == 404
    strict = Bot(LoopbackSettings(strict=True))
    strict.world.use_guild("901")
    assert code(strict.make()) == (404, 10004)


def test_events_are_on_record_and_there_again_in_the_next_process(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    first = Bot(record=record)
    event = first.made()
    first.edit(event, name="Edited")
    deleted = first.made()
    first.ask("DELETE", f"/{deleted}")
    first.service.close()
    events = [r for r in read_record(record) if isinstance(r, ScheduledEvent)]
    assert [(e.name, e.deleted) for e in events] == [
        ("On engines", False),
        ("Edited", False),
        ("On engines", False),
        ("On engines", True),
    ]
    second = Bot(record=record)
    assert second.names() == ["Edited"]
    assert int(second.made()) > int(deleted)
    second.service.close()


def test_another_process_is_told_of_events_too() -> None:
    begin = datetime.now(UTC) + timedelta(days=1)
    with loopback_process(NO_LIMITS) as discord:
        client = discord.client
        client.change(DiscordWorld.add_event, "42", "Party", begin, begin + timedelta(hours=1))
        (event,) = client.events()
        client.change(DiscordWorld.edit_event, event.id, name="Picnic")
        client.change(DiscordWorld.react, client_message(discord.base_url), "42", "✅")
        assert client.messages()[0].reactions == {"✅": ("42",)}
        assert [(e.name, e.creator_id, e.starts_at) for e in client.events()] == [
            ("Picnic", "42", begin)
        ]


def client_message(base_url: str) -> str:
    """The id of a message that was sent to the loopback at this address."""
    address = urlsplit(base_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=10)
    body = json.dumps({"content": "hello"})
    path = f"{address.path}/channels/5/messages"
    connection.request("POST", path, body, {"Authorization": "Bot t"})
    sent = json.loads(connection.getresponse().read())
    connection.close()
    message_id: str = sent["id"]
    return message_id
