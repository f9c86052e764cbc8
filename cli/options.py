"""Options and arguments that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

import typer
from typer._click.types import ParamType

from speakerbot.clock import Clock, parse_clock_time
from speakerbot.durations import parse_duration

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def parse_now(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC. Cut to milliseconds, as all stored times are."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not an ISO 8601 time; write e.g. 2026-11-20T16:05:00Z"
        ) from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not 1970 <= at.year < 3000:
        raise typer.BadParameter(f"{text!r} is not within the years 1970 to 2999")
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def parse_date(text: str) -> date:
    """A day that a talk may have, YYYY-MM-DD."""
    from speakerbot.domain.talk import talk_day

    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write YYYY-MM-DD") from error
    try:
        return talk_day(day)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_clock(text: str) -> time:
    """A clock time, HH:MM."""
    try:
        return parse_clock_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Now = Annotated[
    datetime | None,
    typer.Option(
        "--now",
        parser=parse_now,
        metavar="ISO",
        help="Decide as if it were this time (UTC unless it names an offset).",
    ),
]


class Parsed(ParamType):
    """The type of an option whose text a function reads; its ValueError becomes wrong usage."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Defaults come as what they are, not as texts."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def decision_time(now: datetime | None) -> datetime:
    """What ``--now`` says, else the real time."""
    return Clock.at(now).decision()


def parse_length(text: str | timedelta) -> timedelta:
    """A duration: 90s, 30m, 6h, 14d."""
    if isinstance(text, timedelta):
        return text
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_some_time(text: str) -> timedelta:
    """A duration that is not nothing."""
    length = parse_length(text)
    if not length:
        raise typer.BadParameter(f"{text!r} is not a length of time; write e.g. 10m")
    return length
