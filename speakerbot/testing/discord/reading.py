"""Reading messages back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from speakerbot.testing.discord.bodies import message_body
from speakerbot.testing.discord.call import Call, Context, Reply
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.refusals import invalid_form, missing_access, unknown_message
from speakerbot.testing.discord.snowflakes import is_snowflake


def get_message(call: Call, context: Context) -> Reply:
    channel = context.channel(call.ids[0])
    if not channel.history:
        raise missing_access()
    message = channel.find(call.ids[1])
    if message is None:
        raise unknown_message()
    return Reply(message_body(message, context.state, nonce=context.settings.history_nonces))


def list_messages(call: Call, context: Context) -> Reply:
    """Newest first. Without Read Message History the list is empty, and that is no error."""
    channel = context.channel(call.ids[0])
    found = page(channel.messages, call.query) if channel.history else []
    shown = context.settings.history_nonces
    return Reply([message_body(m, context.state, nonce=shown) for m in reversed(found)])


def page(messages: list[Message], query: Mapping[str, str]) -> list[Message]:
    """The part of ``messages`` (oldest first) that ``limit`` and one of ``before``, ``after`` and
    ``around`` ask for, oldest first. Raises Refusal 50035."""
    limit = _limit(query.get("limit", "50"))
    if "around" in query:
        middle = bisect_left(messages, _id(query, "around"), key=_number)
        begin = max(0, middle - limit // 2)
        return messages[begin : begin + limit]
    if "after" in query:
        begin = bisect_right(messages, _id(query, "after"), key=_number)
        return messages[begin : begin + limit]
    end = len(messages)
    if "before" in query:
        end = bisect_left(messages, _id(query, "before"), key=_number)
    return messages[max(0, end - limit) : end]


def _number(message: Message) -> int:
    return int(message.id)


def _id(query: Mapping[str, str], name: str) -> int:
    if not is_snowflake(query[name]):
        text = f'Value "{query[name]}" is not snowflake.'
        raise invalid_form(name, "NUMBER_TYPE_COERCE", text)
    return int(query[name])


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise invalid_form("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
    return int(text)
