"""How an attempt is told apart, and how long things may take."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

from speakerbot.domain.message import Route

LONGEST_SEND = timedelta(seconds=60)


def nonce_of(key: str, route: Route) -> str:
    """24 characters that are the same for every attempt at this message by this route."""
    digest = hashlib.sha256(f"{key}|{route.name}|{route.target}".encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


def longest_send(lease: timedelta) -> timedelta:
    """How long one request may take: a lease of that length always covers it."""
    return min(LONGEST_SEND, lease / 2)
