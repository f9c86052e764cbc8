"""What the core asks of a store, in the domain's words. Adapters live in ``stores/``.

Every instant that crosses these ports is aware and in UTC, cut to milliseconds. Adapters raise
only errors of :mod:`speakerbot.errors`: ``Unreachable``, ``StoreLocked``, ``StoreCorrupt``,
``StoreTooNew``, ``DateTaken``, and ``ConfigError`` where a setting, a login or a permission is
wrong. A store is for one thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import date, datetime, timedelta

    from speakerbot.domain.calendar_entry import CalendarEntry
    from speakerbot.domain.confirmation import Answer, Answers
    from speakerbot.domain.delivery import Delivery, DeliveryChange
    from speakerbot.domain.inbox import InboxMessage
    from speakerbot.domain.occurrence import OccurrenceRecord
    from speakerbot.domain.person import Person
    from speakerbot.domain.run import Run
    from speakerbot.domain.server_event import EventChange, EventRecord
    from speakerbot.domain.talk import Talk
    from speakerbot.domain.talk_changes import TalkPair, TalkSnapshot


F = TypeVar("F", bound="Callable[..., Any]")


def writes(method: F) -> F:
    """Marks a port's method that changes the store: a run may die before and after each, and what
    looks ahead may call none of them."""
    method.writes = True  # type: ignore[attr-defined]
    return method


class Talks(Protocol):
    """The Node bot's ``scheduledspeakers``."""

    @property
    def one_a_date(self) -> bool:
        """Whether a date holds one talk only, as where the Node bot works on them too. Else none
        of the methods raises DateTaken."""

    def between(self, first: date, last: date) -> Iterator[Talk]:
        """Talks dated ``first`` to ``last``, both included, by date, those of a day by their
        start; read in pages."""

    def all(self) -> Iterator[Talk]:
        """Every talk, in the same order; read in pages."""

    def get(self, talk_id: str) -> Talk | None: ...

    def why_hidden(self, talk_id: str) -> str | None:
        """What is wrong with a stored talk that no other method returns, for people ("its date is
        …"); None where it is not there, or is sound."""

    def by_ids(self, ids: Sequence[str]) -> dict[str, Talk]:
        """Those that exist, by id. One query."""

    def by_source(self, prefix: str) -> Iterator[Talk]:
        """Those whose ``source_id`` begins so, in its order; read in pages. Two of them may have
        the same one: whoever makes talks of a source's sessions derives their ids from it."""

    @writes
    def put(self, talks: Sequence[Talk]) -> None:
        """Inserts or replaces by id, all or nothing where the store can (SQLite); elsewhere a
        repeat completes what was interrupted. Talks of one call may take over each other's dates.

        The two sent-flags count for new talks only. Those of a known one stay, so that nobody can
        undo what was set after they read it; :meth:`write_flags` changes them.

        Fields in ``extra`` stay as given: JSON values, MongoDB's own types as Extended JSON. On
        MongoDB fields nobody gave are kept, and a new talk without ``booked_at`` gets the present
        time, as the Node bot would. Raises DateTaken, InputRefused for an ``extra`` that MongoDB
        cannot hold, and ConfigError where a date may hold several talks but for an index that the
        Node bot has left."""

    @writes
    def edit(self, before: Talk, after: Talk) -> bool:
        """Writes the fields in which ``after`` is not as ``before``, and no others: what somebody
        else changes meanwhile stays. Not the date, which :meth:`reschedule` changes, nor the
        flags. False: gone."""

    @writes
    def reschedule(self, talk_id: str, to: date) -> bool:
        """Moves it, leaving the flags as the Node bot does. False: gone. Raises DateTaken, and
        ConfigError as ``put`` does."""

    @writes
    def delete(self, talk_id: str) -> bool:
        """Cancels as the Node bot does. False: it was gone."""

    @writes
    def write_flags(self, writes: Sequence[FlagWrite]) -> set[str]:
        """Sets each flag if it still has the value seen, or the new one (the write repeated);
        returns the talk ids that were written. One write a talk and flag."""


class FlagWrite(NamedTuple):
    """``reminders.<name>`` of a talk: from ``seen`` to ``to``; None is missing or null.

    ``to`` None removes the flag."""

    talk_id: str
    name: str
    seen: datetime | None
    to: datetime | None


class People(Protocol):
    def by_users(self, user_ids: Sequence[str]) -> dict[str, Person]:
        """Known people by Discord user id; unknown ids are left out. One query. Two people with
        the same Discord id are not refused: derive new ids from it so that there never are."""

    def by_ids(self, ids: Sequence[str]) -> dict[str, Person]:
        """Those that exist, by the person's own id. One query."""

    def get(self, user: str) -> Person | None:
        """By Discord user id, or by the person's own id."""

    def all(self) -> Iterator[Person]: ...

    @writes
    def put(self, people: Sequence[Person]) -> None:
        """Inserts or replaces by id."""

    @writes
    def change(
        self, user: str, update: Callable[[Person], Person], newcomer: Callable[[], Person]
    ) -> tuple[Person, Person]:
        """Makes of a person, named as for ``get`` (``newcomer()`` where nobody is), what ``update``
        makes of them, in one atomic step: if others change them at the same moment, it is asked
        again about what they made. It keeps the id. Returns the person before and after; writes
        nothing where these are equal, or where one of the two callables raises."""


class Ledger(Protocol):
    """Deliveries by key. See speakerbot.domain.delivery."""

    def get(self, keys: Sequence[str]) -> dict[str, Delivery]:
        """Those that exist, by key. One query."""

    @writes
    def swap(self, changes: Sequence[DeliveryChange]) -> set[str]:
        """Takes each step that still starts from the stored revision, atomically one by one;
        returns the keys of those that won. Keys are distinct, and each step has a revision of its
        own. One round trip for changes of one sort (creations, or steps). Truthful also where an
        answer was lost and the write repeated; where that cannot be known, Unreachable."""

    def list(self, *, state: str | None = None, limit: int = 100) -> Iterator[Delivery]:
        """Newest first by ``updated_at``."""

    def find(self, recipient_or_subject: str, *, limit: int = 100) -> Iterator[Delivery]:
        """Deliveries whose key names it (``user:1``, ``talk:66…``), newest first."""

    def unsettled(self, expired_by: datetime) -> Iterator[Delivery]:
        """Claimed and failed ones whose time was over at ``expired_by``, the longest over first;
        read in pages."""

    def flagged(self, subjects: Sequence[str]) -> Sequence[Delivery]:
        """Deliveries about these subjects that set, or were about to set, a flag of the Node bot
        (``flag_at``). One query; none for no subjects."""

    def counts(self, *, since: datetime) -> dict[str, int]:
        """How many records of each state changed at ``since`` or later; of those that say sent,
        how many were sent then: an edit does not send again. One query."""

    @writes
    def prune(self, before: datetime, limit: int | None = None) -> int:
        """Forgets records not updated since ``before`` that are final, or expired before it: the
        oldest, in batches, at most ``limit``. Returns how many."""

    @writes
    def forget_texts(self, before: datetime, limit: int | None = None) -> int:
        """Empties the texts of those that :meth:`prune` would forget and that went to one person
        (``user:``, ``person:``); posts keep theirs. Returns how many had one."""


class Inbox(Protocol):
    """Messages that people read in their inbox, by the delivery's key. One person may have two
    names as a recipient, ``user:…`` and ``person:…``: give both."""

    @writes
    def put(self, message: InboxMessage) -> bool:
        """Adds it; of any number of puts of one key the first one. False: there is one with that
        key, and it stays as it is. Truthful also where an answer was lost and the write repeated.
        """

    def get(self, keys: Sequence[str]) -> dict[str, InboxMessage]:
        """Those that exist, by key. One query."""

    def of(
        self, recipients: Sequence[str], *, unread_only: bool = False, limit: int = 100
    ) -> Iterator[InboxMessage]:
        """Newest first by ``created_at``; read in pages."""

    def since(self, since: datetime, limit: int) -> Iterator[InboxMessage]:
        """The latest that were created at ``since`` or later, newest first. One query."""

    @writes
    def mark_read(self, recipients: Sequence[str], message_id: str | None, at: datetime) -> int:
        """Marks what these have not read yet as read at ``at``: the message of this id, or None,
        all of it. Returns how many; of any number at once each message is counted by one."""

    @writes
    def erase(self, recipients: Sequence[str]) -> int:
        """Deletes all that these have. Returns how many."""

    def count_before(self, before: datetime) -> int:
        """How many were created before ``before``. One query."""

    @writes
    def forget_before(self, before: datetime, limit: int | None = None) -> int:
        """Deletes those that were created before ``before``, read or not: the oldest, in batches,
        at most ``limit``. Returns how many."""


class SpeakerAnswers(Protocol):
    """What speakers have answered. See ``domain.confirmation``."""

    def about(self, talk_ids: Sequence[str]) -> Answers:
        """All answers about these talks, on whatever date. One query; none for no talks."""

    @writes
    def put(self, answers: Sequence[Answer]) -> None:
        """Adds each, unless there is one with its key: that stays, but a no replaces a yes.
        Repeating it changes nothing; of any number at once the outcome is the same."""

    @writes
    def erase(self, user_id: str) -> int:
        """Deletes what this user has answered. Returns how many."""

    def count_before(self, before: date) -> int:
        """How many are about dates before ``before``. One query."""

    @writes
    def forget_before(self, before: date, limit: int | None = None) -> int:
        """Deletes those about dates before ``before``: the oldest, in batches, at most ``limit``.
        Returns how many."""


class Runs(Protocol):
    """What ran, when, with which outcome."""

    @writes
    def put(self, run: Run) -> None:
        """Inserts or replaces by id."""

    def get(self, run_id: str) -> Run | None: ...

    def list(self, *, job: str | None = None, limit: int = 50) -> Iterator[Run]:
        """Newest first."""

    @writes
    def prune(self, before: datetime, limit: int | None = None) -> int:
        """Forgets runs that began before ``before``: the oldest, in batches, at most ``limit``.
        Returns how many."""


class Occurrences(Protocol):
    """How far each occurrence of each schedule came. See speakerbot.domain.occurrence."""

    def get(self, schedule: str, occurrence: datetime) -> OccurrenceRecord | None:
        """One query, the only one of a tick that has nothing to do."""

    @writes
    def swap(self, schedule: str, before: OccurrenceRecord | None, after: OccurrenceRecord) -> bool:
        """From exactly ``before`` (None: there is none) to ``after``; atomic. False: somebody else
        was first."""

    @writes
    def supersede(self, schedule: str, before: datetime) -> None:
        """Marks earlier occurrences that are running or open as superseded."""

    @writes
    def forget(self, schedule: str, before: datetime) -> int:
        """Deletes those that came before ``before`` and that no run goes on with. Returns how
        many."""


class Snapshots(Protocol):
    """What each speaker knows of their talk. See ``domain.talk_changes``. There is nothing in it,
    and nothing to compare, until the first one is taken."""

    def taken(self) -> bool:
        """Whether there is a first snapshot. One query."""

    @writes
    def take(self, at: datetime) -> None:
        """The first snapshot: every talk as it is, known to its speaker. All or nothing, whatever
        crashes; changes nothing where there is one."""

    def differing(self, since: date | None = None) -> Iterator[TalkPair]:
        """Every pair that is not at rest (``TalkPair.at_rest``) and concerns days from ``since`` on
        (``TalkPair.concerns``; None: all); compared in the store or in one pass, read in pages.
        What it costs does not grow with the talks before that day."""

    def pending(self) -> Iterator[TalkPair]:
        """Every pair whose entry is pending; read in pages."""

    @writes
    def advance(self, steps: Sequence[tuple[TalkSnapshot | None, TalkSnapshot]]) -> None:
        """Writes each entry, from exactly the one before (None: there is none), compared by
        ``sequence``; atomic one by one. One that another run has changed meanwhile stays."""

    def all(self) -> Iterator[TalkSnapshot]:
        """Every entry, those of cancelled talks too; read in pages."""


class Calendar(Protocol):
    """What calendar programs are told of each talk. See speakerbot.booking."""

    def get(self, talk_id: str) -> CalendarEntry | None: ...
    def all(self) -> Iterator[CalendarEntry]:
        """Every entry, those of cancelled talks too; read in pages."""

    def differing(
        self, since: date | None = None
    ) -> Iterator[tuple[Talk | None, CalendarEntry | None]]:
        """All of which ``calendar_entry.reconcile`` makes something to write, where the talk or the
        entry is dated ``since`` or later (None: all); compared as for Snapshots."""

    @writes
    def advance(self, steps: Sequence[tuple[CalendarEntry | None, CalendarEntry]]) -> None:
        """As for Snapshots."""


class ServerEvents(Protocol):
    """What is remembered of the server's event of each talk. See domain.server_event."""

    def all(self) -> Iterator[EventRecord]:
        """Every record; read in pages."""

    @writes
    def swap(self, changes: Sequence[EventChange]) -> set[str]:
        """Takes each step that still starts from the stored revision, atomically one by one;
        returns the talk ids of those that won. Truthful also where an answer was lost and the
        write repeated. Of two that forget a record, both have won."""


class Limits(Protocol):
    """What processes of one bot share: send slots, breakers, known DM channels.

    ``bot`` tells bots apart without holding their token."""

    @writes
    def reserve(
        self, bot: str, lane: str, now: datetime, interval: float, count: int, ahead: int
    ) -> datetime:
        """Takes ``count`` consecutive send slots, ``interval`` seconds apart, in one atomic step,
        and returns the first, to the microsecond. They lie on the store's own clock, by which
        it is ``now`` (see ``Store.clock_error``). The first may be up to ``ahead * interval``
        before that (GCRA: that many may go at once after a pause)."""

    def breakers(self, bot: str) -> dict[str, Breaker]:
        """By name; one query."""

    @writes
    def set_breaker(self, bot: str, name: str, breaker: Breaker | None) -> None:
        """None closes it."""

    def dm_channels(self, bot: str, user_ids: Sequence[str]) -> dict[str, str]:
        """Known DM channel ids by user id. One query."""

    @writes
    def remember_dms(self, bot: str, channels: Mapping[str, str | None]) -> None:
        """Saves, or with None forgets, DM channel ids by user id. One round trip."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Something that must not be tried before ``until``; ``count`` for budgets."""

    until: datetime
    reason: str
    count: int = 0


class Guilds(Protocol):
    """The Node bot's ``guildsettings``."""

    def channel(self, guild_id: str) -> str | None:
        """``proactiveAnnouncementsChannelId``, None if not set."""

    @writes
    def set_channel(self, guild_id: str, channel_id: str, by: str, at: datetime) -> None: ...

    def all(self) -> Iterator[Mapping[str, Any]]:
        """Those with a channel, as ``guildId, proactiveAnnouncementsChannelId, updatedAt,
        updatedBy``."""


class Marks(Protocol):
    """Small facts about the store itself, by name: its community, when it was pruned, when a timed
    job last looked."""

    def get(self, name: str) -> str | None:
        """None: nothing is noted under this name. One query."""

    @writes
    def swap(self, name: str, before: str | None, after: str | None) -> bool:
        """From exactly ``before`` (None: nothing noted) to ``after`` (None: forgotten); atomic.
        False: it was something else. True also where it is ``after`` already, since the answer to
        this very write may have been lost: of two that want the same, both have won."""

    @writes
    def put(self, name: str, value: str) -> None:
        """Whatever was noted before; of several at once, one stays. One write."""


class Store(Protocol):
    """Everything that is kept. Opened by ``speakerbot.stores.open_store``."""

    talks: Talks
    people: People
    ledger: Ledger
    inbox: Inbox
    answers: SpeakerAnswers
    runs: Runs
    occurrences: Occurrences
    snapshots: Snapshots
    calendar: Calendar
    server_events: ServerEvents
    limits: Limits
    guilds: Guilds
    marks: Marks

    def prepare(self) -> None:
        """Makes tables and indexes if they are missing, idempotently; raises StoreTooNew if a
        newer program made them. One query where nothing is to do."""

    def check(self) -> None:
        """Raises StoreTooNew if a newer program made it; writes nothing."""

    def schema_version(self) -> int:
        """Which version of the schema it has; 0 for one that was never prepared."""

    def at_once(self) -> AbstractContextManager[None]:
        """All writes inside become one, or none, where the store has transactions (SQLite)."""

    def version(self) -> object:
        """Another one than before if anything may have been written since; None where that cannot
        be told without a query."""

    def clock_error(self) -> timedelta:
        """How far this machine's clock is ahead of the store's own; zero where it has none."""

    def describe(self) -> str:
        """Where it is, for people: no password."""

    def close(self) -> None: ...


def nouns() -> dict[str, frozenset[str]]:
    """Each noun of :class:`Store`, with the names of its methods that write."""
    return {
        noun: frozenset(
            name for name, method in vars(port).items() if getattr(method, "writes", False)
        )
        for noun, port in get_type_hints(Store).items()
    }
