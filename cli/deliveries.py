"""``speakerbot deliveries``: what was sent, what failed, and trying again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.documents import delivery_document
from cli.open_store import to_change, to_read
from cli.options import AsJson, DryRun, Now, decision_time
from cli.output import amount, emit_json, on_terminal, plain, say, table
from cli.terminal import ListEntry, entries, show
from speakerbot.clock import real_now
from speakerbot.delivery import status as statuses
from speakerbot.domain.delivery import DeliveryState
from speakerbot.errors import NotFound, UsageError

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery
    from speakerbot.ports.store import Ledger, Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

StoredState = Literal["claimed", "sent", "failed", "undeliverable", "expired", "unknown"]
EVERYTHING = 2**31 - 1
BATCH = 200
STYLES = {
    "sent": "green",
    "claimed": "cyan",
    "failed": "red",
    "undeliverable": "red",
    "unknown": "bold red",
    "expired": "dim",
}
SOURCES: dict[str, tuple[str, ...]] = {
    "expired": ("expired", "failed"),
    "undeliverable": ("undeliverable", "failed"),
}
"""Which stored states a shown status can come from, where it is not only its own."""


@app.command("list", epilog="Example: speakerbot deliveries list --status failed")
def list_deliveries(
    status: Annotated[StoredState | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """List messages and what became of them, the newest first."""
    with to_read() as (store, _):
        decided = decision_time(now)
        records = islice(_with_status(store.ledger, status, decided), limit)
        if as_json:
            emit_json({"deliveries": [delivery_document(record, decided) for record in records]})
            return
        show_deliveries(records, decided, empty=f"No such deliveries in {store.describe()}.")


def _with_status(ledger: Ledger, status: StoredState | None, now: datetime) -> Iterator[Delivery]:
    if status is None:
        return ledger.list(limit=EVERYTHING)
    found = merge(
        *(ledger.list(state=state, limit=EVERYTHING) for state in SOURCES.get(status, (status,))),
        key=lambda record: record.updated_at,
        reverse=True,
    )
    real = real_now()
    return (record for record in found if statuses.status(record, now, real) == status)


@app.command(
    "show",
    epilog="Example: speakerbot deliveries show reminder.day_of/talk:66…/user:80…/2026-11-20",
)
def show_delivery(
    key: Annotated[str, typer.Argument(metavar="KEY")], now: Now = None, as_json: AsJson = False
) -> None:
    """Show a delivery in full, its text too."""
    with to_read() as (store, _):
        record = _find(store, key)
        document = {**delivery_document(record, decision_time(now)), "text": record.text}
        if as_json:
            emit_json(document)
            return
        text = document.pop("text")
        show([*document.items(), *([] if on_terminal() else [("text", text)])])
        if on_terminal() and text:
            say("")
            say("\n".join(plain(line) for line in text.split("\n")))


@app.command(epilog="Example: speakerbot deliveries retry --status failed --dry-run")
def retry(
    key: Annotated[str | None, typer.Argument(metavar="KEY")] = None,
    status: Annotated[
        Literal["failed", "undeliverable", "unknown"] | None,
        typer.Option(help="All of these instead of one KEY."),
    ] = None,
    now: Now = None,
    dry_run: DryRun = False,
) -> None:
    """Have messages tried again by the next run, at once and with all tries before them.

    Never past their expiry, and never what was sent.
    """
    if (key is None) == (status is None):
        raise UsageError("say which: either one KEY, or --status failed|undeliverable|unknown")
    with to_change(dry_run=dry_run) as (store, _):
        decided = decision_time(now)
        if key is not None:
            _retry_one(store, key, decided, dry_run=dry_run)
        elif status is not None:
            _retry_all(store, status, decided, dry_run=dry_run)


def _retry_one(store: Store, key: str, now: datetime, *, dry_run: bool) -> None:
    record = _find(store, key)
    if why_not := statuses.refusal(record, now, real_now()):
        raise UsageError(f"{key} cannot be tried again: {why_not}")
    if not dry_run and not _swap(store.ledger, [record]):
        raise UsageError(f"{key} was not touched: a run has just taken it up")
    run = store.runs.get(record.run_id)
    run_it = f"`speakerbot run {run.job}`" if run else "run of its job"
    will = "would send" if dry_run else "sends"
    until = f"if it is still due then, until {plain(record.expires_at)}"
    say(f"the next {run_it} {will} {key}, {until}")
    if how := _how(record):
        say(how)


def _how(record: Delivery) -> str:
    if record.state == DeliveryState.UNKNOWN:
        return "it counts as not arrived now: if it did arrive, this sends it a second time"
    if record.unconfirmed_since:
        return "it may have arrived: that run looks for it first"
    return "it begins with its first route" if record.state == DeliveryState.UNDELIVERABLE else ""


def _retry_all(store: Store, status: str, now: datetime, *, dry_run: bool) -> None:
    real = real_now()
    tried, refused, lost = 0, 0, 0
    found = store.ledger.list(state=status, limit=EVERYTHING)
    while batch := list(islice(found, BATCH)):
        possible = [record for record in batch if not statuses.refusal(record, now, real)]
        won = len(possible) if dry_run else _swap(store.ledger, possible)
        refused += len(batch) - len(possible)
        lost += len(possible) - won
        tried += won
    will = "would be" if dry_run else "will be"
    say(f"{amount(tried, f'{status} message')} {will} tried again by the next run of their job")
    if refused:
        say(f"left alone, past their expiry: {refused:,}")
    if lost:
        say(f"left alone, a run has just taken them up: {lost:,}")


def _swap(ledger: Ledger, records: list[Delivery]) -> int:
    """How many of the records were still as they had been read, and are set to be tried again."""
    import secrets

    from speakerbot.domain.delivery import DeliveryChange

    real, origin = real_now(), f"retry-{secrets.token_hex(8)}"
    changes = [
        DeliveryChange(record, statuses.retried(record, real, f"{origin}.{number}"))
        for number, record in enumerate(records)
    ]
    return len(ledger.swap(changes)) if changes else 0


def _find(store: Store, key: str) -> Delivery:
    if record := store.ledger.get([key]).get(key):
        return record
    raise NotFound(f"there is no delivery {key!r}; `speakerbot deliveries list` shows the newest")


def show_deliveries(records: Iterable[Delivery], now: datetime, *, empty: str) -> None:
    """A list for people; the key stays in one piece, so that it can be copied."""
    real = real_now()
    if not on_terminal():
        columns = ("status", "updated", "key", "route", "tries", "retry", "expires", "why")
        table(columns, (_row(record, now, real) for record in records), empty=empty)
        return
    entries((_entry(record, now, real) for record in records), empty=empty)


def _row(record: Delivery, now: datetime, real: datetime) -> tuple[object, ...]:
    return (
        statuses.status(record, now, real),
        record.updated_at,
        record.key,
        record.route,
        record.attempts,
        record.retry_at if record.state == DeliveryState.FAILED else None,
        record.expires_at,
        record.error,
    )


def _entry(record: Delivery, now: datetime, real: datetime) -> ListEntry:
    status = statuses.status(record, now, real)
    parts = [plain(record.updated_at), record.route]
    if record.attempts > 1:
        parts.append(f"{record.attempts} tries")
    if status == "failed":
        parts.append(f"next {plain(record.retry_at)}")
    rest = " · ".join(part for part in parts if part)
    word = status.replace("_", " ")
    return ListEntry(word, STYLES[status], rest, plain(record.key), plain(record.error))
