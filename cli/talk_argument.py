"""TALK, as commands take it: an id, or a date where only one talk is on it; and the options that
say what a talk is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import parse_clock, parse_some_time
from cli.output import plain
from speakerbot.errors import DamagedTalk, NotFound, UsageError
from speakerbot.text import shorten

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import Store

Which = Annotated[
    str,
    typer.Argument(
        metavar="TALK", help="Its id, or its date (YYYY-MM-DD) where only one talk is on it."
    ),
]
Start = Annotated[
    time | None,
    typer.Option(
        "--at", parser=parse_clock, metavar="HH:MM", help="Start, in the community's zone."
    ),
]
Length = Annotated[
    timedelta | None,
    typer.Option("--length", parser=parse_some_time, metavar="45m", help="How long it takes."),
]
Room = Annotated[str | None, typer.Option("--room", help="Where it is.")]
Link = Annotated[str | None, typer.Option("--link", metavar="URL", help="Where it is online.")]
Thread = Annotated[str | None, typer.Option("--thread", metavar="ID", help="The sign-up thread.")]
CoSpeakers = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker",
        metavar="USER",
        help="Who speaks as well, as ID=NAME where their name is not known yet. May be repeated.",
    ),
]


TOPIC_SHOWN = 80
"""Characters of a topic where a talk is one of several."""


class Clearable(StrEnum):
    """What `talks edit --clear` takes."""

    AT = "at"
    LENGTH = "length"
    ROOM = "room"
    LINK = "link"
    THREAD = "thread"
    SPEAKER = "speaker"


FIELDS = {
    "topic": "topic",
    "user": "user_id",
    "name": "username",
    "at": "starts_at",
    "length": "length",
    "room": "room",
    "link": "link",
    "thread": "thread_id",
    "speaker": "co_speakers",
}
"""Which field of a talk each option of `talks edit` changes."""


def find_talk(store: Store, text: str) -> Talk:
    """The talk that ``text`` names.

    Raises NotFound; UsageError naming all of them where several talks are on that date; DamagedTalk
    for one whose stored date cannot be read."""
    if found := talk_named(store, text):
        return found
    if why := store.talks.why_hidden(text):
        raise DamagedTalk(text, why)
    raise no_talk(text)


def talk_named(store: Store, text: str) -> Talk | None:
    """As :func:`find_talk`; None where no talk is found."""
    if found := store.talks.get(text):
        return found
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    on_it = list(store.talks.between(day, day))
    if len(on_it) > 1:
        listed = "\n".join(f"  {talk.id}  {about(talk)}" for talk in on_it)
        raise UsageError(f"{len(on_it)} talks are on {day}; give the id of one:\n{listed}")
    return on_it[0] if on_it else None


def no_talk(text: str) -> NotFound:
    return NotFound(f"there is no talk {text!r}; `speakerbot talks list --all` shows them all")


def about(talk: Talk) -> str:
    """Who speaks when on its day about what, in a few words."""
    start = f"{start_of(talk)} " if talk.starts_at else ""
    names = ", ".join(each.username for each in talk.speakers)
    return plain(f'{start}{names}, "{shorten(talk.topic, TOPIC_SHOWN)}"')


def start_of(talk: Talk) -> str:
    return f"{talk.starts_at:%H:%M}" if talk.starts_at else ""


def filled(option: str, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{option} is empty")
    return text


def minutes_of(length: timedelta | None) -> int | None:
    from speakerbot.domain.talk import talk_length

    if length is None:
        return None
    minutes, rest = divmod(length, timedelta(minutes=1))
    if rest:
        raise UsageError("--length: write whole minutes, e.g. 45m")
    try:
        return talk_length(minutes)
    except ValueError as problem:
        raise UsageError(f"--length: {problem}") from problem


def link_of(link: str | None) -> str | None:
    from speakerbot.domain.talk import talk_link

    try:
        return talk_link(link) if link is not None else None
    except ValueError as problem:
        raise UsageError(f"--link: {problem}") from problem


def thread_id(thread: str | None) -> str | None:
    from speakerbot.formats.ids import snowflake

    try:
        return snowflake(thread) if thread is not None else None
    except ValueError as problem:
        raise UsageError(f"--thread: {problem}") from problem


def cleared(fields: Sequence[Clearable], values: Mapping[str, Any]) -> dict[str, Any]:
    """What --clear makes of a talk."""
    for option in fields:
        if FIELDS[option] in values:
            raise UsageError(f"--clear {option} takes away what --{option} gives: leave one out")
    empty: Mapping[str, Any] = {"co_speakers": ()}
    return {FIELDS[option]: empty.get(FIELDS[option]) for option in fields}


def differences(before: Talk, after: Talk) -> dict[str, tuple[str, str]]:
    """By the names of the options, what was and what is."""
    pairs = {name: (_said(name, before), _said(name, after)) for name in FIELDS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _said(name: str, talk: Talk) -> str:
    match name:
        case "at":
            return start_of(talk)
        case "length":
            return f"{talk.length} min" if talk.length else ""
        case "speaker":
            return ", ".join(f"{each.username} ({each.user_id})" for each in talk.co_speakers)
    return str(getattr(talk, FIELDS[name]) or "")


def check_start(talk: Talk, zone: ZoneInfo) -> None:
    """Raises UsageError for a start that the community's clocks skip on that day."""
    from speakerbot.formats.dates import skipped

    if talk.starts_at and (why := skipped(talk.date, talk.starts_at, zone)):
        raise UsageError(f"--at: {why}")
