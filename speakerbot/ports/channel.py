"""What the engine asks of a channel that messages go to, and how a channel says no.

A channel classifies what its service answered, in the engine's terms; the engine decides what
follows, from the channel's :class:`Capabilities`, and knows no channel by name. Instants are aware,
in UTC.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from speakerbot.clock import Clock
    from speakerbot.domain.message import ReaderTime, Route
    from speakerbot.domain.service_request import ServiceRequest
    from speakerbot.ports.store import Breaker, Store

T = TypeVar("T")


class RefusalClass(StrEnum):
    """Whose fault a refusal is, and so what the engine does about it."""

    RECIPIENT = "recipient"
    """This person cannot be reached by this route, for good: the next route."""
    TARGET = "target"
    """We may not write there: the next route; an error of the settings where they name it."""
    REJECTED = "rejected"
    """Our text or payload is refused, by a word filter or for a bug: given up."""
    SERVICE = "service"
    """Never the message's fault: tried again until it expires."""
    BOT = "bot"
    """Nothing works for this bot now: the channel stops, and all is kept for later."""
    TOKEN = "token"  # noqa: S105  # the word, not one
    """The token itself is refused."""
    ALREADY_SENT = "already_sent"
    """The message was accepted before."""
    DELETED = "deleted"
    """The message to edit does not exist any more."""
    NOT_OURS = "not_ours"
    """The message to edit is somebody else's."""


class Refused(Exception):
    """The channel did not accept a request."""

    def __init__(
        self,
        why: RefusalClass,
        detail: str,
        *,
        maybe_accepted: bool = False,
        limited: bool = False,
        everywhere: bool = False,
        retry_after: float = 0.0,
        code: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.maybe_accepted = maybe_accepted
        """No answer came, or one that does not tell: the message may be there."""
        self.limited = limited
        """A rate limit: the service works, and asks us to wait."""
        self.everywhere = everywhere
        """That limit holds for everything we send, not for one target."""
        self.code = code
        """The service's own code, where it gave one."""
        self.retry_after = retry_after
        """Seconds the other side asked us to wait, at most ``LONGEST_RETRY_AFTER``."""


class Withheld(Exception):
    """Raised by ``ready`` to keep a request from leaving; the channel lets it through."""


LONGEST_RETRY_AFTER = 3600.0
"""Seconds; whoever asks for more is asked again after this."""
ALWAYS = timedelta.max
"""``Capabilities.idempotent_for`` of a channel that never takes a message twice."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, and how it wants its texts. Known without opening it."""

    idempotent_for: timedelta
    """How long sending a message again with the same nonce does nothing; zero: not at all."""
    looks_back: bool
    """Whether it can be found out if a message has arrived. Where it cannot, and the channel is not
    idempotent, an attempt without an answer is never repeated: it becomes ``unknown``."""
    notifies: bool
    """Whether people are told of a message at once. Where they only find it when they look, the
    Node bot is left to remind them as well."""
    reactions: bool
    """Whether people can answer by reacting to a message, and we can see how."""
    max_length: int
    """Of one message, as ``length`` counts it."""
    length: Callable[[str], int]
    escape: Callable[[str], str]
    """User text on one line, such that the channel shows its characters and notifies no one."""
    mention: Callable[[str], str]
    """How a text addresses the user with this id, or the role (``Route.mention``)."""
    reader_time: Callable[[ReaderTime], str] = attrgetter("plain")
    """How a text shows an instant."""

    def addressed(self, text: str, mention: str | None) -> str:
        """``text`` with the mention in front, where there is one."""
        return f"{self.mention(mention)} {text}" if mention else text


class Outgoing(NamedTuple):
    """One message by one route, as it is, or was, to be sent."""

    key: str
    recipient: str
    route: Route
    text: str
    """All of it, any mention included."""
    nonce: str
    """The same for every attempt by this route."""


class Receipt(NamedTuple):
    """Where an accepted message stands."""

    channel_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as it stands in its channel. ``at`` is when it was accepted, in UTC."""

    id: str
    text: str
    at: datetime


Ready = Callable[[], Awaitable[None]]
"""Awaited right before each physical request that may deliver a message, repetitions too; what it
raises keeps the request from leaving, and is let through."""


class Channel(Protocol):
    """An open channel. Every method may raise ``Refused``, and lets through what its host's lanes
    and ``ready`` raise. The counters only grow."""

    @property
    def requests(self) -> int: ...

    @property
    def rate_limited(self) -> int: ...

    @property
    def invalid_requests(self) -> int:
        """Requests that the service holds against us."""

    async def expect(self, routes: Collection[Route]) -> set[Route]:
        """Messages by these routes are about to be claimed, one for each element. Returns those
        that must be opened first, at a pace of their own: they wait for ``turn_to_open``."""

    def done_with(self, routes: Collection[Route]) -> None:
        """Those messages are through: what was kept for them may be forgotten."""

    async def turn_to_open(self) -> None:
        """Returns when one more route may be opened."""

    async def send(self, message: Outgoing, ready: Ready) -> Receipt:
        """Returns as soon as the message is accepted. Within ``idempotent_for``, sending again
        returns the first one's receipt."""

    async def find(
        self, message: Outgoing, *, since: datetime, known: Collection[str], author: str | None
    ) -> Receipt | None:
        """Looks through what ``author`` (None: we) sent there from ``since`` on for this message;
        None: it is not there. ``known`` are ids of other messages, which may have the same text.
        Raises Refused with ``TARGET`` where it may not look."""

    def posts(self, target: str, *, since: datetime) -> AsyncIterator[Posted]:
        """Our own messages there back to ``since``, newest first; stop when you have seen enough.
        Raises Refused with ``TARGET`` where it may not look (further)."""

    async def edit(self, receipt: Receipt, text: str) -> None:
        """Gives our message this text; doing so again changes nothing. Sends no notification.
        Raises Refused with ``DELETED`` if it does not exist any more, ``NOT_OURS`` if it is
        another's."""

    async def ask(self, request: ServiceRequest[T]) -> T:
        """Carries out something other than a message. Raises Refused, with ``REJECTED`` for what
        this channel cannot do; where the request changes something and ``maybe_accepted`` is set,
        that may be done nevertheless. It repeats by itself only what may be done twice."""

    async def probe(self) -> None:
        """Asks the service a question that names no target. Raises Refused if even that fails."""


class Lane(Protocol):
    """Evenly paced turns, which all processes of one sender share."""

    async def slot(self) -> None:
        """Returns when a request may begin. Raises what ends the run."""

    async def stopped(self) -> None:
        """Returns once no request may begin any more."""

    def slow_down(self, seconds: float, everywhere: bool) -> None:
        """After a rate limit: everybody goes slower for a while; where it holds for everything,
        nothing is sent for so many seconds."""


class ChannelHost(Protocol):
    """What the engine lends to a channel while that is open."""

    sender: str
    clock: Clock
    longest_request: timedelta
    """No request may take longer: claims cover no more."""
    breakers: Mapping[str, Breaker]
    """The sender's circuit breakers as they were when the channel was opened, by name."""

    def lane(self, name: str, interval: float, *, ahead: int = 0) -> Lane:
        """``interval`` in seconds; after a pause, ``ahead`` more than one may go at once."""

    async def ask_store(self, call: Callable[[Store], T]) -> T:
        """What ``call`` returns: made in the store's thread."""

    async def save_breaker(self, name: str, breaker: Breaker) -> None:
        """For later runs of this sender."""


@dataclass(frozen=True, slots=True)
class ChannelAccess:
    """A channel that may be opened. Making one imports nothing of its network."""

    name: str
    """As routes name it."""
    sender: str
    """Which bot or account we are there; told apart without holding its token."""
    capabilities: Capabilities
    nonce: Callable[[str, Route], str]
    """Of the message with this key by this route: the same for every attempt."""
    open: Callable[[ChannelHost], AbstractAsyncContextManager[Channel]]


Channels = dict[str, ChannelAccess]
"""Those that a run may use, by name."""
