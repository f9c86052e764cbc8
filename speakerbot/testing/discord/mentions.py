"""Whom a message notifies: what its content mentions and its ``allowed_mentions`` permits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from speakerbot.testing.discord.refusals import invalid_form

_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(?:everyone|here)\b")


class Notified(NamedTuple):
    """Ids of users and roles, and whether everyone is."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    everyone: bool = False


def notified(content: str, allowed: Mapping[str, Any] | None) -> Notified:
    """Without ``allowed_mentions``, everybody who is mentioned. Raises Refusal 50035 where
    ``parse`` and a list of ids contradict each other, as Discord does."""
    if allowed is None:
        allowed = {"parse": ["users", "roles", "everyone"]}
    parse = allowed.get("parse") or ()
    users = _permitted("users", _USER.findall(content), allowed, parse)
    roles = _permitted("roles", _ROLE.findall(content), allowed, parse)
    return Notified(users, roles, "everyone" in parse and bool(_EVERYONE.search(content)))


def _permitted(
    kind: str, found: list[str], allowed: Mapping[str, Any], parse: tuple[str, ...] | list[str]
) -> tuple[str, ...]:
    listed = {str(snowflake) for snowflake in allowed.get(kind) or ()}
    if kind not in parse:
        return tuple(snowflake for snowflake in dict.fromkeys(found) if snowflake in listed)
    if listed:
        text = f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
        raise invalid_form("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", text)
    return tuple(dict.fromkeys(found))
