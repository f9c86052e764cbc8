"""How a run ends that handled its messages, and still found something a person must mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError, SpeakerbotError, TokenRefused, Unreachable

if TYPE_CHECKING:
    from speakerbot.delivery.session import Traffic


def failure(traffic: Traffic | None) -> SpeakerbotError | None:
    """The error to end with; None where all is well, or only recipients failed."""
    if traffic is None:
        return None
    if stopped := traffic.stopped:
        match stopped.reason:
            case "token":
                return TokenRefused(
                    f"DISCORD_TOKEN was refused ({stopped.detail}). Nothing was sent. Copy it anew "
                    "from Discord's developer portal: your application, Bot, Reset Token"
                )
            case "unreachable" | "invalid_requests":
                return Unreachable(f"the run was stopped: {stopped.detail}")
            case "bot" | "config":
                return ConfigError(f"the run was stopped: {stopped.detail}")
    if traffic.refused_channels:
        return ConfigError(
            *(
                f"channel {channel} of the settings: {detail}; check its id and our permissions"
                for channel, detail in traffic.refused_channels.items()
            )
        )
    return None
