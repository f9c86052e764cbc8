"""``speakerbot explain``: why a message was sent, was not, or will be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.documents import person_document, talk_document
from cli.open_store import to_read
from cli.options import AsJson, Now
from cli.output import emit_json, on_terminal, plain, say, table
from cli.talk_argument import Which, talk_named
from cli.terminal import ListEntry, entries
from cli.user_argument import User, find_user
from jobs import JOBS
from speakerbot.domain.confirmation import in_words
from speakerbot.errors import CORRECT_IT, ConfigError, DamagedTalk, NotFound

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.domain.person import Person
    from speakerbot.domain.talk import Talk
    from speakerbot.explain import Explainer, Explanation
    from speakerbot.ports.store import Store
    from speakerbot.runs.job import Job
    from speakerbot.schedules.schedule import Schedule

app = typer.Typer(no_args_is_help=True, add_completion=False)

COLUMNS = ("kind", "recipient", "state", "what", "next", "key")
STYLES = {
    "planned": "cyan",
    "not_due": "cyan",
    "sent": "green",
    "already_sent": "green",
    "held_back": "yellow",
    "failed": "red",
    "undeliverable": "red",
    "unknown": "bold red",
}


@app.command(epilog="Example: speakerbot explain talk 2026-11-21")
def talk(
    talk: Which,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Explain every message about a talk, also of one that was cancelled (by its id)."""
    with _explainer(now) as (explainer, store, settings):
        found = talk_named(store, talk)
        explained = explainer.talk(found.id if found else talk)
        hidden = None if found else store.talks.why_hidden(talk)
        if found is None and not explained:
            if hidden:
                raise DamagedTalk(talk, hidden)
            raise NotFound(f"there is no talk {talk!r}, and no message about one of that id")
        answers = store.answers.about([found.id]) if found else {}
        if as_json:
            document = talk_document(found, settings.timezone, answers) if found else None
            messages = [_document(each) for each in explained]
            emit_json({"talk": document, "hidden": hidden, "messages": messages})
            return
        if on_terminal():
            said = in_words(found, answers) if found else ""
            title = _title(talk, found, hidden)
            say(f"Talk {plain(f'{title} ({said})' if said else title)}\n")
        _show(explained, empty="There is no message about it.")


def _title(name: str, found: Talk | None, hidden: str | None) -> str:
    if found:
        return f"{found.date}, {found.username}: {found.topic}"
    return (
        f"{name} is in the store but hidden: {hidden}. {CORRECT_IT}" if hidden else f"gone: {name}"
    )


@app.command(epilog="Example: speakerbot explain person 802345678901234564")
def person(
    user: User,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Explain what somebody gets, got, and does not get."""
    with _explainer(now) as (explainer, store, _):
        who = find_user(store, user)
        known, explained = who.person, explainer.person(who.id)
        if known is None and not explained:
            raise NotFound(f"nothing is known about {user!r}, and there is no message to them")
        if as_json:
            preferences = person_document(known) if known else None
            emit_json({"person": preferences, "messages": [_document(each) for each in explained]})
            return
        if on_terminal():
            say(f"{_preferences(str(who), known)}\n")
        _show(explained, empty="There is no message to them.")


@app.command(epilog="Example: speakerbot explain key reminder.day_of/talk:66…/user:80…/2026-11-20")
def key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `deliveries list` shows it.")],
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Explain one message, by its key."""
    with _explainer(now) as (explainer, _, _):
        explained = explainer.key(key)
    if explained is None:
        raise NotFound(f"nothing is known about {key!r}; `deliveries list` shows keys that are")
    if as_json:
        emit_json(_document(explained))
        return
    _show([explained], empty="")


@contextmanager
def _explainer(now: datetime | None) -> Iterator[tuple[Explainer, Store, Settings]]:
    from speakerbot import bootstrap
    from speakerbot.clock import Clock
    from speakerbot.explain import Explainer
    from speakerbot.explain.foresight import Foresight
    from speakerbot.preview import Preview
    from speakerbot.runs.job import load_job

    clock = Clock.at(now)
    with to_read() as (store, settings):
        preview = Preview(
            _schedules(settings),
            store,
            settings,
            bootstrap.templates(settings.templates),
            now=now or clock.decision(),
            ahead=clock.offset,
        )
        yield Explainer([load_job(each) for each in JOBS], Foresight(preview)), store, settings


def _schedules(settings: Settings) -> list[tuple[Schedule, Job]]:
    """Without a file there is still much to tell."""
    from speakerbot import logs
    from speakerbot.preview import jobs_of
    from speakerbot.schedules.reading import read_schedules

    try:
        return jobs_of(read_schedules(settings.schedules, JOBS), JOBS)
    except ConfigError as error:
        logs.get_logger().warning("schedules_unknown", problem=str(error))
        return []


def _preferences(user: str, known: Person | None) -> str:
    if known is None:
        return f"User {user}: no preferences are known, so they get everything."
    preferences = [
        f"opted out of {', '.join(sorted(known.opted_out))}" if known.opted_out else "",
        f"quiet from {known.quiet_hours}" if known.quiet_hours else "",
        f"in {known.timezone}" if known.timezone else "",
        f"by {', then '.join(known.routes)}" if known.routes else "",
    ]
    said = ", ".join(each for each in preferences if each) or "no preferences: they get everything"
    return plain(f"{known.name or user}: {said}.")


def _show(explained: Sequence[Explanation], *, empty: str) -> None:
    if not on_terminal():
        rows = ((e.kind, e.recipient, e.state, e.what, e.next, e.key) for e in explained)
        table(COLUMNS, rows, empty=empty)
        return
    entries(
        (
            ListEntry(
                each.state.replace("_", " "),
                STYLES.get(each.state, "dim"),
                f"{each.kind}: {plain(each.what)}",
                plain(each.key),
                f"next: {plain(each.next)}",
            )
            for each in explained
        ),
        empty=empty,
    )


def _document(explained: Explanation) -> dict[str, Any]:
    record = explained.record
    return {
        "key": explained.key,
        "kind": explained.kind,
        "recipient": explained.recipient,
        "state": explained.state,
        "what": explained.what,
        "next": explained.next,
        "next_at": explained.next_at,
        "due_at": explained.due_at,
        "expires_at": explained.expires_at,
        "sent_at": record.sent_at if record else None,
        "route": (record.route if record else "") or None,
        "message_id": (record.message_id if record else "") or None,
        "channel_id": (record.channel_id if record else "") or None,
        "attempts": record.attempts if record else 0,
        "error": (record.error if record else "") or None,
    }
