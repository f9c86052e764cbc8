"""What a delivery's key says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery


def subject(record: Delivery) -> str:
    """The second part of ``kind/subject/recipient/occasion``; it may hold slashes itself."""
    rest = record.key.removeprefix(f"{record.kind}/")
    return rest.partition(f"/{record.recipient}/")[0]
