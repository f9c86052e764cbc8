"""Where everything is kept: SQLite by default, MongoDB where the Node bot lives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError

if TYPE_CHECKING:
    from speakerbot.ports.store import Store

KINDS = "sqlite:///path (four slashes: absolute), mongodb://host/database, mongodb+srv://…"


def open_store(
    url: str,
    *,
    read_only: bool = False,
    lock_timeout: float = 30.0,
    beside_node_bot: bool = True,
) -> Store:
    """The store at ``url``, its driver imported only now.

    - ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite:///:memory:``: the file and
      its folder are made if missing, readable by their owner only. ``lock_timeout`` is how many
      seconds to wait for another process before StoreLocked.
    - ``mongodb://…/database``, ``mongodb+srv://…/database``: without a database in the address it
      is ``test``, as mongoose has it. Connects on first use. ``beside_node_bot``: the Node bot
      works on it too, whose index allows one talk a date.

    ``read_only`` creates and changes nothing: a missing file is an empty store in memory.
    Raises ConfigError, StoreCorrupt or StoreLocked; call ``prepare`` (or ``check``) next.
    """
    check_address(url)
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from speakerbot.stores.sqlite import open_sqlite

        location = rest.removeprefix("/")
        path = None if location == ":memory:" else Path(location)
        return open_sqlite(path, read_only=read_only, lock_timeout=lock_timeout)
    from speakerbot.stores.mongo import open_mongo

    return open_mongo(url, one_talk_a_date=beside_node_bot)


def check_address(url: str) -> None:
    """Raises ConfigError where no store can be at such an address; nothing is opened."""
    scheme, found, rest = url.partition("://")
    if found and scheme == "sqlite":
        if not rest.removeprefix("/"):
            raise ConfigError(f"DATABASE_URL: {url} names no file. Give sqlite:///path.")
        return
    if found and scheme in ("mongodb", "mongodb+srv"):
        from speakerbot.stores.mongo import hosts_of

        hosts_of(url)
        return
    # What is not a scheme may be a piece of a password.
    kind = f"{scheme}://" if found and re.fullmatch(r"[A-Za-z][A-Za-z0-9+]*", scheme) else "no kind"
    raise ConfigError(f"DATABASE_URL: {kind} is not a store known here. Known: {KINDS}.")
