"""From what a job decided to what will be done about each message now.

The one place where preferences and the ledger are weighed: ``run``, ``--dry-run``, ``preview``,
``explain`` and the sandbox all stand on it, so none can disagree with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from speakerbot.domain.delivery import (
    MAX_ATTEMPTS,
    UNRENDERED,
    UNSETTLED,
    Delivery,
    DeliveryState,
    SkipReason,
    standing,
)
from speakerbot.domain.message import Decision, Message, Route, Skip
from speakerbot.errors import TemplateError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from speakerbot.domain.person import Person
    from speakerbot.ports.store import Store
    from speakerbot.templates import Templates

CHUNK = 200
"""Decisions weighed at once: one query for people, one for the ledger."""
TICK = timedelta(hours=1)
"""How far apart a scheduler's ticks are."""
OUT_OF_TURN = "the message before it comes first"


@dataclass(frozen=True, slots=True)
class MessagePlan:
    """What will be done about one message, and why."""

    message: Message
    state: DeliveryState
    reason: str
    skip: SkipReason | None = None
    """The reason counted under ``skipped``; None when it is not held back."""
    record: Delivery | None = None
    """The ledger's record as it was read; sending starts from exactly this one."""
    until: datetime | None = None
    """When a message that waits is worth another look."""
    text: str | None = None
    """As it will be sent, without any mention in front: see ``with_texts``. None: not made yet."""
    error_class: str = ""
    """Why it is FAILED although nothing was tried; empty where its record says why."""
    then: tuple[MessagePlan, ...] = ()
    """Planned messages that follow this one: see ``chained``."""
    overtaken: Delivery | None = None
    """Our record of it, where that is still open though the Node bot has sent it since: to be
    settled, see ``transitions.sent_by_node_bot``."""


class Look(NamedTuple):
    """What a run that stays has to do next."""

    plans: Iterator[MessagePlan] | None
    """None: nothing yet."""
    at: datetime
    """Real time, in UTC: when the plans may be sent, or when to look again."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The two times a plan is made at: decision time, and the real time leases go by."""

    now: datetime
    real: datetime
    zone: ZoneInfo


def weigh(
    decisions: Iterable[Decision], store: Store, moment: Moment
) -> Iterator[MessagePlan | Skip]:
    """Weighs a stream of decisions in chunks, keeping their order."""
    iterator = iter(decisions)
    before: MessagePlan | None = None
    while chunk := list(islice(iterator, CHUNK)):
        messages = [decision for decision in chunk if isinstance(decision, Message)]
        records = store.ledger.get([message.key for message in messages]) if messages else {}
        people = _people(messages, store)
        ours = _flags_of_other_messages(messages, records, store)
        for decision in chunk:
            if isinstance(decision, Skip):
                yield decision
                continue
            if decision.key in ours and decision.flag:
                decision = replace(decision, flag=replace(decision.flag, counts=False))
            plan = _weigh(decision, people, records.get(decision.key), moment)
            before = _in_turn(plan, before)
            yield before


def _people(messages: Sequence[Message], store: Store) -> dict[str, Person]:
    """Those whose preferences count, by recipient. One query; two where some have no Discord id."""
    covered = [message for message in messages if message.opt_out]
    users = {message.user_id for message in covered if message.user_id}
    ids = {message.person_id for message in covered if message.person_id}
    by_user = store.people.by_users(sorted(users)) if users else {}
    by_id = store.people.by_ids(sorted(ids)) if ids else {}
    return {
        **{f"user:{user_id}": person for user_id, person in by_user.items()},
        **{f"person:{person_id}": person for person_id, person in by_id.items()},
    }


def with_texts(
    plans: Iterable[MessagePlan | Skip], templates: Templates
) -> Iterator[MessagePlan | Skip]:
    """Each planned message with its text, made before anything is claimed; what follows one that
    has none waits for it."""
    before: MessagePlan | None = None
    for plan in plans:
        if isinstance(plan, Skip):
            yield plan
            continue
        before = _in_turn(rendered(plan, templates), before)
        yield before


def rendered(plan: MessagePlan, templates: Templates) -> MessagePlan:
    """A planned message with its text. One whose text cannot be made is FAILED without a try: it
    goes with a later run, once somebody has corrected the text, until its time is over."""
    message, record = plan.message, plan.record
    if plan.state != DeliveryState.PLANNED or plan.text is not None:
        return plan
    if not message.template:
        return replace(plan, text=record.text if record else "")  # left over: it is only looked for
    try:
        return replace(plan, text=templates.of(message))
    except TemplateError as error:
        return replace(plan, state=DeliveryState.FAILED, reason=str(error), error_class=UNRENDERED)


def _flags_of_other_messages(
    messages: Sequence[Message], records: Mapping[str, Delivery], store: Store
) -> set[str]:
    """The keys of messages whose flag we have set ourselves, for another message: for whom spoke
    before the talk was handed over, say. Such a flag says nothing about them. One query, and none
    where no flag is in the way."""
    asking = {
        each.key: (each.kind, each.subject, seen)
        for each in messages
        if (seen := _flag_in_the_way(each, records.get(each.key)))
    }
    if not asking:
        return set()
    flagged = store.ledger.flagged(sorted({subject for _, subject, _ in asking.values()}))
    ours = {(record.kind, record.subject, record.flag_at) for record in flagged}
    return {key for key, flag in asking.items() if flag in ours}


def _flag_in_the_way(message: Message, record: Delivery | None) -> datetime | None:
    """When it was sent as its flag says, which its own record did not set."""
    flag = message.flag
    if flag is None or not flag.counts or (record is not None and record.flag_at == flag.seen):
        return None
    return flag.seen


def chained(plans: Iterable[MessagePlan]) -> Iterator[MessagePlan]:
    """Hangs each planned message that follows another one onto that one's plan."""
    head: MessagePlan | None = None
    for plan in plans:
        if head and plan.message.follows and head.state == plan.state == DeliveryState.PLANNED:
            head = replace(head, then=(*head.then, plan))
            continue
        if head:
            yield head
        head = plan
    if head:
        yield head


def _in_turn(plan: MessagePlan, before: MessagePlan | None) -> MessagePlan:
    """Holds back what follows a message that is neither sent nor about to be."""
    ready = before is not None and before.state in (
        DeliveryState.PLANNED,
        DeliveryState.ALREADY_SENT,
    )
    if plan.state != DeliveryState.PLANNED or not plan.message.follows or ready:
        return plan
    return replace(
        plan, state=DeliveryState.HELD_BACK, reason=OUT_OF_TURN, skip=SkipReason.IN_ORDER
    )


def _weigh(
    message: Message, people: Mapping[str, Person], record: Delivery | None, moment: Moment
) -> MessagePlan:
    if settled := _settled(message, record, moment):
        return settled
    person = people.get(message.recipient)
    if person is not None and message.opt_out is not None:
        message = _preferred(message, person)
        if held := _held_back(message, person, record, moment):
            return held
    return MessagePlan(message, DeliveryState.PLANNED, _why(message, record), record=record)


def _why(message: Message, record: Delivery | None) -> str:
    if message.look_back is None or record is not None:
        return message.reason
    return f"{message.reason}, unless the bot has posted it itself (a dry run does not look)"


def _settled(message: Message, record: Delivery | None, moment: Moment) -> MessagePlan | None:
    """The plan where the ledger, the Node bot or the clock leave nothing to do now."""
    if at := _flag_in_the_way(message, record):
        return _sent_by_node_bot(message, at, record, moment)
    if message.edit:
        return _edited(message, record, moment)
    if record is not None and (known := _known(message, record, moment)):
        return known
    # What may have arrived is looked for even then; the engine sends nothing past its time.
    unconfirmed = record is not None and record.unconfirmed(moment.real)
    if moment.now >= message.expires_at and not unconfirmed:
        return MessagePlan(
            message, DeliveryState.EXPIRED, "its time is over", SkipReason.EXPIRED, record
        )
    return None


def _sent_by_node_bot(
    message: Message, at: datetime, record: Delivery | None, moment: Moment
) -> MessagePlan:
    """A claim of a run that lives is that run's: it finds the flag and gives the claim back."""
    state, reason = DeliveryState.ALREADY_SENT, f"the Node bot sent it at {at:%F %H:%M} UTC"
    if record is None or record.state not in UNSETTLED:
        return MessagePlan(message, state, reason)
    if standing(record, moment.real) == DeliveryState.CLAIMED:
        return _in_progress(message, record)
    return MessagePlan(message, state, reason, overtaken=record)


def _edited(message: Message, record: Delivery | None, moment: Moment) -> MessagePlan | None:
    """Only what stands in its channel can be edited. A refused edit is tried again when its time
    comes, and in the end given up."""
    if record is None or record.state != DeliveryState.SENT:
        return MessagePlan(
            message,
            DeliveryState.HELD_BACK,
            "there is no post to edit",
            SkipReason.NOTHING_POSTED,
            record,
        )
    tries = f"edit {record.edit_failures} was refused: {record.error}"
    if record.edit_failures >= MAX_ATTEMPTS:
        return MessagePlan(
            message, DeliveryState.HELD_BACK, tries, SkipReason.EDIT_GIVEN_UP, record
        )
    if record.retry_at is not None and record.retry_at > moment.real:
        reason = f"{tries}; next {_utc(record.retry_at)}"
        return MessagePlan(
            message, DeliveryState.FAILED, reason, SkipReason.RETRY_LATER, record, record.retry_at
        )
    return None


def _known(message: Message, record: Delivery, moment: Moment) -> MessagePlan | None:
    match standing(record, moment.real):
        case DeliveryState.SENT:
            return MessagePlan(
                message, DeliveryState.ALREADY_SENT, f"sent {_utc(record.sent_at)}", record=record
            )
        case (DeliveryState.UNDELIVERABLE | DeliveryState.UNKNOWN | DeliveryState.EXPIRED) as state:
            return MessagePlan(message, state, record.error, record=record)
        case DeliveryState.CLAIMED:
            return _in_progress(message, record)
        case DeliveryState.FAILED:
            reason = f"try {record.attempts} failed: {record.error}; next {_utc(record.retry_at)}"
            return MessagePlan(
                message,
                DeliveryState.FAILED,
                reason,
                SkipReason.RETRY_LATER,
                record,
                record.retry_at,
            )
    return None


def _in_progress(message: Message, record: Delivery) -> MessagePlan:
    reason, until = f"run {record.run_id} is sending it", record.lease_until
    return MessagePlan(
        message, DeliveryState.HELD_BACK, reason, SkipReason.IN_PROGRESS, record, until
    )


def _utc(at: datetime | None) -> str:
    return f"{at:%F %H:%M:%S} UTC" if at else "at an unknown time"


def _preferred(message: Message, person: Person) -> Message:
    """The message with its routes in the person's order; routes they did not name are left out,
    unless that leaves none."""
    if not person.routes:
        return message
    by_name: dict[str, Route] = {route.name: route for route in message.routes}
    routes = tuple(by_name[name] for name in person.routes if name in by_name)
    return replace(message, routes=routes) if routes else message


def _held_back(
    message: Message, person: Person, record: Delivery | None, moment: Moment
) -> MessagePlan | None:
    if person.refuses(message.opt_out or ""):
        return MessagePlan(
            message,
            DeliveryState.HELD_BACK,
            f"opted out of {message.opt_out}",
            SkipReason.OPTED_OUT,
            record,
        )
    if person.quiet_hours is None:
        return None
    zone = person.zone or moment.zone
    until = person.quiet_hours.until(moment.now, zone)
    if until is None:
        return None
    reason = f"quiet hours until {until:%H:%M} ({zone.key})"
    # The tick after quiet hours must not come too late for what cannot be dropped.
    margin = TICK if message.waits_past_expiry else timedelta()
    if until + margin < message.expires_at:
        return MessagePlan(
            message, DeliveryState.HELD_BACK, reason, SkipReason.QUIET_HOURS, record, until
        )
    if message.waits_past_expiry:
        return None
    return MessagePlan(
        message,
        DeliveryState.HELD_BACK,
        f"{reason}, then it is too late",
        SkipReason.QUIET_HOURS,
        record,
    )
