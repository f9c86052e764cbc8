"""What the engine asks of a channel that messages go to, and how a channel says no.

A channel classifies what its service answered, in the engine's terms; the engine decides what
follows. Instants are aware, in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import datetime


class RefusalClass(StrEnum):
    """Whose fault a refusal is, and so what the engine does about it."""

    RECIPIENT = "recipient"
    """This person cannot be reached by this route, for good: the next route."""
    TARGET = "target"
    """We may not write there: the next route; an error of the settings where they name it."""
    ARCHIVED = "archived"
    """The thread is archived; opening it once may help."""
    REJECTED = "rejected"
    """Our text or payload is refused, by a word filter or for a bug: given up."""
    SERVICE = "service"
    """Never the message's fault: tried again until it expires."""
    NEW_DMS = "new_dms"
    """No new DM channels for some minutes; existing ones go on."""
    BOT = "bot"
    """Nothing works for this bot now: stop, keep everything for later."""
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
        gone: bool = False,
        maybe_accepted: bool = False,
        limited: bool = False,
        everywhere: bool = False,
        retry_after: float = 0.0,
        code: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.gone = gone
        """The channel id does not exist: a stored DM channel's may be opened again."""
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


OnLimited = Callable[[float, bool], None]
"""Called with each rate limit: the seconds to wait, and whether it holds for everything we send."""


class Withheld(Exception):
    """Raised by ``ready`` to keep a request from leaving; the channel lets it through."""


LONGEST_RETRY_AFTER = 3600.0
"""Seconds; whoever asks for more is asked again after this."""


class Channel(Protocol):
    """Where messages go: Discord. Every method raises ``Refused``."""

    async def open_dm(self, user_id: str) -> str:
        """The DM channel with a user, made if there is none; asking again is harmless."""

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None,
        ready: Callable[[], None],
    ) -> str:
        """Returns the message's id as soon as it is accepted. Within the channel's nonce window
        sending again returns the first message. ``mention`` is the one user it may notify.
        ``ready`` is asked right before each physical request, repetitions too; what it raises
        (Withheld) keeps the request from leaving."""

    async def find(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        since: datetime,
        known: Collection[str],
        author: str | None,
    ) -> str | None:
        """Looks through the messages of ``author`` (None: our own) there from ``since`` on for this
        one; None: it is not there. ``known`` are ids of other messages, which may have the same
        text. Raises Refused with ``TARGET`` where it may not look."""

    def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        """Our own messages there back to ``since``, newest first; stop when you have seen enough.
        Raises Refused with ``TARGET`` where it may not look (further)."""

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        """Gives our message this text; doing so again changes nothing. Sends no notification.
        Raises Refused with ``DELETED`` if it does not exist any more, ``NOT_OURS`` if it is
        another's."""

    async def unarchive(self, thread_id: str) -> None: ...

    async def probe(self) -> None:
        """Asks the service a question that names no target. Raises Refused if even that fails."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as it stands in its channel. ``at`` is when it was accepted, in UTC."""

    id: str
    text: str
    at: datetime
