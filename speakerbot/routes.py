"""How a speaker can be reached, in the community's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.messages import Route

if TYPE_CHECKING:
    from speakerbot.config import Settings


def to_speaker(user_id: str, thread_id: str | None, settings: Settings) -> tuple[Route, ...]:
    """By DM, in the sign-up thread if there is one, in the fallback channel if there is one: those
    of ``SPEAKERBOT_REMINDER_ROUTES``. Where others read along, the speaker is mentioned."""
    known: dict[str, Route] = {"dm": Route("dm", user_id)}
    if thread_id:
        known["thread"] = Route("thread", thread_id, mention=user_id)
    if channel := settings.fallback_channel_id:
        known["channel"] = Route("channel", channel, mention=user_id, configured=True)
    return tuple(known[name] for name in settings.reminder_routes if name in known)
