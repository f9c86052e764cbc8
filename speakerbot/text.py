"""User text in Discord's markdown: shown as it was typed, never a mention, never too long."""

from __future__ import annotations

import re

LIMIT = 2000
"""Characters in one Discord message, counted as UTF-16 units to be on the safe side."""

_URL = re.compile(r"https?://\S+")
# An underscore inside a word, a lone ~ or | mean nothing to Discord: they are left alone.
_MARKDOWN = re.compile(
    r"[\\*`\[<]|(?<!\w)_|_(?!\w)|_(?=_)|~(?=~)|(?<=~)~|\|(?=\|)|(?<=\|)\||^[>#-]"
)
_MASS_MENTION = re.compile(r"@(?=everyone\b|here\b)")
_BIDI_CONTROLS = dict.fromkeys(
    [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def escape(text: str) -> str:
    """``text`` on one line, so that Discord shows its characters and pings nobody.

    Addresses (https://…) are left alone; right-to-left text is isolated, so that it cannot turn
    the sentence around it.
    """
    line = " ".join(text.translate(_BIDI_CONTROLS).split())
    pieces, end = [], 0
    for url in _URL.finditer(line):
        pieces += [_escape_piece(line[end : url.start()]), url.group()]
        end = url.end()
    escaped = "".join([*pieces, _escape_piece(line[end:])])
    return f"\u2068{escaped}\u2069" if _RIGHT_TO_LEFT.search(line) else escaped


def _escape_piece(text: str) -> str:
    unpinged = _MASS_MENTION.sub("@\u200b", text)
    return _MARKDOWN.sub(lambda match: f"\\{match.group()}", unpinged)


def length(text: str) -> int:
    """As Discord counts it, at the most: in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def shorten(text: str, most: int) -> str:
    """``text`` cut to ``most`` UTF-16 units with an ellipsis, between whole characters."""
    if length(text) <= most:
        return text
    cut = text.encode("utf-16-le")[: 2 * max(0, most - 1)].decode("utf-16-le", "ignore")
    return cut.rstrip() + "…"
