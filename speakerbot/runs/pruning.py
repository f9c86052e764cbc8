"""What is old is forgotten: once a day, in bounded batches, at the end of a run.

Finished deliveries, runs and answers go after ``SPEAKERBOT_KEEP``; the texts of personal messages,
which are not needed once they have arrived, and messages in inboxes after
``SPEAKERBOT_KEEP_TEXTS``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from speakerbot import process
from speakerbot.clock import real_now
from speakerbot.errors import SpeakerbotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from speakerbot.config import Settings
    from speakerbot.ports.store import Store

MARK = "pruned"
BATCH = 500
BATCHES = 20
"""Of each sort, a run."""
MOST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was forgotten. ``more``: there is some left."""

    deliveries: int = 0
    texts: int = 0
    inbox_messages: int = 0
    answers: int = 0
    runs: int = 0
    more: bool = False


def prune_opened(
    open_store: Callable[..., Store], settings: Settings, run_id: str, log: Any
) -> None:
    """As :func:`prune_daily`, of a store that is opened for it. A store that cannot be opened is
    logged, too."""
    with process.held_off():
        try:
            store = open_store(settings, read_only=False)
        except SpeakerbotError as error:
            log.warning("pruning_failed", error=str(error))
            return
        try:
            prune_daily(store, settings, run_id, real_now(), log)
        finally:
            store.close()


def prune_daily(store: Store, settings: Settings, run_id: str, real: datetime, log: Any) -> None:
    """Unless another run has done it on this day (UTC). Its failure fails no run: it is logged, and
    another run goes on where this one ended. ``real`` is the real time."""
    try:
        seen = store.marks.get(MARK)
        claim = f"{real:%F} {run_id}"
        if (seen and seen.startswith(f"{real:%F} ")) or not store.marks.swap(MARK, seen, claim):
            return
        pruned = prune(store, real - settings.keep, real - settings.keep_texts, bounded=True)
        if pruned.more:
            store.marks.swap(MARK, claim, None)  # the next run of the day goes on
    except SpeakerbotError as error:
        log.warning("pruning_failed", error=str(error))
        return
    if pruned != Pruned():
        log.info("store_pruned", **asdict(pruned))


def prune(store: Store, before: datetime, texts_before: datetime, *, bounded: bool) -> Pruned:
    """Forgets what is older. ``bounded``: no more than a run may spend on it, and nothing once the
    process is asked to end."""
    end = time.monotonic() + MOST_SECONDS

    def all_of(batch: Callable[[datetime, int], int], older: datetime) -> tuple[int, bool]:
        done = 0
        while not bounded or (done < BATCH * BATCHES and time.monotonic() < end):
            if bounded and process.asked_to_end():
                break
            changed = batch(older, BATCH)
            done += changed
            if changed < BATCH:
                return done, False
        return done, True

    deliveries, more_deliveries = all_of(store.ledger.prune, before)
    texts, more_texts = all_of(store.ledger.forget_texts, texts_before)
    inbox, more_inbox = all_of(store.inbox.forget_before, texts_before)
    answers, more_answers = all_of(
        lambda older, limit: store.answers.forget_before(older.date(), limit), before
    )
    runs, more_runs = all_of(store.runs.prune, before)
    more = more_deliveries or more_texts or more_inbox or more_answers or more_runs
    return Pruned(deliveries, texts, inbox, answers, runs, more)


def would_prune(store: Store, before: datetime, texts_before: datetime) -> Pruned:
    """What :func:`prune` would forget; reads all there is."""
    from speakerbot.domain.delivery import FINAL, PERSONAL

    def is_over(record: Any, older: datetime) -> bool:
        return record.updated_at < older and (record.state in FINAL or record.expires_at < older)

    everything = 1_000_000_000
    deliveries = texts = 0
    for record in store.ledger.list(limit=everything):
        if is_over(record, before):
            deliveries += 1
        elif record.text and record.recipient.startswith(PERSONAL):
            texts += is_over(record, texts_before)
    runs = sum(run.started_at < before for run in store.runs.list(limit=everything))
    inbox, answers = (
        store.inbox.count_before(texts_before),
        store.answers.count_before(before.date()),
    )
    return Pruned(deliveries, texts, inbox, answers, runs)
