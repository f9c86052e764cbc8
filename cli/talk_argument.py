"""TALK, as commands take it: an id, or a date where only one talk is on it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import plain
from speakerbot.errors import DamagedTalk, NotFound, UsageError
from speakerbot.text import shorten

if TYPE_CHECKING:
    from speakerbot.domain.talk import Talk
    from speakerbot.ports.store import Store

Which = Annotated[
    str,
    typer.Argument(
        metavar="TALK", help="Its id, or its date (YYYY-MM-DD) where only one talk is on it."
    ),
]
TOPIC_SHOWN = 80
"""Characters of a topic where a talk is one of several."""


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
    start = f"{talk.starts_at:%H:%M} " if talk.starts_at else ""
    names = ", ".join(each.username for each in talk.speakers)
    return plain(f'{start}{names}, "{shorten(talk.topic, TOPIC_SHOWN)}"')
