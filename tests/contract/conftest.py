"""Every store behind the port, so that each promise is tested on all of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import mongomock
import mongomock.collection
import pytest
from pymongo import MongoClient

from speakerbot.stores import open_store
from speakerbot.stores.mongo import MongoStore
from speakerbot.stores.mongo.connection import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from speakerbot.ports.store import Store

ON_SERVER = pytest.param("mongodb", marks=pytest.mark.mongodb_server)


@pytest.fixture(params=("sqlite-file", "sqlite-memory", "mongomock", ON_SERVER))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty, prepared store of each kind."""
    match request.param:
        case "sqlite-file":
            opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
        case "sqlite-memory":
            opened = open_store("sqlite:///:memory:")
        case "mongomock":
            opened = _in_process(request.getfixturevalue("mongomock_client"))
        case _:
            opened = open_store(request.getfixturevalue("server_url"))
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture(params=("sqlite-memory", "mongomock", ON_SERVER))
def several(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty, prepared store of each kind in which a date may hold several talks."""
    match request.param:
        case "sqlite-memory":
            opened = open_store("sqlite:///:memory:")
        case "mongomock":
            client = request.getfixturevalue("mongomock_client")
            opened = _in_process(client, one_talk_a_date=False)
        case _:
            opened = open_store(request.getfixturevalue("server_url"), beside_node_bot=False)
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture(params=("mongomock", ON_SERVER))
def beside_node_bot(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty, prepared store of each kind in which a date holds one talk."""
    if request.param == "mongomock":
        opened = _in_process(request.getfixturevalue("mongomock_client"))
    else:
        opened = open_store(request.getfixturevalue("server_url"))
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture(params=("mongomock", ON_SERVER))
def documents(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The database behind ``mongo``, to put documents there as others would, and to see ours."""
    if request.param == "mongomock":
        yield request.getfixturevalue("mongomock_client")["store"]
        return
    url = request.getfixturevalue("server_url")
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def mongo(documents: Any) -> Store:
    """A store of the kinds that speak MongoDB, not prepared; its documents: ``documents``."""
    return MongoStore(Database(documents.client, documents.name, f"MongoDB {documents.name}"))


@pytest.fixture
def server_url() -> Iterator[str]:
    """The address of a database of this test's own on a server, dropped after it."""
    server = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
    if not server:
        pytest.skip("SPEAKERBOT_TEST_MONGODB_URI names no MongoDB server")
    name = f"speakerbot_test_{uuid4().hex}"
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with MongoClient[dict[str, Any]](server) as client:
        client.drop_database(name)


@pytest.fixture
def mongomock_client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(mongomock.collection, "BulkOperationBuilder", _Bulk)
    return mongomock.MongoClient(tz_aware=True)


class _Bulk(mongomock.collection.BulkOperationBuilder):
    """Takes the ``sort`` that newer drivers hand over, and mongomock does not know."""

    def add_update(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("sort", None)
        super().add_update(*args, **kwargs)  # type: ignore[no-untyped-call]

    def add_replace(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("sort", None)
        super().add_replace(*args, **kwargs)  # type: ignore[no-untyped-call]


def _in_process(client: Any, *, one_talk_a_date: bool = True) -> Store:
    where = "MongoDB in process, database store"
    return MongoStore(Database(client, "store", where, one_talk_a_date=one_talk_a_date))
