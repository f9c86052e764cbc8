"""Claims of runs that died, on messages whose time is over: no job names them any more, and nobody
knows whether they arrived. The next run that sends anything looks, and closes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import cast

from speakerbot.ledger import Delivery
from speakerbot.messages import Message, Route, RouteName
from speakerbot.planning import Plan
from speakerbot.ports import Store

AT_ONCE = 200
REASON = "a run died over it; its time is over by now"


def with_leftovers(
    plans: Iterable[Plan], store: Store, now: datetime, real: datetime
) -> Iterator[Plan]:
    """The plans, then those for what nobody named among them, which come to looking only. ``now``
    is decision time, ``real`` the lease's."""
    named: set[str] = set()
    for plan in plans:
        if plan.record and plan.record.expires_at <= now:
            named.add(plan.message.key)
        yield plan
    yield from (plan for plan in _left_over(store, now, real) if plan.message.key not in named)


def _left_over(store: Store, now: datetime, real: datetime) -> Iterator[Plan]:
    claimed = store.ledger.list(state="claimed", limit=AT_ONCE)
    failed = store.ledger.list(state="failed", limit=AT_ONCE)
    for record in chain(claimed, failed):
        if record.expires_at <= now and record.in_doubt(real):
            yield Plan(_message(record), "planned", REASON, record=record)


def _message(record: Delivery) -> Message:
    subject, _, occasion = record.key.removeprefix(f"{record.kind}/").partition(
        f"/{record.recipient}/"
    )
    return Message(
        kind=record.kind,
        subject=subject,
        recipient=record.recipient,
        occasion=occasion,
        routes=(Route(cast("RouteName", record.route), record.target),),
        template="",  # there is nothing to render: it is never sent
        values={},
        due_at=record.due_at,
        expires_at=record.expires_at,
        reason=REASON,
    )
