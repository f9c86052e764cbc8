"""``speakerbot inbox``: what waits for somebody in their web inbox."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.open_store import to_change, to_read
from cli.options import AsJson, DryRun
from cli.output import amount, emit_json, on_terminal, plain, say, table
from cli.terminal import ago
from cli.user_argument import FoundUser, User, find_user
from speakerbot.clock import real_now
from speakerbot.errors import NotFound, UsageError

if TYPE_CHECKING:
    from speakerbot.domain.inbox import InboxMessage
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

SHORT = 8
"""Characters of an id that lists show."""


@app.command("show", epilog="Example: speakerbot inbox show 802345678901234564 --unread")
def show_inbox(
    user: User,
    unread: Annotated[bool, typer.Option("--unread", help="Only what is unread.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show somebody's inbox, the newest first. It stays unread."""
    with to_read() as (store, _):
        who = find_user(store, user)
        messages = store.inbox.of(who.recipients, unread_only=unread, limit=sys.maxsize)
        if as_json:
            emit_json({**_owner(who), "messages": [inbox_document(each) for each in messages]})
            return
        if not on_terminal():
            columns: tuple[str, ...] = ("id", "created", "read", "key", "text")
            table(columns, map(_row, messages), empty="")
            return
        now, what = real_now(), "unread messages" if unread else "messages"
        table(
            ("id", "came", "read", "text"),
            (_cells(each, now) for each in messages),
            empty=f"{who} has no {what} in {store.describe()}.",
            title=f"Inbox of {who}",
            whole=("id", "came", "read"),
        )


def _row(message: InboxMessage) -> tuple[object, ...]:
    return (message.id, message.created_at, message.read_at, message.key, message.text)


def _cells(message: InboxMessage, now: datetime) -> tuple[object, ...]:
    read = ago(message.read_at, now) if message.read_at else "unread"
    return (message.id[:SHORT], ago(message.created_at, now), read, message.text)


def _owner(who: FoundUser) -> dict[str, Any]:
    return {"user_id": who.user_id, "person_id": who.person.id if who.person else None}


def inbox_document(message: InboxMessage) -> dict[str, Any]:
    """A message as JSON shows it."""
    return {
        "id": message.id,
        "key": message.key,
        "recipient": message.recipient,
        "text": message.text,
        "created_at": message.created_at,
        "read_at": message.read_at,
    }


@app.command("read", epilog="Example: speakerbot inbox read 802345678901234564 3f9a1c20")
def mark_read(
    user: User,
    message_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="One message, by the beginning of its id; else all."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Mark what is in somebody's inbox as read: one message, or all of them."""
    with to_change(dry_run=dry_run) as (store, _):
        who = find_user(store, user)
        one = None if message_id is None else _find(store, who, message_id)
        if dry_run:
            found = store.inbox.of(who.recipients, unread_only=True, limit=sys.maxsize)
            marked = sum(one is None or each.id == one.id for each in found)
        else:
            marked = store.inbox.mark_read(who.recipients, one.id if one else None, real_now())
    if as_json:
        chosen = {"message_id": one.id if one else None}
        emit_json({**_owner(who), **chosen, "marked": marked, "dry_run": dry_run})
        return
    say(_said(who, one, marked, dry_run=dry_run))


def _said(who: FoundUser, one: InboxMessage | None, marked: int, *, dry_run: bool) -> str:
    if marked:
        done = "would mark" if dry_run else "marked"
        which = f"message {one.id[:SHORT]}" if one else amount(marked, "message")
        return f"{done} {which} of {who} as read"
    if one is None:
        return f"unchanged: {who} has no unread messages"
    when = f" at {plain(one.read_at)}" if one.read_at else ""
    return f"unchanged: message {one.id[:SHORT]} of {who} was read{when} already"


def _find(store: Store, who: FoundUser, beginning: str) -> InboxMessage:
    """Their message whose id begins so. Raises NotFound; UsageError where several do."""
    messages = list(store.inbox.of(who.recipients, limit=sys.maxsize))
    wanted = beginning.strip().lower()
    found = [each for each in messages if wanted and each.id.startswith(wanted)]
    if len(found) > 1:
        listed = "\n".join(f"  {each.id}  {plain(each.created_at)}" for each in found)
        raise UsageError(f"several messages of {who} begin with {beginning!r}:\n{listed}")
    if found:
        return found[0]
    from speakerbot.text import did_you_mean

    hint = did_you_mean(wanted[:SHORT], [each.id[:SHORT] for each in messages])
    hint = hint or f"; `speakerbot inbox show {who.id}` lists what there is"
    raise NotFound(f"{who} has no message {beginning!r}{hint}")
