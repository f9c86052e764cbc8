"""How strict the loopback Discord is. The defaults are Discord's rules as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bucket:
    """``limit`` requests per window of ``per`` seconds, which the first of them opens."""

    limit: int
    per: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackSettings:
    """Durations are seconds."""

    token: str | None = None
    """The only token that is accepted; None accepts any that is not empty."""
    strict: bool = False
    """True: only users, channels and members that were added exist. False: any id exists."""

    global_limit: int | None = 50
    """Requests in any one second, over all routes; None: no limit."""
    message_bucket: Bucket | None = Bucket(5, 5.0)
    """For sending, per channel. None: no limit, and no headers about one."""
    reaction_bucket: Bucket | None = Bucket(1, 0.25)
    """For putting reactions and taking them away together, per channel."""
    other_buckets: Bucket | None = Bucket(50, 1.0)
    """For every other route, per channel or guild."""
    invalid_limit: int | None = 10_000
    """Answers 401, 403 and 429 in ten minutes before everything is refused without ``Via``."""

    nonce_window: float = 180.0
    """How long a nonce with ``enforce_nonce`` finds the message that has it."""
    nonce_scope: Literal["author", "channel"] = "author"
    """Where a nonce is unique: per author, or per author and channel."""
    history_nonces: bool = False
    """Whether messages that are read back show their nonce."""

    clock_shift: float = 0.0
    """How far this Discord's clock is ahead of the machine's; negative: behind. Its ``Date``
    header, ids and timestamps say so. Limits and nonces that count already move with a change."""

    latency: float = 0.0
    """From request to answer; half of it passes before the request takes effect."""
    jitter: float = 0.0
    """Latency is even between ``latency - jitter`` and ``latency + jitter``."""
    seed: int = 0
    """Of everything random: latency and faults with a probability."""


NO_LIMITS = LoopbackSettings(
    global_limit=None,
    message_bucket=None,
    reaction_bucket=None,
    other_buckets=None,
    invalid_limit=None,
)
"""For tests and benches that are not about limits."""
