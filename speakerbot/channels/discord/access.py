"""What is known of Discord without opening a session, and without importing its library: who we are
there, how texts must look, and how an attempt at a message is marked."""

from __future__ import annotations

import base64
import re
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from speakerbot.domain.message import ROLE
from speakerbot.ports.channel import Capabilities, ChannelAccess
from speakerbot.text import MASS_MENTION, length, name_custom_emoji, one_line, without_mass_mentions

if TYPE_CHECKING:
    from speakerbot.domain.message import ReaderTime, Route
    from speakerbot.ports.channel import Channel, ChannelHost

LIMIT: Final = 2000
"""Characters in one message, counted as UTF-16 units to be on the safe side."""

# What Discord makes a link of: it ends before a <, and not with punctuation.
_URL = re.compile(r"""https?://[^\s<]+[^\s<.,:;"'\]]""")
# An underscore inside a word, a lone ~ or | mean nothing to Discord: they are left alone. For
# Discord only ASCII letters make a word that an underscore cannot close.
_MARKDOWN = re.compile(
    r"[\\*`\[<]|(?<!\w)_|_(?![A-Za-z0-9])|(?<=_)_|~(?=~)|(?<=~)~|\|(?=\|)|(?<=\|)\|"
    r"|^[>#-]|^\d+\.(?=\s|$)"
)
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def discord(token: str, base: str, *, rate: float, new_dm_every: timedelta) -> ChannelAccess:
    """Discord as the bot with this token, at this address of its API; ``rate``: requests a
    second."""

    def opened(host: ChannelHost) -> AbstractAsyncContextManager[Channel]:
        from speakerbot.channels.discord.channel import opened

        return opened(host, token, base, rate=rate, new_dm_every=new_dm_every)

    return ChannelAccess("discord", bot_of(token), CAPABILITIES, nonce_of, opened)


def bot_of(token: str) -> str:
    """Which bot a token belongs to: the first part of a token is the bot's user id. That of another
    shape is told apart by its hash. It stays when the token is reset."""
    first = token.split(".", maxsplit=1)[0]
    with suppress(ValueError):
        user_id = base64.b64decode(first + "=" * (-len(first) % 4), validate=True).decode()
        if user_id.isascii() and user_id.isdigit():
            return user_id
    import hashlib  # most runs find nothing to send, and know their texts' rules only

    return hashlib.sha256(first.encode()).hexdigest()[:16]


def nonce_of(key: str, route: Route) -> str:
    """24 characters that are the same for every attempt at this message by this route."""
    import hashlib

    digest = hashlib.sha256(f"{key}|{route.name}|{route.target}".encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


@lru_cache(maxsize=1024)  # a talk's topic, a date: the same for everybody it goes to
def escape(text: str) -> str:
    """``text`` on one line, so that Discord shows its characters and notifies no one.

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


def _escape_piece(text: str) -> str:
    unpinged = without_mass_mentions(text)
    return _MARKDOWN.sub(lambda match: f"{match.group()[:-1]}\\{match.group()[-1]}", unpinged)


def _safe_url(url: str) -> str:
    return MASS_MENTION.sub("%40", url)


def _mention(whom: str) -> str:
    return f"<@&{whom.removeprefix(ROLE)}>" if whom.startswith(ROLE) else f"<@{whom}>"


def _reader_time(time: ReaderTime) -> str:
    return f"<t:{int(time.at.timestamp())}:{time.style}>"


CAPABILITIES: Final = Capabilities(
    idempotent_for=timedelta(minutes=2),
    looks_back=True,
    notifies=True,
    reactions=True,
    max_length=LIMIT,
    length=length,
    escape=escape,
    mention=_mention,
    reader_time=_reader_time,
)
