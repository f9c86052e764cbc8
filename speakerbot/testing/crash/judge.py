"""Whether the promise was kept, by the loopback Discord's own record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.testing.crash.world import WITHOUT_ARRIVAL, Arrival, Expected
from speakerbot.testing.discord import DiscordMessage

INBOX = "inbox"
WAITING = (DeliveryState.CLAIMED, DeliveryState.FAILED)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store holds in the end: records of messages, the standing of the last occurrence
    (None: there is none), and what the world finds wrong."""

    records: Mapping[str, Delivery]
    standing: str | None = None
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Promise:
    """What must have been sent. It changes with what happens in the world."""

    due: dict[str, Expected]
    ended: dict[str, tuple[Expected, int]] = field(default_factory=dict)
    """Messages that are no longer wanted, with how often they had been sent until then."""
    refuses: bool = False
    """Discord refuses for good what it should not."""
    stops: bool = False
    """Discord stops the bot for a while."""
    by_node_bot: set[str] = field(default_factory=set)
    """Messages that the Node bot has sent: we must not send them, too."""

    def end(self, keys: Collection[str], evidence: Evidence) -> None:
        """From now on these must not be sent any more."""
        counts = self.sent(evidence)
        for key in keys:
            if key in self.due:
                self.ended[key] = self.due.pop(key), counts[key]

    def leave_to_node_bot(self, evidence: Evidence) -> None:
        """Notes what has gone without a nonce: not by us."""
        theirs = (message for message in evidence.messages if not message.nonce)
        self.by_node_bot.update(key for message in theirs if (key := self.of(message, evidence)))

    def sent(self, evidence: Evidence) -> Counter[str]:
        """How often each message was, at the right address with the whole text."""
        return Counter(key for message in evidence.messages if (key := self.of(message, evidence)))

    def of(self, message: DiscordMessage, evidence: Evidence) -> str | None:
        """The key of this message; None: it was not expected there."""
        for key, wanted in self._all():
            if any(_stands(message, way, evidence) for way in self.ways(wanted)):
                return key
        return None

    def _all(self) -> Iterator[tuple[str, Expected]]:
        yield from self.due.items()
        for key, (wanted, _) in self.ended.items():
            yield key, wanted

    def ways(self, wanted: Expected) -> Sequence[Arrival]:
        return wanted.ways if self.refuses else wanted.ways[:1]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What Discord accepted since the world began."""

    messages: Sequence[DiscordMessage]
    dms: Mapping[str, str]
    """Who each DM channel was opened with: user ids by channel id."""


def quiet(promise: Promise, kept: Kept) -> bool:
    """Nothing is left to do: every message that is due has a record, or was sent by the Node bot,
    no record is open, and the last occurrence is closed."""
    known = {key: kept.records[key] for key in promise.due if key in kept.records}
    waiting = [record for record in known.values() if record.state in WAITING]
    missing = promise.due.keys() - known.keys() - promise.by_node_bot
    return not missing and not waiting and kept.standing == "finished"


def judge(promise: Promise, evidence: Evidence, kept: Kept) -> list[str]:
    """What is wrong, one line each; empty if every message went exactly once."""
    found = list(kept.problems)
    counts = promise.sent(evidence)
    for key in promise.due:
        found += _problems_of(key, counts[key], promise, evidence, kept.records.get(key))
    for key, (_, before) in promise.ended.items():
        if counts[key] > min(before, 1):
            found.append(f"{key}: sent {counts[key]} times, {before} before it was called off")
    for message in evidence.messages:
        if promise.of(message, evidence) is None:
            where = f"{message.channel_id}, of user {evidence.dms.get(message.channel_id)}"
            found.append(f"nobody expected {message.content!r} in {where}")
    return found


def _problems_of(
    key: str, count: int, promise: Promise, evidence: Evidence, record: Delivery | None
) -> Iterator[str]:
    state = record.state if record else None
    if key in promise.by_node_bot:
        if count != 1:
            yield f"{key}: sent {count} times, once of them by the Node bot"
        if state in WAITING:
            yield f"{key}: the Node bot sent it, and the ledger says {state} for ever"
        # A run that died had claimed it: the message that was found since must be that one.
        if record and record.message_id and record.message_id not in _ids(key, promise, evidence):
            yield f"{key}: the ledger names another message: {record.message_id}"
        return
    if record is not None and record.route == INBOX and state == DeliveryState.SENT:
        # Whether it stands there, the world looks: no key can stand in an inbox twice.
        if count or not (promise.due[key].inbox or promise.refuses or promise.stops):
            yield f"{key}: only the inbox has it by the ledger, Discord has it {count} times"
        return
    given_up = promise.refuses and state in WITHOUT_ARRIVAL
    if count > 1 or (count == 0 and not given_up):
        yield f"{key}: sent {count} times"
    if record is None or (state != DeliveryState.SENT and not given_up):
        yield f"{key}: the ledger says {state} ({record and record.error}), not sent"
    elif count and state == DeliveryState.UNDELIVERABLE:
        yield f"{key}: the ledger says undeliverable ({record.error}), but it arrived"
    elif record.message_id and record.message_id not in _ids(key, promise, evidence):
        yield f"{key}: the ledger names another message: {record.message_id}"


def _ids(key: str, promise: Promise, evidence: Evidence) -> set[str]:
    return {each.id for each in evidence.messages if promise.of(each, evidence) == key}


def _stands(message: DiscordMessage, way: Arrival, evidence: Evidence) -> bool:
    user_id = evidence.dms.get(message.channel_id)
    return way.is_of(message.content) and way.is_at(message.channel_id, user_id)
