"""The store the Node bot uses too: MongoDB, through pymongo."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from speakerbot.errors import ConfigError
from speakerbot.stores.mongo import schema
from speakerbot.stores.mongo.calendar import MongoCalendar
from speakerbot.stores.mongo.connection import PATIENCE, Database, Document, translated
from speakerbot.stores.mongo.guilds import MongoGuilds
from speakerbot.stores.mongo.ledger import MongoLedger
from speakerbot.stores.mongo.limits import MongoLimits
from speakerbot.stores.mongo.occurrences import MongoOccurrences
from speakerbot.stores.mongo.people import MongoPeople
from speakerbot.stores.mongo.runs import MongoRuns
from speakerbot.stores.mongo.snapshots import MongoSnapshots
from speakerbot.stores.mongo.talks import MongoTalks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from speakerbot.ports.store import (
        Calendar,
        Guilds,
        Ledger,
        Limits,
        Occurrences,
        People,
        Runs,
        Snapshots,
        Talks,
    )


class MongoStore:
    """``ports.Store`` on one database; any number of threads may use it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.talks: Talks = MongoTalks(db)
        self.people: People = MongoPeople(db)
        self.ledger: Ledger = MongoLedger(db)
        self.runs: Runs = MongoRuns(db)
        self.occurrences: Occurrences = MongoOccurrences(db)
        self.snapshots: Snapshots = MongoSnapshots(db)
        self.calendar: Calendar = MongoCalendar(db)
        self.limits: Limits = MongoLimits(db)
        self.guilds: Guilds = MongoGuilds(db)

    def prepare(self) -> None:
        schema.migrate(self._db)

    def check(self) -> None:
        schema.stored_version(self._db)

    def at_once(self) -> AbstractContextManager[None]:
        # Transactions need a replica set, and many a bot's MongoDB is a single server.
        return nullcontext()

    def describe(self) -> str:
        return self._db.where

    def close(self) -> None:
        self._db.close()


def open_mongo(url: str) -> MongoStore:
    """The store at ``url``. See ``open_store``."""
    try:
        client: MongoClient[Document] = MongoClient(
            url,
            tz_aware=True,
            # A date that Python cannot hold must not make a whole document unreadable.
            datetime_conversion="DATETIME_AUTO",
            connectTimeoutMS=int(PATIENCE * 1000),
            # Whatever the address says: a claim that a failover or a crash of the server undoes,
            # or that is read back from a copy that lags, would send a message twice.
            w="majority",
            journal=True,
            readPreference="primary",
            # retryWrites stays the driver's default: it retries where the server has sessions, and
            # does without on a single server. There Database.ask repeats.
        )
    except (PyMongoError, ValueError, TypeError) as error:
        raise _refused(url, error) from None  # its text may hold pieces of the password
    name = client.get_default_database("test").name
    where = f"MongoDB {_hosts(url)}, database {name}"
    return MongoStore(Database(client, name, where, client.options.timeout or PATIENCE))


def _refused(url: str, error: Exception) -> Exception:
    if isinstance(error, PyMongoError) and type(error.__cause__).__module__.startswith("dns."):
        return translated(error, f"MongoDB {_hosts(url)}")
    return ConfigError(
        "DATABASE_URL (or MONGO_URI) is not an address of MongoDB: expected "
        "mongodb://user:password@host:27017/database. Special characters in the user and the "
        "password must be percent-encoded (@ is %40, / is %2F, : is %3A)."
    )


def _hosts(url: str) -> str:
    """The host part of an address that the driver has taken, so that no @ or / is left in the
    password."""
    authority = url.partition("://")[2].partition("?")[0].partition("/")[0]
    return authority.rpartition("@")[2]
