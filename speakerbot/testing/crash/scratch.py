"""Stores that last for one schedule: a SQLite file, or a database of its own on a MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from speakerbot.testing.crash.forks import call


@contextmanager
def scratch_store(folder: Path, mongodb: str | None = None) -> Iterator[str]:
    """Its address for ``open_store``. ``mongodb`` names a server; None: a file in ``folder``."""
    name = f"speakerbot_crash_{uuid4().hex}"
    if mongodb is None:
        yield f"sqlite:///{folder / name}.db"
        for file in folder.glob(f"{name}.db*"):
            file.unlink()
        return
    url = urlunsplit(urlsplit(mongodb)._replace(path=f"/{name}"))
    yield url
    call(lambda: _drop(url, name), folder / "drop.log")


def _drop(url: str, name: str) -> None:
    from pymongo import MongoClient

    client: MongoClient[dict[str, object]] = MongoClient(url)
    client.drop_database(name)
    client.close()
