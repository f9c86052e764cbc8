"""One connection to MongoDB: its time limits, its repeats, its errors in our words."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pymongo
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from speakerbot.errors import ConfigError, SpeakerbotError, Unreachable
from speakerbot.stores.reading import LAST_INSTANT, Damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pymongo.collection import Collection
    from pymongo.topology_description import TopologyDescription

T = TypeVar("T")
Document = dict[str, Any]

PAGE = 500
BATCH = 5000
"""Documents that one answer may hold: by default the first holds 101, the rest takes another."""
PATIENCE = 12.0
"""Seconds that one operation may take in all, its repeats included; ``timeoutMS`` in the address
says otherwise."""
REFUSED_PATIENCE = 3.0
"""Seconds for a server that has never answered and refuses the connection. One that did answer is
waited for as long as any other."""
REFUSED_LOGIN = frozenset({13, 18, 8000})
OTHER_INDEX = frozenset({85, 86})
DUPLICATE_KEY = 11000

Write = pymongo.ReplaceOne[Document] | pymongo.UpdateOne | pymongo.DeleteOne


class Database:
    """The collections of one database. ``where`` names it for people, without a password;
    ``one_talk_a_date``: the Node bot works on it too, and a date holds one talk.

    Raises our errors, and lets DuplicateKeyError and a BulkWriteError of nothing but
    duplicate keys through to the caller.
    """

    def __init__(
        self,
        client: pymongo.MongoClient[Document],
        name: str,
        where: str,
        patience: float = PATIENCE,
        *,
        one_talk_a_date: bool = True,
    ) -> None:
        self.name = name
        self.where = where
        self.one_talk_a_date = one_talk_a_date
        self.damage = Damage()
        self._patience = patience
        self._answered = False
        self._client = client
        self._database = client[name]

    def __getitem__(self, collection: str) -> Collection[Document]:
        return self._database[collection]

    def server_time(self) -> datetime | None:
        """By the server's own clock, aware, in UTC; None where it does not tell."""
        answer = self.ask(lambda: self._client.admin.command("isMaster"))
        there = answer.get("localTime")
        return there.replace(tzinfo=UTC) if isinstance(there, datetime) else None

    def ask(self, operation: Callable[[], T]) -> T:
        """Runs it, and again whenever the connection broke before the answer.

        Such an operation may have been done all the same, or be done yet: it must be one that
        comes to the same when it is repeated.
        """
        give_up = time.monotonic() + self._patience
        patience = self._patience if self._answered else min(self._patience, REFUSED_PATIENCE)
        while True:
            try:
                with pymongo.timeout(patience):
                    answer = operation()
            except PyMongoError as error:
                if isinstance(error, DuplicateKeyError) or only_duplicates(error):
                    self._answered = True
                    raise
                if not self._worth_repeating(error, give_up):
                    raise translated(error, self.where) from error
                time.sleep(0.05)
                patience = give_up - time.monotonic()
            else:
                self._answered = True
                return answer

    def _worth_repeating(self, error: PyMongoError, give_up: float) -> bool:
        passing = isinstance(error, AutoReconnect) or error.timeout
        if not passing or time.monotonic() >= give_up - 0.1:
            return False
        refused = isinstance(error, ServerSelectionTimeoutError) and _refusing(
            self._client.topology_description
        )
        return self._answered or not refused

    def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Document]:
        """The documents, all read when this returns, in one round trip. ``options`` are
        pymongo's."""
        # One more than the limit: a batch that is just full leaves a cursor open on the server.
        options.setdefault("batch_size", options["limit"] + 1 if "limit" in options else BATCH)
        return self.ask(lambda: list(self[collection].find(query, **options)))

    def in_pages(
        self,
        collection: str,
        query: Document,
        change: Callable[[Document], object],
        limit: int | None,
        by: str = "updated_at",
    ) -> int:
        """Changes the documents of a query, the oldest first, a page at a time, until it finds
        none, or as many as allowed; returns how many. ``change`` may be repeated."""
        done, order = 0, [(by, 1), ("_id", 1)]
        while limit is None or done < limit:
            size = PAGE if limit is None else min(PAGE, limit - done)
            page = self.find(collection, query, projection=["_id"], sort=order, limit=size)
            if page:
                chosen = {**query, "_id": {"$in": [each["_id"] for each in page]}}
                self.ask(partial(change, chosen))
            done += len(page)
            if len(page) < size:
                break
        return done

    def newest(self, collection: str, query: Mapping[str, Any], by: str) -> Iterator[Document]:
        """In pages, descending by the instant ``by``, which is indexed together with ``_id``."""
        # Any other type would be compared with nothing but its like, and end the walk.
        dated: Document = {by: {"$lt": LAST_INSTANT, "$not": {"$type": "array"}}}
        after: list[Document] = []
        while True:
            page = self.find(
                collection, {**query, **dated, **({"$and": after} if after else {})},
                sort=[(by, -1), ("_id", -1)], limit=PAGE,
            )  # fmt: skip
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]
            same = {by: last[by], "_id": {"$lt": last["_id"]}}
            after = [{by: {"$lte": last[by]}}, {"$or": [{by: {"$lt": last[by]}}, same]}]

    def oldest(
        self, collection: str, query: Mapping[str, Any], by: str, until: datetime
    ) -> Iterator[Document]:
        """In pages, ascending by the instant ``by`` up to ``until`` (included), which is indexed
        together with ``_id``."""
        within: Document = {by: {"$lte": until, "$not": {"$type": "array"}}}
        after: list[Document] = []
        while True:
            page = self.find(
                collection, {**query, **within, **({"$or": after} if after else {})},
                sort=[(by, 1), ("_id", 1)], limit=PAGE,
            )  # fmt: skip
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]
            after = [{by: {"$gt": last[by]}}, {by: last[by], "_id": {"$gt": last["_id"]}}]

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


def ids_as_stored(ids: Sequence[str]) -> list[str | int]:
    """Discord ids as texts, and as the numbers that people's hands make of them."""
    numbers = [each for each in ids if each.isascii() and each.isdigit() and len(each) < 19]
    return [*ids, *map(int, numbers)]


def replacement(document: Document) -> pymongo.ReplaceOne[Document]:
    """Inserts it, or replaces the one with its ``_id``."""
    return pymongo.ReplaceOne({"_id": document["_id"]}, document, upsert=True)


def only_duplicates(error: PyMongoError) -> bool:
    """Whether a batch failed only in that some of its keys were there already."""
    if not isinstance(error, BulkWriteError) or error.details is None:
        return False
    codes = {problem["code"] for problem in error.details["writeErrors"]}
    return codes == {DUPLICATE_KEY} and not error.details["writeConcernErrors"]


def _refusing(topology: TopologyDescription) -> bool:
    """Whether all servers of the address refuse connections, or have names that do not resolve."""
    errors = [server.error for server in topology.server_descriptions().values()]
    return all(
        isinstance(error, AutoReconnect) and not isinstance(error, NetworkTimeout)
        for error in errors
    )


def _reason(error: PyMongoError) -> tuple[str, int | None]:
    """What the server or the driver says, and the server's code for it."""
    if isinstance(error, BulkWriteError) and error.details is not None:
        found = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        # A key that was there already is seldom what went wrong: callers expect that.
        found.sort(key=lambda each: each["code"] == DUPLICATE_KEY)
        if found:
            return f"{found[0]['errmsg']}, code {found[0]['code']}", found[0]["code"]
    reason = re.split(", Timeout:|, full error:| \\(configured timeouts:", str(error))[0]
    if isinstance(error, OperationFailure) and error.code is not None:
        return f"{reason}, code {error.code}", error.code
    return reason, None


def translated(error: PyMongoError, where: str) -> SpeakerbotError:
    """The driver's error in our words."""
    setting = "DATABASE_URL (or MONGO_URI)"
    reason, code = _reason(error)
    looked_up = type(error.__cause__).__module__.startswith("dns.")
    if isinstance(error, ConfigurationError) and not looked_up:
        return ConfigError(f"{where}: {reason}. Check {setting}.")
    if code in REFUSED_LOGIN:
        return ConfigError(
            f"{where}: it refused the user, the password or the right to do this ({reason}). "
            f"Check {setting} and the user's role."
        )
    if code in OTHER_INDEX:
        return ConfigError(f"{where}: an index stands in the way ({reason}). Drop that index.")
    if isinstance(error, OperationFailure):
        return Unreachable(f"{where}: refused a request ({reason}). Run again; look at its logs.")
    return Unreachable(
        f"{where}: no answer ({reason}). Check {setting}, the network, and that the server is up."
    )
