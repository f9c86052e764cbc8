"""Opens the store for a command, and says which one it is where the command changes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import typer

from speakerbot import logs

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.ports.store import Store


@contextmanager
def to_read() -> Iterator[tuple[Store, Settings]]:
    """The store, opened so that nothing in it can change."""
    with _opened(read_only=True) as opened:
        yield opened


@contextmanager
def to_change(*, dry_run: bool) -> Iterator[tuple[Store, Settings]]:
    """The store; on a dry run only to be read. Says on stderr which one it is: a store that is
    not the one somebody thinks of is the commonest mistake."""
    with _opened(read_only=dry_run) as (store, settings):
        if sys.stderr.isatty():
            typer.secho(f"in {store.describe()}", err=True, dim=True)
        else:
            logs.get_logger().info("store_opened", store=store.describe())
        yield store, settings


def all_or_nothing(store: Store, *, dry_run: bool) -> AbstractContextManager[None]:
    """What is read and written inside is one step where the store has transactions; on a dry run
    nothing is written."""
    return nullcontext() if dry_run else store.at_once()


@contextmanager
def _opened(*, read_only: bool) -> Iterator[tuple[Store, Settings]]:
    from speakerbot import bootstrap
    from speakerbot.config import load

    settings = load()
    store = bootstrap.store(settings, read_only=read_only)
    try:
        yield store, settings
    finally:
        store.close()
