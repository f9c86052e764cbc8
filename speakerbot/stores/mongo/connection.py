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
"""Seconds that one operation may take in all, its repeats included; ``timeoutMS`` in the address
says otherwise."""
REFUSED_LOGIN = frozenset({13, 18, 8000})
OTHER_INDEX = frozenset({85, 86})
DUPLICATE_KEY = 11000

Write = pymongo.ReplaceOne[Document] | pymongo.DeleteOne


class Database:
    """The collections of one database. ``where`` names it for people, without a password.

    Raises errors of ours, and lets DuplicateKeyError and a BulkWriteError of nothing but
    duplicate keys through to the caller.
    """

    def __init__(
        self,
        client: pymongo.MongoClient[Document],
        name: str,
        where: str,
        patience: float = PATIENCE,
    ) -> None:
        self.where = where
        self._patience = patience
        self._client = client
        self._database = client[name]

    def __getitem__(self, collection: str) -> Collection[Document]:
        return self._database[collection]

    def ask(self, operation: Callable[[], T]) -> T:
        """Runs it, and again whenever the connection broke before the answer.

        Such an operation may have been done all the same, or be done yet: it must be one that
        comes to the same when it is repeated.
        """
        give_up = time.monotonic() + self._patience
        try:
            with pymongo.timeout(self._patience):
                while True:
                    try:
                        return operation()
                    except AutoReconnect as error:
                        over = isinstance(error, ServerSelectionTimeoutError)
                        if over or time.monotonic() >= give_up:
                            raise
                        time.sleep(0.05)
        except PyMongoError as error:
            if isinstance(error, DuplicateKeyError) or only_duplicates(error):
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

    def write_all(self, collection: str, operations: Sequence[Write]) -> None:
        """Upserts and deletions by ``_id``, in any order."""
        for last_try in (False, True) if operations else ():
            try:
                self.ask(lambda: self[collection].bulk_write(operations, ordered=False))
            except BulkWriteError:
                # Another process inserted one of them between this one's look and its write.
                if last_try:
                    raise
            else:
                return

    def close(self) -> None:
        self._client.close()


def replacement(document: Document) -> pymongo.ReplaceOne[Document]:
    """Inserts it, or replaces the one with its ``_id``."""
    return pymongo.ReplaceOne({"_id": document["_id"]}, document, upsert=True)


def only_duplicates(error: PyMongoError) -> bool:
    """Whether a batch failed only in that some of its keys were there already."""
    if not isinstance(error, BulkWriteError) or error.details is None:
        return False
    codes = {problem["code"] for problem in error.details["writeErrors"]}
    return codes == {DUPLICATE_KEY} and not error.details["writeConcernErrors"]


def translated(error: PyMongoError, where: str) -> SpeakerbotError:
    """The driver's error in our words."""
    setting = "DATABASE_URL (or MONGO_URI)"
    reason = str(error).partition(", Timeout:")[0].partition(", full error:")[0]
    looked_up = type(error.__cause__).__module__.startswith("dns.")
    if isinstance(error, ConfigurationError) and not looked_up:
        return ConfigError(f"{where}: {reason}. Check {setting}.")
    code = error.code if isinstance(error, OperationFailure) else None
    if code in REFUSED_LOGIN:
        return ConfigError(
            f"{where}: it refused the user, the password or the right to do this ({reason}). "
            f"Check {setting} and the user's role."
        )
    if code in OTHER_INDEX:
        return ConfigError(f"{where}: an index stands in the way ({reason}). Drop that index.")
    if code is not None:
        return Unreachable(f"{where}: refused a request ({reason}). Run again; look at its logs.")
    return Unreachable(
        f"{where}: no answer ({reason}). Check {setting}, the network, and that the server is up."
    )
