"""A Discord of one's own, on loopback, with Discord's rules.

For tests of jobs, for ``speakerbot sandbox``, and for benches. Real HTTP, so any client works::

    from speakerbot.testing.discord import Fault, LoopbackDiscord

    async with LoopbackDiscord() as discord:
        discord.world.close_dms("42")
        discord.inject(Fault(kind="lost_response", on="create_message", nth=3))
        ...  # run the bot with DISCORD_API_BASE=discord.base_url and any token
        assert [m.content for m in discord.messages] == ["Your talk is tomorrow."]
        assert discord.rate_limited == 0

Without an event loop: ``with LoopbackDiscord().running_in_thread() as discord:``. In a process
of its own, for benches and for tests that kill things::

    with loopback_process(LoopbackSettings(latency=0.08), record=path) as discord:
        discord.client.change(DiscordWorld.close_dms, "42")
        ...
        discord.client.messages()

or by hand: ``python -m speakerbot.testing.discord --port 4010 --latency 80``.

What it enforces (:class:`LoopbackSettings` has every number, and what switches it off):

- the global limit of 50 requests in any second, a bucket of 5 messages in 5 s per channel, each
  with Discord's headers and 429 answers; who obeys ``retry_after`` gets through;
- nonces: with ``enforce_nonce``, a nonce seen within 3 minutes returns the message that has it,
  and 404 (10008) if that was deleted;
- reactions: one in 250 ms per channel, at most 20 emoji a message, unknown emoji (10014), who may
  put and take them;
- events of the guild (outside Discord only, not in its voice channels): the fields and their
  limits, 100 at once, none in the past; they begin and end by themselves, and are then left alone;
- content of at most 2,000 code points, white space around it trimmed, custom emoji that the bot
  may not use stored by name (``:party:``); nonces of at most 25;
- Discord's error codes for closed DMs (50007 or 50278), unknown users and channels, archived,
  locked and too many threads, missing permissions, quarantine (:class:`DiscordWorld`);
- without the permission Read Message History, reading back gives an empty list and no error;
  ``last_message_id`` stays when that message is deleted, and asking for it gives 10008.

Everything is remembered: ``messages`` (:class:`DiscordMessage`), ``events``
(:class:`ScheduledEvent`), ``requests`` (:class:`RecordedRequest`), ``dms_opened``, ``counts``, and
``transcript()`` for people. Message ids and the ``Date`` header carry the loopback's time;
``discord.clock.advance(...)`` moves that, and with it every limit, window and event;
``LoopbackSettings(clock_shift=-600)`` makes it ten minutes slow. Answers fit Discord's OpenAPI
document.

Faults are data (:class:`Fault`): any status with any JSON code, bare bodies (HTML, empty, cut in
half), 429s with any Retry-After or none, lost and hanging answers, by operation and channel::

    discord.inject(Fault(kind="error", status=403, code=50278, on="create_dm"))
    discord.inject(Fault(kind="error", status=404, body="html", accepted=True, times=None))
    discord.inject(Fault(kind="rate_limit", retry_after=1e12, html=True))

What it does not do: the gateway, interactions, files, webhooks.
"""

from __future__ import annotations

from speakerbot.testing.discord.client import LoopbackClient, LoopbackProcess, loopback_process
from speakerbot.testing.discord.clock import LoopbackClock, created_at
from speakerbot.testing.discord.control import LoopbackCounts
from speakerbot.testing.discord.faults import Fault, FaultBody, FaultKind
from speakerbot.testing.discord.records import (
    DiscordMessage,
    DmOpened,
    MessageDeletion,
    MessageEdit,
    ReactionChange,
    RecordedRequest,
    ScheduledEvent,
    read_record,
)
from speakerbot.testing.discord.routing import Operation
from speakerbot.testing.discord.server import LoopbackDiscord
from speakerbot.testing.discord.settings import NO_LIMITS, Bucket, LoopbackSettings
from speakerbot.testing.discord.world import BOT_ID, Conversation, DiscordWorld, TranscriptLine

__all__ = [
    "BOT_ID",
    "NO_LIMITS",
    "Bucket",
    "Conversation",
    "DiscordMessage",
    "DiscordWorld",
    "DmOpened",
    "Fault",
    "FaultBody",
    "FaultKind",
    "LoopbackClient",
    "LoopbackClock",
    "LoopbackCounts",
    "LoopbackDiscord",
    "LoopbackProcess",
    "LoopbackSettings",
    "MessageDeletion",
    "MessageEdit",
    "Operation",
    "ReactionChange",
    "RecordedRequest",
    "ScheduledEvent",
    "TranscriptLine",
    "created_at",
    "loopback_process",
    "read_record",
]
