"""The loopback's requests and answers against Discord's own OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import quote

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from speakerbot.testing.discord import BOT_ID, Fault, LoopbackDiscord, LoopbackSettings
from speakerbot.testing.discord.routing import Operation

DOCUMENT = Path(__file__).parents[3] / "shared" / "specs" / "discord-openapi.json"
pytestmark = pytest.mark.skipif(
    not DOCUMENT.exists(), reason="Discord's OpenAPI document is not here (../shared/specs)"
)

BUTTON = {"type": 2, "style": 1, "label": "I'll be there", "custom_id": "confirm"}
RICH = {
    "content": "<@42> hello",
    "embeds": [{"title": "Talks", "fields": [{"name": "Friday", "value": "Ada"}]}],
    "components": [{"type": 1, "components": [BUTTON]}],
    "allowed_mentions": {"parse": [], "users": ["42"]},
    "nonce": "abcdefghijklmnopqrstuvwx",
    "enforce_nonce": True,
}


class Exchange(NamedTuple):
    """A request, and the answer that is expected. ``path`` is the document's, ``ids`` fill it."""

    method: str
    path: str
    ids: Mapping[str, str]
    body: Any
    status: int


USERS, CHANNEL, MESSAGES = (
    "/users/@me/channels",
    "/channels/{channel_id}",
    "/channels/{channel_id}/messages",
)
MESSAGE, MEMBER = f"{MESSAGES}/{{message_id}}", "/guilds/{guild_id}/members/{user_id}"
TEXT, THREAD, ARCHIVED, DM, SENT = "500", "600", "601", "700", "SENT"
GUILD = {"guild_id": "900"}
REACTIONS = f"{MESSAGE}/reactions/{{emoji_name}}"
MINE, THEIRS = f"{REACTIONS}/@me", f"{REACTIONS}/{{user_id}}"
YES = {"emoji_name": "✅"}
EVENTS = "/guilds/{guild_id}/scheduled-events"
EVENT, MADE = f"{EVENTS}/{{guild_scheduled_event_id}}", "MADE"
PAST = "2020-01-01T18:00:00+00:00"
BEGIN, END = datetime(2999, 1, 1, 18, tzinfo=UTC), datetime(2999, 1, 1, 19, tzinfo=UTC)
NEW_EVENT = {
    "name": "On engines",
    "description": "Ada speaks.",
    "privacy_level": 2,
    "entity_type": 3,
    "entity_metadata": {"location": "Room 1"},
    "scheduled_start_time": BEGIN.isoformat(),
    "scheduled_end_time": END.isoformat(),
}


def in_channel(channel: str, message: str | None = None) -> dict[str, str]:
    return {"channel_id": channel} | ({"message_id": message} if message else {})


EXCHANGES = [
    Exchange("POST", USERS, {}, {"recipient_id": "42"}, 200),
    Exchange("POST", USERS, {}, {"recipient_id": "43"}, 404),
    Exchange("POST", USERS, {}, {"recipient_id": "44"}, 400),
    Exchange("POST", MESSAGES, in_channel(TEXT), {"content": "hello"}, 200),
    Exchange("POST", MESSAGES, in_channel(TEXT), RICH, 200),
    Exchange("POST", MESSAGES, in_channel(THREAD), {"content": "hello"}, 200),
    Exchange("POST", MESSAGES, in_channel(DM), {"content": "hello", "nonce": 7}, 200),
    Exchange("POST", MESSAGES, in_channel(TEXT), {"content": ""}, 400),
    Exchange("POST", MESSAGES, in_channel(TEXT), {"content": "x" * 2001}, 400),
    Exchange("POST", MESSAGES, in_channel("501"), {"content": "hello"}, 403),
    Exchange("POST", MESSAGES, in_channel(ARCHIVED), {"content": "hello"}, 400),
    Exchange("GET", MESSAGES, in_channel(TEXT), None, 200),
    Exchange("GET", MESSAGE, in_channel(TEXT, SENT), None, 200),
    Exchange("GET", MESSAGE, in_channel(TEXT, "1"), None, 404),
    Exchange("PATCH", MESSAGE, in_channel(TEXT, SENT), {"content": "edited"}, 200),
    Exchange("GET", CHANNEL, in_channel(TEXT), None, 200),
    Exchange("GET", CHANNEL, in_channel(DM), None, 200),
    Exchange("GET", CHANNEL, in_channel("501"), None, 200),
    Exchange("GET", CHANNEL, in_channel("999"), None, 404),
    Exchange("PATCH", CHANNEL, in_channel(THREAD), {"archived": False}, 200),
    Exchange("GET", "/users/@me", {}, None, 200),
    Exchange("GET", "/users/{user_id}", {"user_id": "42"}, None, 200),
    Exchange("GET", "/oauth2/applications/@me", {}, None, 200),
    Exchange("GET", "/guilds/{guild_id}", GUILD, None, 200),
    Exchange("GET", "/guilds/{guild_id}/channels", GUILD, None, 200),
    Exchange("GET", MEMBER, GUILD | {"user_id": "42"}, None, 200),
    Exchange("PUT", MINE, in_channel(TEXT, SENT) | YES, None, 204),
    Exchange("PUT", MINE, in_channel(TEXT, SENT) | {"emoji_name": "yes"}, None, 400),
    Exchange("PUT", MINE, in_channel(TEXT, "1") | YES, None, 404),
    Exchange("GET", REACTIONS, in_channel(TEXT, SENT) | YES, None, 200),
    Exchange("GET", MESSAGE, in_channel(TEXT, SENT), None, 200),
    Exchange("DELETE", MINE, in_channel(TEXT, SENT) | YES, None, 204),
    Exchange("DELETE", THEIRS, in_channel(TEXT, SENT) | YES | {"user_id": "42"}, None, 204),
    Exchange("DELETE", THEIRS, in_channel("501", "1") | YES | {"user_id": "42"}, None, 403),
    Exchange("DELETE", MESSAGE, in_channel(TEXT, SENT), None, 204),
    Exchange("GET", EVENTS, GUILD, None, 200),
    Exchange("POST", EVENTS, GUILD, NEW_EVENT, 200),
    Exchange("POST", EVENTS, GUILD, {**NEW_EVENT, "scheduled_end_time": None}, 400),
    Exchange("POST", EVENTS, GUILD, {**NEW_EVENT, "scheduled_start_time": PAST}, 400),
    Exchange("GET", EVENT, GUILD | {"guild_scheduled_event_id": MADE}, None, 200),
    Exchange("GET", EVENT, GUILD | {"guild_scheduled_event_id": "1"}, None, 404),
    Exchange("PATCH", EVENT, GUILD | {"guild_scheduled_event_id": MADE}, {"name": "More"}, 200),
    Exchange("PATCH", EVENT, GUILD | {"guild_scheduled_event_id": MADE}, {"status": 3}, 400),
    Exchange("DELETE", EVENT, GUILD | {"guild_scheduled_event_id": MADE}, None, 204),
]


@cache
def document() -> Any:
    """With one correction: the codes inside ``errors`` are words (``BASE_TYPE_BAD_LENGTH``) at the
    service and in Discord's documentation; the document calls them integers."""
    read = json.loads(DOCUMENT.read_text())
    inner = read["components"]["schemas"]["InnerErrors"]["properties"]["_errors"]
    inner["items"] = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    }
    return read


def check(value: Any, schema: Any) -> None:
    """Raises ValidationError where ``value`` does not fit."""
    rooted = {**schema, "components": document()["components"]}
    OAS31Validator(rooted, format_checker=oas31_format_checker).validate(value)


@cache
def responses(method: str, path: str) -> Any:
    return document()["paths"][path][method.lower()]["responses"]


def check_response(
    exchange: Exchange, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    declared = responses(exchange.method, exchange.path)
    response = declared.get(str(status)) or declared["4XX"]
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
    for name in response.get("headers", {}):
        schema = document()["components"]["headers"][name]["schema"]
        value = headers[name]
        check(value if schema["type"] == "string" else json.loads(value), schema)
    if "content" in response:
        assert headers["Content-Type"] == "application/json"
        check(json.loads(body), response["content"]["application/json"]["schema"])
    else:
        assert body == b""


@pytest.fixture
def discord() -> Iterator[LoopbackDiscord]:
    server = LoopbackDiscord(LoopbackSettings(strict=True))
    world = server.world
    world.use_guild("900")
    world.add_user("42", "Ada")
    world.add_channel(TEXT, "talks")
    world.allow_managing(TEXT)
    world.add_channel("501", "readonly")
    world.forbid("501", send=True)
    world.add_thread(THREAD, TEXT, "Ada's talk")
    world.add_thread(ARCHIVED, TEXT, "Kaz's talk")
    world.archive(ARCHIVED)
    world.exhaust_threads()
    world.add_dm("42", DM)
    world.close_dms("44", refuse_opening=True)
    with server.running_in_thread() as running:
        yield running


def perform(discord: LoopbackDiscord, exchange: Exchange) -> tuple[int, Mapping[str, str], bytes]:
    ids = dict(exchange.ids)
    if ids.get("message_id") == SENT:
        message = discord.world.post(TEXT, "1400000000000000000", "sent before")
        ids["message_id"] = message.id
        for user in ("42", BOT_ID):
            discord.world.react(message.id, user, "✅")
    if ids.get("guild_scheduled_event_id") == MADE:
        event = discord.world.add_event("42", "By hand", BEGIN, END)
        ids["guild_scheduled_event_id"] = event.id
    connection = HTTPConnection("127.0.0.1", discord.port, timeout=10)
    try:
        path = quote("/api/v10" + exchange.path.format(**ids))
        body = None if exchange.body is None else json.dumps(exchange.body)
        headers = {"Authorization": "Bot t", "Content-Type": "application/json"}
        connection.request(exchange.method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def name(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.path} {exchange.status}"


@pytest.mark.parametrize("exchange", EXCHANGES, ids=name)
def test_requests_and_answers_fit_the_document(
    discord: LoopbackDiscord, exchange: Exchange
) -> None:
    operation = document()["paths"][exchange.path][exchange.method.lower()]
    if exchange.body is not None:
        check(exchange.body, operation["requestBody"]["content"]["application/json"]["schema"])
    status, headers, body = perform(discord, exchange)
    assert status == exchange.status
    assert discord.requests[-1].operation == operation["operationId"]
    check_response(exchange, status, headers, body)


def test_every_operation_is_among_them() -> None:
    covered = {document()["paths"][e.path][e.method.lower()]["operationId"] for e in EXCHANGES}
    assert covered == set(get_args(Operation))


@pytest.mark.parametrize(
    "limits", [LoopbackSettings(global_limit=1), LoopbackSettings()], ids=["global", "bucket"]
)
def test_rate_limits_fit_the_document(discord: LoopbackDiscord, limits: LoopbackSettings) -> None:
    discord.settings = limits
    exchange = Exchange("POST", MESSAGES, in_channel(TEXT), {"content": "hello"}, 429)
    answers = [perform(discord, exchange) for _ in range(6)]
    status, headers, body = answers[-1]
    assert status == 429
    check_response(exchange, status, headers, body)


FAULTS = [
    Fault(kind="rate_limit"),
    Fault(kind="rate_limit", retry_after=1e12),
    Fault(kind="error", status=403),
    Fault(kind="error", status=400, code=160006, message="Too many threads"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_injected_errors_fit_the_document(discord: LoopbackDiscord, fault: Fault) -> None:
    discord.inject(fault)
    exchange = Exchange("GET", CHANNEL, in_channel(TEXT), None, 0)
    check_response(exchange, *perform(discord, exchange))


def test_a_refused_token_fits_the_document(discord: LoopbackDiscord) -> None:
    discord.settings = LoopbackSettings(token="another")
    exchange = Exchange("GET", "/users/@me", {}, None, 401)
    status, _, body = perform(discord, exchange)
    assert status == 401
    check(json.loads(body), {"$ref": "#/components/schemas/ErrorResponse"})
