"""Opening a store in MongoDB: what is said about an address or a server that is no use."""

from __future__ import annotations

import socket
import sys
import time
import warnings
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import MongoClient, UpdateOne
from pymongo.errors import BulkWriteError
from structlog.testing import capture_logs

from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError, StoreCorrupt, StoreTooNew, Unreachable
from speakerbot.stores import open_store
from speakerbot.stores.mongo.connection import PATIENCE, Database

LOOKED_UP: list[object] = []
"""What this process asked the network for."""
TALK = Talk("a", "1", "ada", "topic", date(2026, 11, 20))


@pytest.fixture(scope="module", autouse=True)
def _watch_the_network() -> None:
    sys.addaudithook(_note)  # there is no way to take it away again


def _note(event: str, arguments: object) -> None:
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto"):
        LOOKED_UP.append(arguments)


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
        "mongodb://me:p@ss@127.0.0.1/db",
        "mongodb://me:p@ss/w0rd@127.0.0.1/db",
        "mongodb://me:12/w0rd@127.0.0.1/db",
        "mongodb://me:12?w0rd@127.0.0.1/db",
        "mongodb://me:12?w0rd=1@127.0.0.1/db",
        "mongodb://me:/w0rd@127.0.0.1/db?tls=true",
        "mongodb://me:w0rd%@127.0.0.1/db",
        "mongodb://m:e:w0rd@127.0.0.1/db",
        "mongodb+srv://me:p/w0rd@cluster.example.net/db",
        "mongodb+srv://me:p?w0rd@cluster.example.net/db",
        "mongodb+srv://me:p@w0rd@cluster.example.net/db",
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_repeating_it(url: str) -> None:
    LOOKED_UP.clear()
    with pytest.raises(ConfigError, match=r"DATABASE_URL.*percent-encoded.*%40") as caught:
        open_store(url)
    assert caught.value.exit_code == 78
    assert "w0rd" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert LOOKED_UP == []


@pytest.mark.parametrize(
    "login", ["", "me:w0rd@", "me%40home:p%40s%2Fs%3A%3Fw0rd@", "me:p#w,0$rd@"]
)
@pytest.mark.parametrize("hosts", ["host", "host:27018", "a:1,b:2,c", "[::1]:27017"])
@pytest.mark.parametrize("rest", ["", "/", "/db", "/db?appName=a%40b", "?appName=a", "/?tls=true"])
def test_addresses_that_make_sense_are_taken(login: str, hosts: str, rest: str) -> None:
    with closing(open_store(f"mongodb://{login}{hosts}{rest}")) as store:
        name = "db" if "db" in rest else "test"
        assert store.describe() == f"MongoDB {hosts}, database {name}"


def test_what_is_not_a_scheme_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("me:s3cret://@host/db")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["tlsCAFile", "tlsCertificateKeyFile", "tlscafile", "tlsCRLFile"]
)
@pytest.mark.parametrize("kind", ["missing", "folder", "not PEM"])
def test_a_file_of_tls_that_cannot_be_used_is_named_with_its_setting(
    tmp_path: Path, setting: str, kind: str
) -> None:
    path = tmp_path / "some file.pem"
    if kind == "folder":
        path.mkdir()
    elif kind == "not PEM":
        path.write_text("hello")
    url = f"mongodb://me:s3cret@127.0.0.1:9/db?tls=true&{setting}={quote(str(path))}"
    with pytest.raises(
        ConfigError, match=rf"DATABASE_URL.*(?i:{setting}).*some file\.pem"
    ) as caught:
        open_store(url)
    assert caught.value.exit_code == 78
    assert "s3cret" not in str(caught.value)


def test_what_the_driver_warns_of_is_a_line_of_ours() -> None:
    with warnings.catch_warnings(), capture_logs() as lines:
        warnings.simplefilter("error")
        url = "mongodb://me:s3cret@a.cosmos.azure.com:9/db?colour=red&maxPoolSize=many"
        open_store(url).close()
    assert [line["event"] for line in lines] == ["library_warned"] * 3
    said = " ".join(line["message"] for line in lines)
    assert all(word in said for word in ("colour", "maxpoolsize", "CosmosDB"))
    assert "s3cret" not in said


@pytest.mark.slow
def test_a_port_that_refuses_is_reported_after_3_seconds() -> None:
    """It is not there, and nothing says that it will be; 12 seconds was too long to wait."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    began = time.monotonic()
    refused = pytest.raises(Unreachable, match=f"{host}.*refused")
    with closing(open_store(f"mongodb://{host}/bot")) as store, refused:
        store.prepare()
    assert 2.5 <= time.monotonic() - began < 5


WRITE_ERROR = {"index": 0, "code": 121, "errmsg": "Document failed validation"}
CONCERN = {"code": 64, "errmsg": "waiting for replication timed out"}


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"writeErrors": [WRITE_ERROR], "writeConcernErrors": []}, "Document failed.*code 121"),
        ({"writeErrors": [], "writeConcernErrors": [CONCERN]}, "replication timed out.*code 64"),
        (
            {
                "writeErrors": [{**WRITE_ERROR, "code": 11000, "errmsg": "E11000 duplicate"}],
                "writeConcernErrors": [CONCERN],
            },
            "replication timed out.*code 64",
        ),
    ],
)
def test_an_error_inside_a_bulk_write_keeps_its_reason_and_its_code(
    mongomock_client: Any, details: dict[str, Any], reason: str
) -> None:
    refused = BulkWriteError(details)

    def write() -> None:
        raise refused

    with pytest.raises(Unreachable, match=f"MongoDB x.*{reason}") as caught:
        Database(mongomock_client, "store", "MongoDB x").ask(write)
    assert caught.value.__cause__ is refused
    assert "batch op errors" not in str(caught.value)


def test_a_right_that_is_missing_inside_a_bulk_write_is_a_wrong_setting(
    mongomock_client: Any,
) -> None:
    missing = {"index": 0, "code": 13, "errmsg": "not authorized on bot"}

    def write() -> None:
        raise BulkWriteError({"writeErrors": [missing], "writeConcernErrors": []})

    with pytest.raises(ConfigError, match=r"not authorized on bot.*role"):
        Database(mongomock_client, "store", "MongoDB x").ask(write)


@pytest.mark.mongodb_server
def test_what_a_server_refuses_of_a_bulk_write_is_said(server_url: str) -> None:
    with MongoClient[dict[str, Any]](server_url) as client:
        name = client.get_default_database().name
        database = Database(client, name, "MongoDB x")
        client[name].things.insert_one({"_id": 1, "a": "text"})
        inside = UpdateOne({"_id": 1}, {"$set": {"a.b": 1}})
        with pytest.raises(Unreachable, match=r"MongoDB x: refused.*'?b'?.*code \d+"):
            database.ask(lambda: client[name].things.bulk_write([inside]))


@pytest.mark.parametrize("version", ["one", None, 1.5, {}])
def test_a_version_that_cannot_be_read_is_said(mongo: Any, documents: Any, version: Any) -> None:
    documents.speakerbot_meta.insert_one({"_id": "schema", "version": version})
    with pytest.raises(StoreCorrupt, match="version of its schema cannot be read"):
        mongo.prepare()


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
