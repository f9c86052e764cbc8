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

    with loopback_process(Settings(latency=0.08), record=path) as discord:
        discord.client.change(World.close_dms, "42")
        ...
        discord.client.messages()

or by hand: ``python -m speakerbot.testing.discord --port 4010 --latency 80``.

What it enforces (:class:`Settings` has every number, and what switches it off):

- the global limit of 50 requests in any second, a bucket of 5 messages in 5 s per channel, each
  with Discord's headers and 429 answers; who obeys ``retry_after`` gets through;
- nonces: with ``enforce_nonce``, a nonce seen within 3 minutes returns the message that has it,
  and 404 (10008) if that was deleted;
- content of at most 2,000 code points, white space around it stripped; nonces of at most 25;
- Discord's error codes for closed DMs, unknown users and channels, archived and locked threads,
  missing permissions, quarantine (:class:`World`);
- without the permission Read Message History, reading back gives an empty list and no error.

Everything is remembered: ``messages`` (:class:`Message`), ``requests`` (:class:`Request`),
``dms_opened``, ``counts``, and ``transcript()`` for people. Faults are data (:class:`Fault`).
Message ids carry the loopback's time; ``discord.clock.advance(...)`` moves that, and with it
every limit and window. Answers fit Discord's OpenAPI document.

What it does not do: the gateway, interactions, files, webhooks, reactions.
"""

from __future__ import annotations

from speakerbot.testing.discord.client import LoopbackClient
from speakerbot.testing.discord.clock import LoopbackClock
from speakerbot.testing.discord.control import Counts
from speakerbot.testing.discord.faults import Fault, FaultKind
from speakerbot.testing.discord.process import LoopbackProcess, loopback_process
from speakerbot.testing.discord.record_file import read_record
from speakerbot.testing.discord.records import Deletion, DmOpened, Edit, Message, Request
from speakerbot.testing.discord.routing import Operation
from speakerbot.testing.discord.server import LoopbackDiscord
from speakerbot.testing.discord.settings import NO_LIMITS, Bucket, Settings
from speakerbot.testing.discord.snowflakes import created_at
from speakerbot.testing.discord.transcript import Conversation, Line
from speakerbot.testing.discord.world import World

__all__ = [
    "NO_LIMITS",
    "Bucket",
    "Conversation",
    "Counts",
    "Deletion",
    "DmOpened",
    "Edit",
    "Fault",
    "FaultKind",
    "Line",
    "LoopbackClient",
    "LoopbackClock",
    "LoopbackDiscord",
    "LoopbackProcess",
    "Message",
    "Operation",
    "Request",
    "Settings",
    "World",
    "created_at",
    "loopback_process",
    "read_record",
]
