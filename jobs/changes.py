"""Tells speakers what became of their talks: booked, moved, cancelled and, if wanted, renamed.

The Node bot moves and deletes talks without telling anyone: changes are found by comparing the
talks with what their speakers know (:mod:`speakerbot.domain.talk_changes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, SkipReason
from speakerbot.domain.message import Decision, Message, Skip
from speakerbot.domain.talk import Talk
from speakerbot.domain.talk_changes import (
    WHY_VOID,
    ChangeRules,
    ChangeStep,
    TalkPair,
    TalkSnapshot,
    TalkVersion,
    step,
)
from speakerbot.runs.job import Job, JobContext, Prospect
from speakerbot.runs.routes import to_speaker
from speakerbot.runs.steps import AdvanceSnapshot, FollowTalks, Step, TakeSnapshot, Void
from speakerbot.runs.talk_values import place_values, time_values

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

OPT_OUT = "changes"
CHUNK = 200
"""Pairs considered at once: one query for people, one for the ledger."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A pair, and what follows for it."""

    pair: TalkPair
    notice: Message | None
    """The one that is pending; None if none is."""
    record: Delivery | None
    step: ChangeStep


def decide(context: JobContext) -> Iterator[Decision]:
    """The notices that are pending. What the steps have yet to note is left to the run after it,
    for nothing may go that is not noted; a dry run shows what they would make of it."""
    snapshots = context.store.snapshots
    if not snapshots.taken():
        yield Skip(SkipReason.FIRST_SNAPSHOT, "talks")
        return
    pairs = snapshots.pending() if context.settled else snapshots.differing(_since(context))
    for each in _consider(pairs, context):
        if context.settled and each.step.entry is not each.pair.entry:
            if each.notice and each.step.void == "opted_out":
                yield each.notice  # held back when it is weighed, where people see it
            continue
        if each.step.verdict == "send":
            yield notice(each.step.entry, context.settings, each.pair.talk)
        elif each.step.verdict == "look":
            yield _look(notice(each.step.entry, context.settings, each.pair.talk), context)


def steps(context: JobContext) -> Iterator[Step]:
    """Notes what was heard, and what is to be announced next; the first time, what there is.
    What calendars are told of talks follows too."""
    since = _since(context)
    yield FollowTalks(since)
    if not context.store.snapshots.taken():
        yield TakeSnapshot(context.now)
    for each in _consider(context.store.snapshots.differing(since), context):
        if each.step.entry is not each.pair.entry:
            yield AdvanceSnapshot(each.pair.entry, each.step.entry, _void(each))


def _since(context: JobContext) -> date:
    """Yesterday: speakers are told nothing about talks that are over."""
    return context.now.astimezone(context.settings.timezone).date() - timedelta(days=1)


def _void(each: Considered) -> Void | None:
    """What the ledger must refuse before the entry advances."""
    if each.notice is None or each.step.void is None:
        return None
    return Void(each.notice, each.record, WHY_VOID[each.step.void])


def prospects(context: JobContext, talk_id: str) -> Iterator[Prospect]:
    """The notices about the talk that are pending, or would be if it were looked at now."""
    differing = context.store.snapshots.differing(_since(context))
    pairs = (pair for pair in differing if pair.key[0] == talk_id)
    for each in _consider(pairs, context):
        void = each.step.void
        if each.notice and void:
            yield Prospect(each.notice, "" if void == "opted_out" else WHY_VOID[void])
        if each.step.entry.pending:
            looks = each.step.verdict == "look"
            dropped = "not any more: it is only looked whether it had arrived" if looks else ""
            told = notice(each.step.entry, context.settings, each.pair.talk)
            yield Prospect(told, dropped)


def _consider(pairs: Iterable[TalkPair], context: JobContext) -> Iterator[Considered]:
    settings, iterator = context.settings, iter(pairs)
    rules = ChangeRules(context.now, settings.timezone, settings.changes_topic)
    while chunk := list(islice(iterator, CHUNK)):
        notices = {
            pair.key: notice(pair.entry, settings, pair.talk)
            for pair in chunk
            if pair.entry and pair.entry.pending
        }
        records = context.store.ledger.get([each.key for each in notices.values()])
        people = context.store.people.by_users(sorted({user for _, user in notices}))
        for pair in chunk:
            pending = notices.get(pair.key)
            record = records.get(pending.key) if pending else None
            person = people.get(pair.key[1])
            opted_out = person is not None and person.refuses(OPT_OUT)
            taken = step(pair, record, opted_out=opted_out, rules=rules)
            yield Considered(pair, pending, record, taken)


def notice(entry: TalkSnapshot, settings: Settings, talk: Talk | None = None) -> Message:
    """What tells the speaker of a pending entry; under the same key whenever it is asked for.
    Where the talk is, and how long it takes, is told as it is now."""
    kind = f"change.{entry.kind}"
    return Message(
        kind=kind,
        subject=f"talk:{entry.talk_id}",
        recipient=f"user:{entry.user_id}",
        occasion=entry.occasion,
        routes=to_speaker(entry.user_id, entry.thread_id, settings),
        template=kind,
        values=_values(entry, talk, settings.timezone),
        due_at=entry.at,
        expires_at=entry.expires_at(settings.timezone),
        reason=_reason(entry),
        opt_out=OPT_OUT,
        waits_past_expiry=False,
    )


def _values(entry: TalkSnapshot, talk: Talk | None, zone: ZoneInfo) -> dict[str, Any]:
    old, new = entry.change
    values = {
        "username": entry.username,
        "topic": new.topic,
        **time_values(new.date, new.starts_at, zone),
        **place_values(talk),
    }
    match entry.kind:
        case "moved":
            before = time_values(old.date, old.starts_at, zone)
            names = ("date", "weekday", "starts_at")
            values |= {f"old_{name}": before[name] for name in names}
        case "topic":
            values["old_topic"] = old.topic
    return values


def _reason(entry: TalkSnapshot) -> str:
    old, new = entry.change
    match entry.kind:
        case "booked":
            return f"booked for {new.date}"
        case "moved":
            return f"moved from {_when(old)} to {_when(new)}"
        case "cancelled":
            return f"the talk on {old.date} was cancelled"
        case "topic":
            return f"the topic was changed from {old.topic!r} to {new.topic!r}"


def _when(version: TalkVersion) -> str:
    return f"{version.date} {version.start or ''}".rstrip()


def _look(message: Message, context: JobContext) -> Message:
    """The same message, past its time: the engine looks whether it has arrived, and sends nothing,
    so neither opting out nor quiet hours stand in the way."""
    return replace(
        message,
        expires_at=min(message.due_at, context.now),
        opt_out=None,
        reason=f"{message.reason}, but not any more: looks whether it had arrived, sends nothing",
    )


def still_true(context: JobContext, messages: Sequence[Message]) -> set[str]:
    """Notices that the talks, as they are now, still bear out."""
    talks = context.store.talks.by_ids([message.subject_id for message in messages])
    return {message.key for message in messages if _holds(message, talks.get(message.subject_id))}


def _holds(message: Message, talk: Talk | None) -> bool:
    theirs = talk.seen_by(message.user_id or "") if talk else None
    if message.kind == "change.cancelled":
        return theirs is None
    said = message.values
    # Of a start that an older program did not note it says nothing.
    start = f"{theirs.starts_at:%H:%M}" if theirs and theirs.starts_at else ""
    return (
        theirs is not None
        and theirs.date.isoformat() == said["date"]
        and said["starts_at"] in ("", start)
    )


JOB = Job("changes", decide, steps, prospects, still_true)
