"""Nonces of the last few minutes, and the messages that have them."""

from __future__ import annotations

from speakerbot.testing.discord.limits import SECOND
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.settings import Settings


class Nonces:
    """Times are nanoseconds. How long and where a nonce is unique is in the settings."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, Message]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, channel_id: str, nonce: str, settings: Settings, now: int) -> Message | None:
        """The message that has it, if that was accepted within the window."""
        found = self._seen.get((_scope(channel_id, settings), nonce))
        if found is None or found[0] + _window(settings) <= now:
            return None
        return found[1]

    def remember(self, message: Message, settings: Settings, now: int) -> None:
        """Also forgets those that are over, so that memory holds one window only."""
        if message.nonce is None:
            return
        self._forget_ended(now - _window(settings))
        key = (_scope(message.channel_id, settings), message.nonce)
        self._seen.pop(key, None)
        self._seen[key] = (now, message)

    def _forget_ended(self, until: int) -> None:
        ended = []
        for key, (accepted, _) in self._seen.items():
            if accepted > until:
                break
            ended.append(key)
        for key in ended:
            del self._seen[key]


def _scope(channel_id: str, settings: Settings) -> str:
    return channel_id if settings.nonce_scope == "channel" else ""


def _window(settings: Settings) -> int:
    return round(settings.nonce_window * SECOND)
