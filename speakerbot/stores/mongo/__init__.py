"""The store the Node bot uses too: MongoDB, through pymongo."""

from __future__ import annotations

import re
import ssl
import warnings
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from speakerbot.clock import real_now
from speakerbot.errors import ConfigError
from speakerbot.logs import get_logger
from speakerbot.stores.mongo import schema
from speakerbot.stores.mongo.calendar import MongoCalendar, MongoServerEvents
from speakerbot.stores.mongo.community import MongoGuilds, MongoMarks
from speakerbot.stores.mongo.connection import PATIENCE, Database, Document, translated
from speakerbot.stores.mongo.ledger import MongoLedger
from speakerbot.stores.mongo.limits import MongoLimits
from speakerbot.stores.mongo.people import MongoAnswers, MongoInbox, MongoPeople
from speakerbot.stores.mongo.runs import MongoOccurrences, MongoRuns
from speakerbot.stores.mongo.snapshots import MongoSnapshots
from speakerbot.stores.mongo.talks import MongoTalks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from speakerbot.ports.store import (
        Calendar,
        Guilds,
        Inbox,
        Ledger,
        Limits,
        Marks,
        Occurrences,
        People,
        Runs,
        ServerEvents,
        Snapshots,
        SpeakerAnswers,
        Talks,
    )


NO_ADDRESS = (
    "DATABASE_URL (or MONGO_URI) is not an address of MongoDB: expected "
    "mongodb://user:password@host:27017/database. Special characters in the user and the "
    "password must be percent-encoded (@ is %40, / is %2F, : is %3A, ? is %3F)."
)


class MongoStore:
    """``ports.Store`` on one database; any number of threads may use it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.talks: Talks = MongoTalks(db)
        self.people: People = MongoPeople(db)
        self.ledger: Ledger = MongoLedger(db)
        self.inbox: Inbox = MongoInbox(db)
        self.answers: SpeakerAnswers = MongoAnswers(db)
        self.runs: Runs = MongoRuns(db)
        self.occurrences: Occurrences = MongoOccurrences(db)
        self.snapshots: Snapshots = MongoSnapshots(db)
        self.calendar: Calendar = MongoCalendar(db)
        self.server_events: ServerEvents = MongoServerEvents(db)
        self.limits: Limits = MongoLimits(db)
        self.guilds: Guilds = MongoGuilds(db)
        self.marks: Marks = MongoMarks(db)

    def prepare(self) -> None:
        schema.migrate(self._db)

    def check(self) -> None:
        schema.stored_version(self._db)

    def schema_version(self) -> int:
        return schema.stored_version(self._db)

    def at_once(self) -> AbstractContextManager[None]:
        # Transactions need a replica set, and many a bot's MongoDB is a single server.
        return nullcontext()

    def version(self) -> None:
        return None

    def clock_error(self) -> timedelta:
        there = self._db.server_time()
        return real_now() - there if there else timedelta()

    def describe(self) -> str:
        return self._db.where

    def close(self) -> None:
        self._db.close()


def open_mongo(url: str, *, one_talk_a_date: bool = True) -> MongoStore:
    """The store at ``url``. See ``open_store``."""
    hosts = hosts_of(url)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        client = _client(url, hosts)
        name = client.get_default_database("test").name
    for warning in said:
        get_logger().warning("library_warned", library="pymongo", message=str(warning.message))
    where = f"MongoDB {hosts}, database {name}"
    patience = client.options.timeout or PATIENCE
    return MongoStore(Database(client, name, where, patience, one_talk_a_date=one_talk_a_date))


def _client(url: str, hosts: str) -> MongoClient[Document]:
    try:
        return MongoClient(
            url,
            tz_aware=True,
            # A date that Python cannot hold, or half a character, must not make a whole document
            # unreadable.
            datetime_conversion="DATETIME_AUTO",
            unicode_decode_error_handler="replace",
            connectTimeoutMS=int(PATIENCE * 1000),
            # Whatever the address says: a claim that a failover or a crash of the server undoes,
            # or that is read back from a copy that lags, would send a message twice.
            w="majority",
            journal=True,
            readPreference="primary",
            # retryWrites stays the driver's default: it retries where the server has sessions, and
            # does without on a single server. There Database.ask repeats.
        )
    except (PyMongoError, OSError, ValueError, TypeError) as error:
        if unusable := _unusable_file(url):
            raise unusable from error
        if isinstance(error, PyMongoError) and type(error.__cause__).__module__.startswith("dns."):
            raise translated(error, f"MongoDB {hosts}") from error
        raise ConfigError(NO_ADDRESS) from None  # its text may hold pieces of the password


def hosts_of(url: str) -> str:
    """The host part of an address. Raises ConfigError, before any of it is looked up, where special
    characters in the password make it doubtful which part that is."""
    authority, rest = _split(url)
    login, _, hosts = authority.rpartition("@")
    if "@" in rest or "@" in login or login.count(":") > 1 or not hosts:
        raise ConfigError(NO_ADDRESS)
    return hosts


def _split(url: str) -> tuple[str, str]:
    """What stands before the first slash or question mark after the scheme, and from there on."""
    authority, rest = re.split(r"(?=[/?]|$)", url.partition("://")[2], maxsplit=1)
    return authority, rest


def _unusable_file(url: str) -> ConfigError | None:
    """The error that names the first file of TLS in the address that cannot be used."""
    query = _split(url)[1].partition("?")[2]
    options = {name.lower(): value for name, value in parse_qsl(query)}
    for setting in ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"):
        if file := options.get(setting.lower()):
            try:
                _load(setting, file, options.get("tlscertificatekeyfilepassword", ""))
            except OSError as error:  # those of ssl too
                return ConfigError(
                    f"DATABASE_URL (or MONGO_URI): {setting} names {file}, which cannot be used "
                    f"({error.strerror or error}). Check that file and its permissions."
                )
    return None


def _load(setting: str, file: str, password: str) -> None:
    Path(file).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if setting == "tlsCertificateKeyFile":
        context.load_cert_chain(file, password=lambda: password)  # else it would ask the terminal
    else:
        context.load_verify_locations(file)
