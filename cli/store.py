"""``speakerbot store``: where everything is kept, whose it is, and what is forgotten when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.open_store import to_change, to_read
from cli.options import AsJson, DryRun, parse_length
from cli.output import emit_json, say
from cli.terminal import show
from speakerbot.durations import format_duration
from speakerbot.errors import SpeakerbotError, UsageError

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@app.command("info", epilog="Example: speakerbot store info")
def info(as_json: AsJson = False) -> None:
    """Show where the store is, which community it belongs to, and how much is in it."""
    with to_read() as (store, settings):
        document = _document(store, settings)
    if as_json:
        emit_json(document)
        return
    counts = document.pop("counts")
    by_state = counts.pop("deliveries").items()
    show([*document.items(), *counts.items(), *((f"deliveries {n}", c) for n, c in by_state)])


def _document(store: Store, settings: Settings) -> dict[str, Any]:
    from speakerbot.runs.community import community_of

    return {
        "place": store.describe(),
        "schema_version": store.schema_version(),
        "guild_id": community_of(store),
        "configured_guild_id": settings.guild_id,
        "counts": {
            "talks": sum(1 for _ in store.talks.all()),
            "people": sum(1 for _ in store.people.all()),
            "deliveries": store.ledger.counts(since=LONG_AGO),
        },
    }


@app.command("set-guild", epilog="Example: speakerbot store set-guild 1201234567890123400 --yes")
def set_guild(
    guild: Annotated[str, typer.Argument(metavar="ID", help="A server's Discord id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say which community the store belongs to: runs of any other one are refused."""
    from speakerbot.formats.ids import snowflake
    from speakerbot.runs.community import community_of, hand_over

    try:
        snowflake(guild)
    except ValueError as problem:
        raise UsageError(f"ID: {problem}; copy it with Discord's developer mode on") from problem
    with to_change(dry_run=dry_run) as (store, _):
        before = community_of(store)
        changes = before != guild
        if changes and not dry_run:
            if not yes:
                raise UsageError(
                    f"the store belongs to {_named(before)} ({store.describe()}). What was sent "
                    f"there will count for guild {guild}; add --yes if that is what you mean"
                )
            if not hand_over(store, before, guild):
                raise SpeakerbotError("the store was handed over by somebody else meanwhile")
    if as_json:
        emit_json({"guild_id": guild, "before": before, "changed": changes, "dry_run": dry_run})
    elif not changes:
        say(f"unchanged: the store belongs to guild {guild} already")
    else:
        done = "would belong" if dry_run else "now belongs"
        say(f"the store {done} to guild {guild} (before: {_named(before)})")


@app.command("prune", epilog="Example: speakerbot store prune --older-than 400d --dry-run")
def prune_store(
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_length, metavar="D", help="Default: SPEAKERBOT_KEEP; 30d at least."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forget finished deliveries, runs and answers that are older, and after SPEAKERBOT_KEEP_TEXTS
    the texts of personal messages and what is in inboxes. Runs do so by themselves, once a day."""
    from speakerbot.clock import real_now
    from speakerbot.config import LEAST_KEEP
    from speakerbot.runs.pruning import prune, would_prune

    if older_than is not None and older_than < LEAST_KEEP:
        raise UsageError(
            f"--older-than: at least {LEAST_KEEP.days}d; what is forgotten sooner could be sent "
            "again"
        )
    with to_change(dry_run=dry_run) as (store, settings):
        now, keep = real_now(), older_than or settings.keep
        texts_before = now - min(settings.keep_texts, keep)
        if dry_run:
            pruned = would_prune(store, now - keep, texts_before)
        else:
            pruned = prune(store, now - keep, texts_before, bounded=False)
    numbers = {
        "deliveries": pruned.deliveries,
        "texts": pruned.texts,
        "inbox_messages": pruned.inbox_messages,
        "answers": pruned.answers,
        "runs": pruned.runs,
    }
    if as_json:
        emit_json({**numbers, "older_than": format_duration(keep), "dry_run": dry_run})
        return
    said = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items())
    say(f"{'would forget' if dry_run else 'forgot'} {said} (older than {format_duration(keep)})")


def _named(guild: str | None) -> str:
    return f"guild {guild}" if guild else "no community yet"
