"""One connection to MongoDB: its time limits, its repeats, its errors in our words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import pymongo
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from speakerbot.errors import ConfigError, SpeakerbotError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pymongo.collection import Collection

T = TypeVar("T")
Document = dict[str, Any]

PAGE = 500
PATIENCE = 12.0
"""Seconds that one operation may take in all, its repeats included."""
REFUSED_LOGIN = frozenset({13, 18, 8000})
DUPLICATE_KEY = 11000


class Database:
    """The collections of one database. ``where`` names it for people, without a password.

    Raises errors of ours, and lets DuplicateKeyError and a BulkWriteError of nothing but
    duplicate keys through to the caller.
    """

    def __init__(self, client: pymongo.MongoClient[Document], name: str, where: str) -> None:
        self.where = where
        self._client = client
        self._database = client[name]

    def __getitem__(self, collection: str) -> Collection[Document]:
        return self._database[collection]

    def ask(self, operation: Callable[[], T]) -> T:
        """Runs it, and again whenever the connection broke before the answer.

        Such an operation may have been done all the same, or be done yet: it must be one that
        comes to the same when it is repeated.
        """
        give_up = time.monotonic() + PATIENCE
        try:
            with pymongo.timeout(PATIENCE):
                while True:
                    try:
                        return operation()
                    except AutoReconnect as error:
                        over = isinstance(error, ServerSelectionTimeoutError)
                        if over or time.monotonic() >= give_up:
                            raise
                        time.sleep(0.05)
        except PyMongoError as error:
            if isinstance(error, DuplicateKeyError) or _only_duplicates(error):
                raise
            raise translated(error, self.where) from error

    def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Document]:
        """The documents, all read when this returns. ``options`` are pymongo's."""
        return self.ask(lambda: list(self[collection].find(query, **options)))

    def newest(self, collection: str, query: Mapping[str, Any], by: str) -> Iterator[Document]:
        """In pages, descending by the instant ``by``, which is indexed together with ``_id``."""
        after: list[Document] = []
        while True:
            page = self.find(
                collection, {**query, "$and": after} if after else query,
                sort=[(by, -1), ("_id", -1)], limit=PAGE,
            )  # fmt: skip
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]
            same = {by: last[by], "_id": {"$lt": last["_id"]}}
            after = [{by: {"$lte": last[by]}}, {"$or": [{by: {"$lt": last[by]}}, same]}]

    def replace(self, collection: str, documents: Sequence[Document]) -> None:
        """Inserts or replaces each by ``_id``."""
        operations = [pymongo.ReplaceOne({"_id": d["_id"]}, d, upsert=True) for d in documents]
        if not operations:
            return
        try:
            self.ask(lambda: self[collection].bulk_write(operations, ordered=False))
        except BulkWriteError:
            # Another process inserted one of them between this one's look and its write.
            self.ask(lambda: self[collection].bulk_write(operations, ordered=False))

    def close(self) -> None:
        self._client.close()


def _only_duplicates(error: PyMongoError) -> bool:
    if not isinstance(error, BulkWriteError) or error.details is None:
        return False
    codes = {problem["code"] for problem in error.details["writeErrors"]}
    return codes == {DUPLICATE_KEY} and not error.details["writeConcernErrors"]


def translated(error: PyMongoError, where: str) -> SpeakerbotError:
    """The driver's error in our words."""
    if isinstance(error, OperationFailure) and error.code in REFUSED_LOGIN:
        return ConfigError(
            f"{where}: it refused the user or the password, or the user may not do this. "
            "Check DATABASE_URL (or MONGO_URI) and the user's role."
        )
    looked_up = type(error.__cause__).__module__.startswith("dns.")
    if isinstance(error, ConfigurationError) and not looked_up:
        return ConfigError(f"{where}: {error}. Check DATABASE_URL (or MONGO_URI).")
    reason = str(error).partition(", Timeout:")[0]
    return Unreachable(
        f"{where}: no answer ({reason}). Check DATABASE_URL (or MONGO_URI), the network and "
        "whether the server is up."
    )
