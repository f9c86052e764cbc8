"""Opens the store for a command, and says which one it is where the command changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.ports import Store


@contextmanager
def to_read() -> Iterator[tuple[Store, Settings]]:
    """The store, opened so that nothing in it can change."""
    with _opened(read_only=True) as opened:
        yield opened


@contextmanager
def to_change(*, dry_run: bool) -> Iterator[tuple[Store, Settings]]:
    """The store; on a dry run only to be read. The log names it."""
    with _opened(read_only=dry_run) as (store, settings):
        from speakerbot import logs

        logs.get_logger().info("store_opened", store=store.describe())
        yield store, settings


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
