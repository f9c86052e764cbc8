"""User text in Discord's markdown: shown as it was typed, never a mention, never too long."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

LIMIT: Final = 2000
"""Characters in one Discord message, counted as UTF-16 units to be on the safe side."""

# What Discord makes a link of: it ends before a <, and not with punctuation.
_URL = re.compile(r"""https?://[^\s<]+[^\s<.,:;"'\]]""")
# An underscore inside a word, a lone ~ or | mean nothing to Discord: they are left alone. For
# Discord only ASCII letters make a word that an underscore cannot close.
_MARKDOWN = re.compile(
    r"[\\*`\[<]|(?<!\w)_|_(?![A-Za-z0-9])|(?<=_)_|~(?=~)|(?<=~)~|\|(?=\|)|(?<=\|)\|"
    r"|^[>#-]|^\d+\.(?=\s|$)"
)
# With the address that it would become part of, where it follows one directly.
_CUSTOM_EMOJI = re.compile(r"(https?://[^\s<]+)?<a?:(\w+):\d+>", re.ASCII)
_MASS_MENTION = re.compile(r"@(?=everyone|here)")
_BIDI_CONTROLS = dict.fromkeys(
    [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@lru_cache(maxsize=1024)  # a talk's topic, a date: the same for everybody it goes to
def escape(text: str) -> str:
    """``text`` on one line, so that Discord shows its characters and pings nobody.

    Addresses (https://…) are left alone; custom emoji are written as ``:name:``; right-to-left
    text is isolated, so that it cannot turn the sentence around it.
    """
    line = name_custom_emoji(one_line(text))
    pieces, end = [], 0
    for url in _URL.finditer(line):
        pieces += [_escape_piece(line[end : url.start()]), _safe_url(url.group())]
        end = url.end()
    escaped = "".join([*pieces, _escape_piece(line[end:])])
    return f"\u2068{escaped}\u2069" if _RIGHT_TO_LEFT.search(line) else escaped


def one_line(text: str) -> str:
    """``text`` without line breaks, control characters and what turns the direction of writing."""
    line = " ".join(text.translate(_BIDI_CONTROLS).split())
    return _UNPRINTABLE.sub(lambda match: _replacement(match.group()), line)


def name_custom_emoji(text: str) -> str:
    """``text`` with ``<:party:123>`` as ``:party:``: what Discord makes of an emoji that the bot
    cannot use. A message written this way is found again as it was sent."""
    while (named := _CUSTOM_EMOJI.sub(_emoji_name, text)) != text:
        text = named  # again: the name may have completed another one's markup
    return text


def _emoji_name(emoji: re.Match[str]) -> str:
    address, name = emoji.groups()
    return f"{address} :{name}:" if address else f":{name}:"


def _replacement(character: str) -> str:
    """Half a character, as broken JSON holds it, cannot be sent at all."""
    return "\ufffd" if character >= "\ud800" else ""


def _escape_piece(text: str) -> str:
    unpinged = without_mass_mentions(text)
    return _MARKDOWN.sub(lambda match: f"{match.group()[:-1]}\\{match.group()[-1]}", unpinged)


def _safe_url(url: str) -> str:
    return _MASS_MENTION.sub("%40", url)


def without_mass_mentions(text: str) -> str:
    """``@everyone`` and ``@here`` as mere words: they look the same."""
    return _MASS_MENTION.sub("@\u200b", text)


def mentions_all(text: str) -> bool:
    """Whether Discord would take something in it for ``@everyone`` or ``@here``."""
    return _MASS_MENTION.search(text) is not None


def length(text: str) -> int:
    """As Discord counts it, at the most: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shorten(text: str, most: int) -> str:
    """``text`` cut to ``most`` UTF-16 units, at least 1, with an ellipsis, between whole
    characters. Where that is not enough room for custom emoji, they are written as their names."""
    if length(text) <= most or length(text := name_custom_emoji(text)) <= most:
        return text
    room, end = most - 1, 0
    while (room := room - length(text[end])) >= 0:
        end += 1
    return text[:end].rstrip(" \t\n\u200d\ufe0f") + "…"
