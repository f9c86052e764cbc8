"""Whether the promise was kept, by the loopback Discord's own record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.testing.crash.world import CrashWorld, Expected
from speakerbot.testing.discord import DiscordMessage, DmOpened


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store holds of the expected messages, and what the world finds wrong in it."""

    records: Mapping[str, Delivery]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What Discord accepted since the world began, and what was kept in the end."""

    messages: Sequence[DiscordMessage]
    dms_opened: Sequence[DmOpened]
    kept: Kept


def quiet(world: CrashWorld, kept: Kept) -> bool:
    """Nothing is left to do: every expected message has a record, and none waits."""
    waiting = [
        record
        for record in kept.records.values()
        if record.state in (DeliveryState.CLAIMED, DeliveryState.FAILED)
    ]
    return not waiting and set(kept.records) == set(world.expected())


def judge(world: CrashWorld, evidence: Evidence) -> list[str]:
    """What is wrong, one line each; empty if every message went exactly once."""
    expected = world.expected()
    found = list(evidence.kept.problems)
    for key, wanted in expected.items():
        found += _problems_of(key, wanted, evidence)
    for message in evidence.messages:
        if not any(each.text in message.content for each in expected.values()):
            found.append(f"nobody expected {message.content!r}")
    return found


def _problems_of(key: str, wanted: Expected, evidence: Evidence) -> Iterator[str]:
    sent = [message for message in evidence.messages if wanted.text in message.content]
    if len(sent) != 1:
        yield f"{key}: sent {len(sent)} times: {[(m.channel_id, m.nonce) for m in sent]}"
    elif not _arrived(sent[0], wanted, evidence):
        yield f"{key}: sent to {sent[0].channel_id}, not as {wanted} says"
    record = evidence.kept.records.get(key)
    if record is None or record.state != DeliveryState.SENT:
        state = f"{record.state} ({record.error})" if record else "nothing"
        yield f"{key}: the ledger says {state}, not sent"
    elif sent and record.message_id not in ("", *(message.id for message in sent)):
        yield f"{key}: the ledger names another message: {record.message_id}"


def _arrived(message: DiscordMessage, wanted: Expected, evidence: Evidence) -> bool:
    if wanted.channel_id is not None:
        return message.channel_id == wanted.channel_id
    opened = {dm.channel_id for dm in evidence.dms_opened if dm.user_id == wanted.user_id}
    return not opened or message.channel_id in opened
