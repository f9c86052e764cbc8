"""Identifiers of talks and of Discord, checked and made."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from typing import Any

_OBJECT_ID = re.compile(r"(?:ObjectId\()?\"?([0-9a-fA-F]{24})\"?\)?")
_PLAIN = re.compile(r"[^\s/\x00-\x1f\x7f]{1,100}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+?\d+|\d+\.0")


def new_talk_id(now: datetime) -> str:
    """As MongoDB makes them: four bytes of time, eight of chance, in hexadecimal."""
    return f"{int(now.timestamp()):08x}{secrets.token_hex(8)}"


def talk_id(value: Any) -> str:
    """From ``{"$oid": …}``, ``ObjectId(…)`` or a text. Raises ValueError."""
    text = value.get("$oid") if isinstance(value, dict) and len(value) == 1 else value
    if isinstance(text, str):
        if found := _OBJECT_ID.fullmatch(text):
            return str(found[1]).lower()
        if text is value and _PLAIN.fullmatch(text) and not _DATE.fullmatch(text):
            return str(text)
    raise ValueError(
        f"{_shown(value)} is not the id of a talk: write 24 hexadecimal digits as "
        '{"$oid": "…"}, or a text without spaces and slashes that is not a date'
    )


def snowflake(value: Any) -> str:
    """A Discord id. Raises ValueError."""
    if isinstance(value, str):
        if value.isascii() and value.isdigit() and len(value) <= 20:
            return value
        if _ROUNDED.fullmatch(value):
            raise ValueError(
                f"{value!r} was a Discord id that a spreadsheet turned into a number; "
                "format that column as text and fill it in again"
            )
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} is a number; a Discord id is written as a text, in quotes")
    raise ValueError(f"{_shown(value)} is not a Discord id (digits only)")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
