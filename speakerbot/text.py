"""User text for any channel: on one line, never a mass mention, never too long."""

from __future__ import annotations

import re
from collections.abc import Iterable

# With the address that it would become part of, where it follows one directly.
_CUSTOM_EMOJI = re.compile(r"(https?://[^\s<]+)?<a?:(\w+):\d+>", re.ASCII)
MASS_MENTION = re.compile(r"@(?=everyone|here)")
_BIDI_CONTROLS = dict.fromkeys(
    [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


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


def without_mass_mentions(text: str) -> str:
    """``@everyone`` and ``@here`` as mere words: they look the same."""
    return MASS_MENTION.sub("@\u200b", text)


def mentions_all(text: str) -> bool:
    """Whether Discord would take something in it for ``@everyone`` or ``@here``."""
    return MASS_MENTION.search(text) is not None


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, or nothing where no known word is close."""
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like it; None where none is close (0 to 1)."""
    from difflib import get_close_matches  # only where something is misspelt

    return next(iter(get_close_matches(word, list(known), 1, cutoff)), None)
