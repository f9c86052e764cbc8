"""How our own commands change talks: together with what calendars are told of it.

Each is all or nothing where the store has transactions. Elsewhere the talk is noted as it was, then
changed, then noted again: whatever a crash leaves out, ``feed.follow`` finds by comparing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from speakerbot import feed

if TYPE_CHECKING:
    from speakerbot.formats.talk_import import TalkImport
    from speakerbot.ports import Store
    from speakerbot.talks import Talk


def add(store: Store, talk: Talk, now: datetime) -> None:
    """Books a new talk. Raises DateTaken."""
    with store.at_once():
        store.talks.put([talk])
        feed.note(store.calendar, talk.id, talk, now)


def move(store: Store, talk: Talk, to: date, now: datetime) -> bool:
    """Moves a talk to another date. False: gone. Raises DateTaken."""
    with store.at_once():
        feed.note(store.calendar, talk.id, talk, now)
        moved = store.talks.reschedule(talk.id, to)
        feed.note(store.calendar, talk.id, replace(talk, date=to) if moved else None, now)
        return moved


def cancel(store: Store, talk: Talk, now: datetime) -> bool:
    """Cancels a talk. False: it was gone."""
    with store.at_once():
        feed.note(store.calendar, talk.id, talk, now)
        cancelled = store.talks.delete(talk.id)
        feed.note(store.calendar, talk.id, None, now)
        return cancelled


def take_in(store: Store, change: TalkImport, now: datetime) -> None:
    """Writes what an import changes, but for flags that somebody has set since it was planned.
    Raises DateTaken."""
    with store.at_once():
        feed.follow(store.calendar, now)
        store.talks.put([*change.new, *change.updated])
        store.talks.write_flags(change.flags)
        feed.follow(store.calendar, now)
