"""What each speaker knows of their talk, and what is to be announced: decided purely.

There is one :class:`TalkSnapshot` per talk *and speaker*, co-speakers too: a talk that gets another
speaker is gone for the one and new for the other. ``told`` is what the speaker knows from us,
``seen`` is the talk when we last looked, and ``pending`` says that their difference is being
announced. It is set before anything is sent, and while it is set the entry stands still: whatever
the talk does meanwhile, the notice that may be under way keeps its key, and the ledger can be asked
what became of it.

:data:`VERDICTS` is the whole rule: from what the ledger knows of the pending notice, and from how
things are now, to what is done.

- ``send``: the notice is due; the engine recovers it if an earlier attempt is unconfirmed.
- ``look``: it must not go any more, but may have arrived: the engine looks, and sends nothing.
- ``rest``: nothing to do, but a person's ``deliveries retry`` may yet have it sent.
- ``heard``, ``unheard``: the entry advances, and ``told`` to ``seen`` or not. What a speaker never
  heard of, they need not hear the undoing of. Before an entry advances past a notice that could
  still be sent, the ledger is made to refuse it for ever (:attr:`ChangeStep.void`): of two runs,
  one that closes it and one that sends it, only one wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

from speakerbot.clock import instant
from speakerbot.domain.delivery import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.talk import Speaker, Talk

DAY = timedelta(days=1)
ChangeKind = Literal["booked", "moved", "cancelled", "topic"]
Situation = Literal["stands", "opted_out", "over", "overtaken"]
ChangeVerdict = Literal["send", "look", "rest", "heard", "unheard"]

VERDICTS: Mapping[DeliveryState, Mapping[Situation, ChangeVerdict]] = {
    DeliveryState.PLANNED: {
        "stands": "send", "opted_out": "unheard", "over": "unheard", "overtaken": "unheard",
    },
    DeliveryState.CLAIMED: {
        "stands": "send", "opted_out": "look", "over": "look", "overtaken": "look",
    },
    DeliveryState.UNDELIVERABLE: {
        "stands": "rest", "opted_out": "rest", "over": "unheard", "overtaken": "unheard",
    },
    DeliveryState.UNKNOWN: {
        "stands": "rest", "opted_out": "rest", "over": "heard", "overtaken": "heard",
    },
    DeliveryState.SENT: {
        "stands": "heard", "opted_out": "heard", "over": "heard", "overtaken": "heard",
    },
    DeliveryState.EXPIRED: {
        "stands": "unheard", "opted_out": "unheard", "over": "unheard", "overtaken": "unheard",
    },
}  # fmt: skip
WHY_VOID: Mapping[Situation, str] = {
    "opted_out": "the speaker opted out of changes",
    "over": "its time was over before it could go",
    "overtaken": "the talk changed again before this was announced",
}


@dataclass(frozen=True, slots=True)
class TalkVersion:
    """What there is to know about a talk."""

    date: date
    topic: str
    start: str | None = ""
    """Its start, ``HH:MM`` in the community's zone; empty where it has none. None: not known, since
    an older program wrote this; then whatever the talk says is taken as known."""

    @property
    def starts_at(self) -> time | None:
        try:
            return time.fromisoformat(self.start or "")
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class TalkSnapshot:
    """One speaker's view of one talk. None as a version: there is no talk for them."""

    talk_id: str
    user_id: str
    told: TalkVersion | None
    seen: TalkVersion | None
    pending: bool
    sequence: int
    """Grows with every write and is never used twice: what compare-and-swap compares, and part of
    the pending notice's key."""
    at: datetime
    """When it was written (decision time, aware, in UTC)."""
    username: str
    thread_id: str | None

    @property
    def live(self) -> bool:
        """Not only the memory of a talk that is gone, and that its speaker knows to be gone."""
        return self.pending or self.seen is not None

    @property
    def kind(self) -> ChangeKind:
        """Of the notice that tells ``seen`` to somebody who knows ``told``."""
        if self.told is None:
            return "booked"
        if self.seen is None:
            return "cancelled"
        same_time = self.told.date == self.seen.date and not _starts_differ(self.told, self.seen)
        return "topic" if same_time else "moved"

    @property
    def change(self) -> tuple[TalkVersion, TalkVersion]:
        """From what to what; where there is one of them only, that one twice."""
        old, new = self.told or self.seen, self.seen or self.told
        if old is None or new is None:
            raise ValueError(f"talk {self.talk_id}: there never was one for {self.user_id}")
        return old, new

    @property
    def occasion(self) -> str:
        days = dict.fromkeys(version.date.isoformat() for version in self.change)
        return f"{'..'.join(days)}#{self.sequence}"

    def expires_at(self, zone: ZoneInfo) -> datetime:
        """When the later of its dates ends in ``zone``."""
        last = max(version.date for version in self.change)
        return instant(min(last, date.max - DAY) + DAY, time(), zone)


@dataclass(frozen=True, slots=True)
class TalkPair:
    """An entry and the talk as it is now: None where one of them is missing, never both."""

    entry: TalkSnapshot | None
    talk: Talk | None
    """As its speaker has it (``Talk.seen_by``)."""

    @property
    def key(self) -> tuple[str, str]:
        """Talk and speaker."""
        if self.entry is not None:
            return self.entry.talk_id, self.entry.user_id
        if self.talk is None:
            raise ValueError("a pair has an entry, a talk, or both")
        return self.talk.id, self.talk.user_id

    def concerns(self, since: date) -> bool:
        """Something about it is dated then or later, or its notice is pending: speakers
        are told nothing about all others any more."""
        entry, talk = self.entry, self.talk
        if entry is not None and (entry.pending or (entry.seen and entry.seen.date >= since)):
            return True
        return talk is not None and talk.date >= since

    def at_rest(self) -> bool:
        """Nothing is pending, and the entry says what the talk says."""
        entry, talk = self.entry, self.talk
        if entry is None or entry.pending or entry.seen != version_of(talk):
            return False
        details = (entry.username, entry.thread_id)
        return talk is None or (talk.username, talk.thread_id) == details


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """What counts as a change, and when it is over."""

    now: datetime
    zone: ZoneInfo
    topics: bool
    """Changed topics are announced."""

    def differ(self, one: TalkVersion | None, other: TalkVersion | None) -> bool:
        if one is None or other is None:
            return one is not other
        if one.date != other.date or _starts_differ(one, other):
            return True
        return self.topics and one.topic != other.topic

    def over(self, entry: TalkSnapshot, talk: Talk | None) -> bool:
        return self.now >= entry.expires_at(self.zone) or (talk is not None and talk.completed)


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """What follows for one pair."""

    entry: TalkSnapshot
    """As it should be; the very same one if nothing is to be written."""
    verdict: ChangeVerdict
    """About the notice that is pending then: ``send``, ``look``, or ``rest``."""
    void: Situation | None = None
    """Why the notice that was pending must never be sent: to be noted in the ledger, and won,
    before the entry is written. None: nothing to note."""


def step(
    pair: TalkPair, record: Delivery | None, *, opted_out: bool, rules: ChangeRules
) -> ChangeStep:
    """``record`` is the ledger's of the pending notice; it and ``opted_out`` only count if the
    pair's entry is pending."""
    entry, talk = pair.entry, pair.talk
    if entry is not None and pair.at_rest():
        return ChangeStep(entry, "rest")
    if entry is None or not entry.pending:
        return _noticed(entry or _first(pair, rules), talk, rules)
    fate, situation = fate_of(record), _situation(entry, talk, opted_out, rules)
    verdict = VERDICTS[fate][situation]
    if verdict not in ("heard", "unheard"):
        return ChangeStep(entry, verdict)
    told = entry.seen if verdict == "heard" else entry.told
    after = _noticed(replace(entry, told=told, pending=False), talk, rules)
    # Past its time no run sends it: then a notice that was refused may keep its record.
    outdated = situation == "overtaken" and fate in (
        DeliveryState.UNDELIVERABLE,
        DeliveryState.UNKNOWN,
    )
    return replace(after, void=situation) if fate == DeliveryState.PLANNED or outdated else after


def fate_of(record: Delivery | None) -> DeliveryState:
    """What the ledger knows of a notice: ``PLANNED`` that it has surely not arrived, ``CLAIMED``
    that it may have."""
    if record is None:
        return DeliveryState.PLANNED
    if record.state == DeliveryState.FAILED:
        return DeliveryState.CLAIMED if record.unconfirmed_since else DeliveryState.PLANNED
    return record.state


def version_of(talk: Talk | None) -> TalkVersion | None:
    if talk is None:
        return None
    start = f"{talk.starts_at:%H:%M}" if talk.starts_at else ""
    return TalkVersion(talk.date, talk.topic, start)


def known_to(talk: Talk, speaker: Speaker, at: datetime) -> TalkSnapshot:
    """The first entry of a talk that its speaker knows."""
    known = version_of(talk)
    details = (speaker.username, talk.thread_id)
    return TalkSnapshot(talk.id, speaker.user_id, known, known, False, 1, at, *details)


def _starts_differ(one: TalkVersion, other: TalkVersion) -> bool:
    return None not in (one.start, other.start) and one.start != other.start


def _situation(
    entry: TalkSnapshot, talk: Talk | None, opted_out: bool, rules: ChangeRules
) -> Situation:
    if rules.differ(entry.seen, version_of(talk)):
        return "overtaken"
    if rules.over(entry, talk):
        return "over"
    return "opted_out" if opted_out else "stands"


def _first(pair: TalkPair, rules: ChangeRules) -> TalkSnapshot:
    """Before there is an entry: the speaker knows of no talk."""
    return TalkSnapshot(*pair.key, None, None, False, 0, rules.now, "", None)


def _noticed(entry: TalkSnapshot, talk: Talk | None, rules: ChangeRules) -> ChangeStep:
    """From an entry with nothing pending to what the talk is now."""
    told, seen = entry.told, version_of(talk)
    if told and seen and not rules.topics:
        told = replace(told, topic=seen.topic)  # not to be announced: taken as known
    if told and seen and told.start is None:
        told = replace(told, start=seen.start)
    after = replace(
        entry,
        told=told,
        seen=seen,
        sequence=entry.sequence + 1,
        at=rules.now,
        username=talk.username if talk else entry.username,
        thread_id=talk.thread_id if talk else entry.thread_id,
    )
    news = rules.differ(entry.seen, seen) and rules.differ(told, seen)
    if news and not rules.over(after, talk):
        return ChangeStep(replace(after, pending=True), "send")
    return ChangeStep(after, "rest")
