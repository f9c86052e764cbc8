"""``speakerbot preview``: every message that will go out, day by day."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from cli.open_store import to_read
from cli.options import AsJson, Now
from cli.output import on_terminal, plain, say, utc
from cli.run_output import MOST_ROWS, change_document, message_document
from jobs import JOBS
from speakerbot.preview import Coming, ComingChange, Preview, end_of_day, jobs_of

if TYPE_CHECKING:
    from rich.table import Table

    Days = Iterable[tuple[date, list[Coming | ComingChange]]]

app = typer.Typer(add_completion=False)

UTC_NAMES = ("UTC", "Etc/UTC")
COLUMNS = ("date", "local", "utc", "schedule", "job", "recipient", "route", "text")


@app.command(epilog="Example: speakerbot preview --days 7")
def preview(
    days: Annotated[
        int, typer.Option("--days", min=0, max=366, metavar="N", help="This day and N more.")
    ] = 7,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Show every message that will go out, and each event that will change: what the schedules'
    next runs will send, by simulating them on the present data. Nothing is sent or written."""
    from speakerbot import bootstrap, logs
    from speakerbot.clock import Clock
    from speakerbot.schedules.reading import read_schedules

    with to_read() as (store, settings):
        zone, clock = settings.timezone, Clock.at(now)
        begin = now or clock.decision()
        looked_ahead = Preview(
            jobs_of(read_schedules(settings.schedules, JOBS), JOBS),
            store,
            settings,
            bootstrap.templates(settings.templates),
            now=begin,
            ahead=clock.offset,
        )
        comings = looked_ahead.all_until(end_of_day(days, begin, zone))
        first = begin.astimezone(zone).date()
        by_day = _by_day(comings, first, first + timedelta(days=days), zone)
        if as_json:
            _write_json(by_day, zone, looked_ahead.obstacles)
        elif on_terminal():
            _draw(by_day, zone)
        else:
            _write_rows(by_day, zone)
        for schedule, problem in looked_ahead.obstacles.items():
            logs.get_logger().warning("preview_incomplete", schedule=schedule, problem=problem)


def _by_day(
    comings: Iterator[Coming | ComingChange], first: date, last: date, zone: ZoneInfo
) -> Iterator[tuple[date, list[Coming | ComingChange]]]:
    """Every date from first to last, in the community's zone, with what goes out on it."""
    groups = groupby(comings, key=lambda coming: coming.at.astimezone(zone).date())
    group = next(groups, None)
    for day in (first + timedelta(days=number) for number in range((last - first).days + 1)):
        messages: list[Coming | ComingChange] = []
        if group is not None and group[0] == day:
            messages = list(group[1])
            group = next(groups, None)
        yield day, messages


def _write_json(days: Days, zone: ZoneInfo, obstacles: dict[str, str]) -> None:
    """A day at a time: memory holds the messages of one."""
    separator, head = "\n    ", '{\n  "days": ['
    for day, messages in days:
        document = {
            "date": day.isoformat(),
            "messages": [
                message_document(each.outcome) | _run_of(each, zone)
                for each in messages
                if isinstance(each, Coming)
            ],
        }
        changes = [
            change_document(each.change) | _run_of(each, zone)
            for each in messages
            if isinstance(each, ComingChange)
        ]
        document |= {"changes": changes} if changes else {}
        sys.stdout.write(head + separator + json.dumps(document, ensure_ascii=False))
        separator, head = ",\n    ", ""
    named = [{"schedule": name, "problem": problem} for name, problem in obstacles.items()]
    sys.stdout.write(f'\n  ],\n  "obstacles": {json.dumps(named, ensure_ascii=False)}\n}}\n')


def _run_of(coming: Coming | ComingChange, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "at": utc(coming.at),
        "local": coming.at.astimezone(zone).isoformat(),
        "schedule": coming.schedule,
        "job": coming.job,
    }


def _write_rows(days: Days, zone: ZoneInfo) -> None:
    say("\t".join(COLUMNS))
    for day, messages in days:
        for coming in messages:
            local = coming.at.astimezone(zone)
            cells = (
                day,
                f"{local:%H:%M}",
                utc(coming.at),
                coming.schedule,
                coming.job,
                *_where(coming),
                _said(coming),
            )
            say("\t".join(plain(cell) for cell in cells))


def _draw(days: Days, zone: ZoneInfo) -> None:
    from rich.console import Console

    console, count = Console(highlight=False), 0
    with console.status("simulating the coming runs …"):
        for day, messages in days:
            if messages:
                console.print(f"\n[bold]{day:%A} {day.day} {day:%B %Y}[/bold]")
                console.print(_table(messages[:MOST_ROWS], zone))
            if (more := len(messages) - MOST_ROWS) > 0:
                console.print(f"  … and {more:,} more; --json or a pipe shows all of them.")
            count += len(messages)
    until = f"until the end of {day} ({zone.key})"
    console.print(f"\n{count:,} messages {until}." if count else f"Nothing will go out {until}.")


def _table(messages: list[Coming | ComingChange], zone: ZoneInfo) -> Table:
    """A line a message, cut to the terminal's width."""
    from rich.table import Table
    from rich.text import Text

    in_utc = zone.key in UTC_NAMES
    table = Table.grid(padding=(0, 2), expand=True)
    if not in_utc:
        table.add_column(width=5, style="cyan")
    table.add_column(width=6, style="cyan" if in_utc else "dim")
    table.add_column(width=10, no_wrap=True)
    table.add_column(width=16, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for coming in messages:
        local = () if in_utc else (f"{coming.at.astimezone(zone):%H:%M}",)
        cells = (*local, f"{coming.at:%H:%M}Z", coming.job, _to(coming), _said(coming))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _said(coming: Coming | ComingChange) -> str:
    """Its text; why there is none where it cannot be made."""
    if isinstance(coming, ComingChange):
        return coming.change.text.removeprefix("would ")
    outcome = coming.outcome
    return f"{outcome.state}: {outcome.reason}" if outcome.error_class else outcome.text


def _where(coming: Coming | ComingChange) -> tuple[str, str]:
    """Recipient and route."""
    if isinstance(coming, ComingChange):
        return "", coming.change.thing
    return coming.outcome.message.recipient, coming.outcome.route


def _to(coming: Coming | ComingChange) -> str:
    """Whom it goes to, by name if the job knows one."""
    if isinstance(coming, ComingChange):
        return coming.change.thing
    message = coming.outcome.message
    name = message.values.get("username") if message.user_id else None
    return str(name or message.recipient.replace(":", " "))
