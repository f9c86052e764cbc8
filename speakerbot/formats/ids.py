"""Identifiers of talks and of Discord, checked and made."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any

_OBJECT_ID = re.compile(r"(?:ObjectId\()?\"?([0-9a-fA-F]{24})\"?\)?")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DISCORD_ID = re.compile(r"(?P<digits>[0-9]{17,20})|<@!?(?P<mention>[0-9]{17,20})>")
_ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+?\d+|\d+\.0")
_ENDS_IN_000 = re.compile(r"[0-9]{14,17}000")


def new_talk_id(now: datetime) -> str:
    """As MongoDB makes them: four bytes of time, eight of chance, in hexadecimal."""
    return f"{int(now.timestamp()):08x}{secrets.token_hex(8)}"


def talk_id(value: Any) -> str:
    """From ``{"$oid": …}``, ``ObjectId(…)`` or a text. Raises ValueError."""
    text = value.get("$oid") if isinstance(value, dict) and len(value) == 1 else value
    if isinstance(text, str):
        if found := _OBJECT_ID.fullmatch(text):
            return str(found[1]).lower()
        plain = text is value and text == text.strip() and _PLAIN.fullmatch(text)
        if plain and not _DATE.fullmatch(text):
            return str(text)
    raise ValueError(
        f"{_shown(value)} is not the id of a talk: write 24 hexadecimal digits as "
        '{"$oid": "…"}, or a short text on one line that is not a date'
    )


def snowflake(value: Any) -> str:
    """A Discord id as a command gets it, of any length. Raises ValueError."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return value
    raise ValueError(f"{_shown(value)} is not a Discord id (digits only)")


def discord_id(value: Any) -> str:
    """A Discord id in a file: a text, a mention, or MongoDB's canonical Long. Raises ValueError."""
    if isinstance(value, dict) and list(value) == ["$numberLong"]:
        value = value["$numberLong"]
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} is a number; a Discord id is written as a text, in quotes")
    text = value.strip() if isinstance(value, str) else ""
    if _ROUNDED.fullmatch(text):
        raise ValueError(f"{value!r} was a Discord id; {_A_NUMBER}")
    if not (found := _DISCORD_ID.fullmatch(text)):
        raise ValueError(
            f"{_shown(value)} is not a Discord id, which has 17 to 20 digits; Discord's "
            "developer mode adds Copy ID to its menus"
        )
    return found["mention"] or found["digits"]


def rounded_ids(cells: Collection[str]) -> set[str]:
    """Which ids of a sheet's column a spreadsheet has rounded: at least two, and a tenth of the
    column, end in 000. A mention cannot have been rounded."""
    suspects = [cell for cell in cells if _ENDS_IN_000.fullmatch(cell.strip())]
    return set(suspects) if len(suspects) >= max(2, len(cells) / 10) else set()


def why_rounded(cell: str) -> str:
    return (
        f"{cell.strip()} ends in 000, as others of this column do: {_A_NUMBER}; "
        f"if it is right, write <@{cell.strip()}>"
    )


_A_NUMBER = (
    "a spreadsheet turned it into a number and rounded it; "
    "format that column as text and fill it in again"
)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
