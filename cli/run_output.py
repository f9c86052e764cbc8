"""How a run is shown while it happens: a table, plain rows, or one streamed JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from cli.output import plain, utc
from speakerbot import logs
from speakerbot.process import Output
from speakerbot.runs.report import (
    MessageOutcome,
    RunHeader,
    RunObserver,
    RunSummary,
    ServiceChange,
)

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS = ("state", "due", "recipient", "route", "text", "why")
MOST_ROWS = 200
"""Rows a terminal's table shows; more would only scroll away, and memory must not grow."""


class TextOutput(Protocol):
    """What a run is shown on."""

    def write(self, text: str, /) -> int: ...
    def isatty(self) -> bool: ...


@contextmanager
def stdout() -> Iterator[Output]:
    """Where a run is shown: a reader who does not read never delays the run. At the end waits for
    them as long as its ``patience`` says."""
    output = Output.of(sys.stdout, lambda why: logs.get_logger().warning("output_lost", error=why))
    try:
        yield output
    finally:
        output.drain()


def run_observers(
    output: TextOutput, *, as_json: bool, quiet: bool = False
) -> tuple[RunObserver, ...]:
    """Those that show a run. ``quiet``: not the skips that are harmless."""
    if as_json:
        return (JsonOutput(output),)
    shown: RunObserver = TerminalOutput(output) if output.isatty() else RowOutput(output)
    return (QuietOutput(shown) if quiet else shown,)


@contextmanager
def document_of_runs(output: TextOutput) -> Iterator[RunObserver]:
    """One JSON document around the documents of several runs, which one observer writes."""
    output.write('{"runs": [\n')
    try:
        yield JsonListOutput(output)
    finally:
        output.write("]}\n")


def message_document(outcome: MessageOutcome) -> dict[str, Any]:
    """A message as ``run --json`` and ``preview --json`` show it."""
    message = outcome.message
    return {
        "key": message.key,
        "kind": message.kind,
        "recipient": message.recipient,
        "route": outcome.route or None,
        "text": outcome.text,
        "due_at": utc(message.due_at),
        "expires_at": utc(message.expires_at),
        "reason": outcome.reason,
        "state": outcome.state,
    }


def change_document(change: ServiceChange) -> dict[str, Any]:
    """A change at a service, as ``run --json`` and ``preview --json`` show it."""
    return {
        "action": change.action,
        "thing": change.thing,
        "name": change.name,
        "starts_at": utc(change.at),
        "text": change.text,
        "reason": change.reason,
        "state": change.state,
    }


class JsonOutput:
    """Writes the document piece by piece: memory does not grow with the number of messages."""

    def __init__(self, output: TextOutput) -> None:
        self._write = output.write

    def begin(self, header: RunHeader) -> None:
        self._separator = "\n    "
        self._changes: list[dict[str, Any]] = []
        head = {
            "job": header.job,
            "run_id": header.run_id,
            "occurrence": utc(header.occurrence),
            "dry_run": header.dry_run,
            "now": utc(header.now),
        }
        self._write(json.dumps(head, indent=2)[:-2] + ',\n  "messages": [')

    def add(self, outcome: MessageOutcome) -> None:
        self._write(self._separator + json.dumps(message_document(outcome), ensure_ascii=False))
        self._separator = ",\n    "

    def change(self, change: ServiceChange) -> None:
        self._changes.append(change_document(change))

    def end(self, summary: RunSummary) -> None:
        changes = {"changes": self._changes} if self._changes else {}
        tail = {**changes, "counts": summary.counts.as_dict(), "duration_ms": summary.duration_ms}
        for name in ("skipped_because", "stopped", "error"):
            if told := getattr(summary, name):
                tail[name] = told
        close = "\n  ]" if self._separator.startswith(",") else "]"
        self._write(close + ",\n  " + json.dumps(tail, indent=2)[4:] + "\n")


class JsonListOutput(JsonOutput):
    """The documents of several runs, one after another, as items of a list."""

    def __init__(self, output: TextOutput) -> None:
        super().__init__(output)
        self._between = ""

    def begin(self, header: RunHeader) -> None:
        self._write(self._between)
        self._between = ",\n"
        super().begin(header)


class RowOutput:
    """Tab-separated rows for pipes: one line a message, the whole text."""

    def __init__(self, output: TextOutput) -> None:
        self._write = output.write

    def begin(self, header: RunHeader) -> None:
        self._job = header.job
        self._write("\t".join(COLUMNS) + "\n")

    def add(self, outcome: MessageOutcome) -> None:
        self._write("\t".join(plain(cell) for cell in _cells(outcome)) + "\n")

    def change(self, change: ServiceChange) -> None:
        cells = (change.state, change.at, "", change.thing, change.text, change.reason)
        self._write("\t".join(plain(cell) for cell in cells) + "\n")

    def end(self, summary: RunSummary) -> None:
        self._write(_sentence(self._job, summary) + "\n")


class QuietOutput:
    """Begins to show a run only when there is something to show."""

    def __init__(self, shown: RunObserver) -> None:
        self._shown = shown
        self._header: RunHeader | None = None

    def begin(self, header: RunHeader) -> None:
        self._header = header

    def add(self, outcome: MessageOutcome) -> None:
        self._begin()
        self._shown.add(outcome)

    def change(self, change: ServiceChange) -> None:
        self._begin()
        self._shown.change(change)

    def end(self, summary: RunSummary) -> None:
        if not summary.quietly:
            self._begin()
            self._shown.end(summary)

    def _begin(self) -> None:
        if self._header:
            self._shown.begin(self._header)
            self._header = None


class TerminalOutput:
    """A table at the end, and what is happening until then."""

    def __init__(self, output: TextOutput) -> None:
        from rich.console import Console
        from rich.table import Table

        self._console = Console(file=cast("IO[str]", output))
        self._table = Table(header_style="bold", title_justify="left", show_lines=True)
        self._table.add_column("state", no_wrap=True)
        self._table.add_column("due", no_wrap=True)
        self._table.add_column("to", overflow="fold")
        self._table.add_column("message, and why", overflow="fold", ratio=1)
        self._status = self._console.status("looking for what is due …")
        self._seen = 0

    def begin(self, header: RunHeader) -> None:
        self._job = header.job
        mode = " (dry run: nothing is sent or written)" if header.dry_run else ""
        self._table.title = f"{header.job} at {header.now:%Y-%m-%d %H:%M} UTC{mode}"
        self._status.start()

    def add(self, outcome: MessageOutcome) -> None:
        self._seen += 1
        if self._seen <= MOST_ROWS:
            self._table.add_row(*_drawn(outcome))
        self._status.update(f"{self._seen:,} messages …")

    def change(self, change: ServiceChange) -> None:
        self._seen += 1
        if self._seen <= MOST_ROWS:
            self._table.add_row(*_drawn_change(change))

    def end(self, summary: RunSummary) -> None:
        self._status.stop()
        if self._seen:
            self._console.print(self._table)
        if self._seen > MOST_ROWS:
            more = self._seen - MOST_ROWS
            self._console.print(f"… and {more:,} more; --json or a pipe shows all of them.")
        self._console.print(_sentence(self._job, summary), highlight=False)


def _drawn(outcome: MessageOutcome) -> tuple[Text, ...]:
    """The cells of a row as a terminal shows them."""
    from rich.text import Text

    message = outcome.message
    kind, _, identifier = message.recipient.partition(":")
    by = f"\nby {outcome.route}" if outcome.route else ""
    return (
        Text(outcome.state.replace("_", " "), style=_STYLES.get(outcome.state, "")),
        Text(f"{message.due_at:%b %d %H:%M} UTC"),
        Text(f"{kind} {identifier}{by}"),
        Text.assemble(outcome.text, ("\n" + outcome.reason, "dim") if outcome.reason else ""),
    )


def _drawn_change(change: ServiceChange) -> tuple[Text, ...]:
    from rich.text import Text

    return (
        Text(change.state, style=_STYLES.get(change.state, "")),
        Text(f"{change.at:%b %d %H:%M} UTC" if change.at else ""),
        Text(change.thing),
        Text.assemble(change.text, ("\n" + change.reason, "dim") if change.reason else ""),
    )


_STYLES = {
    "planned": "cyan",
    "sent": "green",
    "done": "green",
    "left": "yellow",
    "already_sent": "dim",
    "held_back": "yellow",
    "failed": "red",
    "undeliverable": "red",
    "unknown": "bold red",
}


def _cells(outcome: MessageOutcome) -> tuple[object, ...]:
    message = outcome.message
    return (
        outcome.state,
        message.due_at,
        message.recipient,
        outcome.route,
        outcome.text,
        outcome.reason,
    )


def _sentence(job: str, summary: RunSummary) -> str:
    if summary.skipped_because:
        return f"{job}: nothing was done ({summary.skipped_because})."
    counts = summary.counts
    parts = [
        f"{number:,} {name}"
        for name, number in (
            ("planned", counts.planned),
            ("sent", counts.sent),
            ("already sent", counts.already_sent),
            ("undeliverable", counts.undeliverable),
            ("unknown", counts.unknown),
            *((f"failed ({why})", number) for why, number in counts.failed.items()),
            *((f"skipped ({why})", number) for why, number in counts.skipped.items()),
            *((what.replace("_", " "), number) for what, number in sorted(counts.changes.items())),
        )
        if number
    ]
    if summary.error:
        parts.append("failed")  # stderr says with what
    elif summary.stopped:
        parts.append(f"stopped ({summary.stopped})")
    took = f"{summary.duration_ms / 1000:.1f} s"
    return f"{job}: {', '.join(parts) or 'nothing is due'} ({took})."
