"""Opening a store in MongoDB: what is said about an address or a server that is no use."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from datetime import date
from typing import Any

import pytest
from pymongo import MongoClient

from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError, StoreTooNew, Unreachable
from speakerbot.stores import open_store
from speakerbot.stores.mongo.connection import PATIENCE

TALK = Talk("a", "1", "ada", "topic", date(2026, 11, 20))


def test_a_newer_programs_database_is_refused(mongo: Any, documents: Any) -> None:
    mongo.prepare()
    documents.speakerbot_meta.update_one({"_id": "schema"}, {"$set": {"version": 99}})
    for ask in (mongo.check, mongo.prepare):
        with pytest.raises(StoreTooNew, match=r"version 99.*Update"):
            ask()


def test_a_database_that_is_not_prepared_is_an_empty_store(mongo: Any, documents: Any) -> None:
    mongo.check()
    assert list(mongo.talks.all()) == list(mongo.ledger.list()) == []
    assert documents.list_collection_names() == []


def test_by_default_a_server_gets_less_than_15_seconds_to_answer() -> None:
    assert PATIENCE + 2 < 15


@pytest.mark.parametrize("listening", [False, True])
def test_a_server_that_does_not_answer_is_named_without_the_password_in_time(
    listening: bool,
) -> None:
    """Nobody there, or somebody who takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1] if listening else 9}"
        url = f"mongodb://me:s3cret@{host}/bot?appName=a%40b&timeoutMS=1000"
        began = time.monotonic()
        with closing(open_store(url)) as store:
            assert store.describe() == f"MongoDB {host}, database bot"
            with pytest.raises(Unreachable, match=host) as caught:
                store.prepare()
        assert 1 <= time.monotonic() - began < 3
    assert caught.value.exit_code == 69
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://me:p@ss/w0rd@host/db",
        "mongodb://me:p:w0rd@host/db",
        "mongodb://me@host:p0rt/db",
        "mongodb+srv://me:w0rd@host:27017/db",
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"DATABASE_URL.*percent-encoded") as caught:
        open_store(url)
    assert "w0rd" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_a_database_in_the_address_it_is_mongooses() -> None:
    with closing(open_store("mongodb://127.0.0.1:9")) as store:
        assert store.describe() == "MongoDB 127.0.0.1:9, database test"


@pytest.mark.mongodb_server
def test_what_is_written_is_in_the_database_that_the_address_names(server_url: str) -> None:
    with closing(open_store(server_url)) as store:
        store.prepare()
        store.prepare()
        store.talks.put([TALK])
    with MongoClient[dict[str, Any]](server_url) as client:
        assert client.get_default_database().scheduledspeakers.count_documents({}) == 1
