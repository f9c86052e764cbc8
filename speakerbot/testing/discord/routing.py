"""Which of Discord's operations a request asks for, by the names of Discord's OpenAPI document."""

from __future__ import annotations

from typing import Literal, NamedTuple

from speakerbot.testing.discord.clock import is_snowflake
from speakerbot.testing.discord.responses import invalid_form, no_such_path

BASE = "/api/v10"

Operation = Literal[
    "create_dm",
    "create_message",
    "list_messages",
    "get_message",
    "update_message",
    "delete_message",
    "add_my_message_reaction",
    "delete_my_message_reaction",
    "delete_user_message_reaction",
    "list_message_reactions_by_emoji",
    "get_channel",
    "update_channel",
    "get_my_user",
    "get_user",
    "get_my_oauth2_application",
    "get_guild",
    "list_guild_channels",
    "get_guild_member",
    "list_guild_scheduled_events",
    "create_guild_scheduled_event",
    "get_guild_scheduled_event",
    "update_guild_scheduled_event",
    "delete_guild_scheduled_event",
]


class ApiRoute(NamedTuple):
    """``ids`` are the ones in the path, in its order; the first is what limits are counted by.
    ``emoji`` is the one in the path of a reaction."""

    operation: Operation
    ids: tuple[str, ...] = ()
    emoji: str = ""


def find_route(method: str, path: str) -> ApiRoute:
    """``path`` begins with :data:`BASE`. Raises ApiError for what Discord, or we, do not have."""
    if not path.startswith(BASE + "/"):
        raise no_such_path()
    route = _match(method, path[len(BASE) + 1 :].split("/"))
    for snowflake in route.ids:
        if not is_snowflake(snowflake):
            raise invalid_form("id", "NUMBER_TYPE_COERCE", f'Value "{snowflake}" is not snowflake.')
    return route


def _match(method: str, parts: list[str]) -> ApiRoute:
    match method, parts:
        case "POST", ["channels", channel, "messages"]:
            return ApiRoute("create_message", (channel,))
        case "GET", ["channels", channel, "messages"]:
            return ApiRoute("list_messages", (channel,))
        case "POST", ["users", "@me", "channels"]:
            return ApiRoute("create_dm")
        case _, ["channels", channel, "messages", message]:
            return ApiRoute(_message_operation(method), (channel, message))
        case _, ["channels", channel, "messages", message, "reactions", emoji, *whose]:
            return _reaction_route(method, (channel, message), emoji, whose)
        case "GET", ["channels", channel]:
            return ApiRoute("get_channel", (channel,))
        case "PATCH", ["channels", channel]:
            return ApiRoute("update_channel", (channel,))
        case "GET", ["users", "@me"]:
            return ApiRoute("get_my_user")
        case "GET", ["users", user]:
            return ApiRoute("get_user", (user,))
        case "GET", ["oauth2", "applications", "@me"]:
            return ApiRoute("get_my_oauth2_application")
        case "GET", ["guilds", guild]:
            return ApiRoute("get_guild", (guild,))
        case "GET", ["guilds", guild, "channels"]:
            return ApiRoute("list_guild_channels", (guild,))
        case "GET", ["guilds", guild, "members", user]:
            return ApiRoute("get_guild_member", (guild, user))
        case _, ["guilds", guild, "scheduled-events", *event]:
            return _event_route(method, guild, event)
    raise no_such_path()


def _reaction_route(
    method: str, message: tuple[str, str], emoji: str, whose: list[str]
) -> ApiRoute:
    match method, whose:
        case "GET", []:
            return ApiRoute("list_message_reactions_by_emoji", message, emoji)
        case "PUT", ["@me"]:
            return ApiRoute("add_my_message_reaction", message, emoji)
        case "DELETE", ["@me"]:
            return ApiRoute("delete_my_message_reaction", message, emoji)
        case "DELETE", [user]:
            return ApiRoute("delete_user_message_reaction", (*message, user), emoji)
    raise no_such_path()


def _event_route(method: str, guild: str, event: list[str]) -> ApiRoute:
    match method, event:
        case "GET", []:
            return ApiRoute("list_guild_scheduled_events", (guild,))
        case "POST", []:
            return ApiRoute("create_guild_scheduled_event", (guild,))
        case "GET", [one]:
            return ApiRoute("get_guild_scheduled_event", (guild, one))
        case "PATCH", [one]:
            return ApiRoute("update_guild_scheduled_event", (guild, one))
        case "DELETE", [one]:
            return ApiRoute("delete_guild_scheduled_event", (guild, one))
    raise no_such_path()


def _message_operation(method: str) -> Operation:
    match method:
        case "GET":
            return "get_message"
        case "PATCH":
            return "update_message"
        case "DELETE":
            return "delete_message"
    raise no_such_path()
