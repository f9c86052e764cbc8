"""``speakerbot sandbox <job>``: see the messages as people would, without touching anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import AsJson, Now
from cli.output import utc
from jobs import JOBS

if TYPE_CHECKING:
    from speakerbot.testing.discord import Conversation, DiscordMessage, ScheduledEvent

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: speakerbot sandbox reminders --now 2026-11-20T16:05:00Z")
def sandbox(
    job: Annotated[str, typer.Argument(help="A job of `speakerbot run`.")],
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Runs the job for real against a Discord inside this process, on a copy of the data."""
    from cli.output import emit_json
    from speakerbot import bootstrap, logs
    from speakerbot.config import load
    from speakerbot.sandbox import run

    declared, settings = JOBS[job], load()
    store = bootstrap.store(settings, read_only=True)
    log = logs.get_logger().bind(sandbox=True)
    try:
        shown = run(declared.name, JOBS, settings, store, now, log)
    finally:
        store.close()
    if as_json:
        document: dict[str, object] = {"conversations": [_document(c) for c in shown.conversations]}
        if shown.events:
            document["events"] = [_event_document(event) for event in shown.events]
        emit_json(document)
        return
    _show(shown.conversations, shown.events)


def _document(conversation: Conversation) -> dict[str, object]:
    return {
        "kind": conversation.kind,
        "channel_id": conversation.channel_id,
        "name": conversation.name,
        "messages": [
            {
                "author": line.author,
                "text": line.message.content,
                "reactions": {emoji: len(users) for emoji, users in line.message.reactions.items()},
            }
            for line in conversation.lines
        ],
    }


def _seen(message: DiscordMessage) -> str:
    """The text, and the reactions below it."""
    reactions = " ".join(f"{emoji} {len(users)}" for emoji, users in message.reactions.items())
    return f"{message.content}\n{reactions}" if reactions else message.content


def _event_document(event: ScheduledEvent) -> dict[str, object]:
    return {
        "name": event.name,
        "description": event.description,
        "place": event.location,
        "starts_at": utc(event.starts_at),
        "ends_at": utc(event.ends_at),
    }


def _show(conversations: tuple[Conversation, ...], events: tuple[ScheduledEvent, ...]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from cli.output import on_terminal, plain, say

    if not conversations and not events:
        say("Nothing is due: nobody would see anything.")
    for conversation in conversations:
        title = f"{_PLACES[conversation.kind]}{conversation.name}"
        if not on_terminal():
            for line in conversation.lines:
                say(f"{title}\t{line.author}\t{plain(_seen(line.message))}")
            continue
        body = Text("\n\n").join(
            Text.assemble((line.author, "bold"), "\n", _seen(line.message))
            for line in conversation.lines
        )
        Console().print(Panel(body, title=Text(title), title_align="left", expand=False))
    for event in events:
        when = f"{event.starts_at:%Y-%m-%d %H:%M} to {event.ends_at:%H:%M} UTC, {event.location}"
        if not on_terminal():
            say("\t".join((f"event: {event.name}", when, plain(event.description or ""))))
            continue
        about = Text.assemble((when, "bold"), "\n", event.description or "")
        heading = Text(f"event: {event.name}")
        Console().print(Panel(about, title=heading, title_align="left", expand=False))


_PLACES = {"dm": "DM with ", "thread": "thread: ", "channel": "#"}
