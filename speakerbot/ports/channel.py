"""What the engine asks of a channel that messages go to, and how a channel says no.

A channel classifies what its service answered, in the engine's terms; the engine decides what
follows. Instants are aware, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import datetime

RefusalClass = Literal[
    "recipient",  # this person cannot be reached by this route, for good
    "permission",  # we may not write there now; an organiser can mend it
    "archived",  # the thread sleeps; waking it once may help
    "rejected",  # our text or payload is refused: a bug, or a word filter
    "transient",  # try again later
    "new_dms",  # no new DM channels for some minutes; existing ones go on
    "bot",  # nothing will work for this bot now: stop, keep everything for later
    "token",  # the token itself is refused
    "unreachable",  # no connection could be made, after retries: nothing was sent
    "already_sent",  # the message was accepted before
    "deleted",  # the message to edit does not exist any more
]


class Refused(Exception):
    """The channel did not accept a request."""

    def __init__(
        self,
        why: RefusalClass,
        detail: str,
        *,
        gone: bool = False,
        maybe_accepted: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.gone = gone
        """The channel id does not exist: a stored DM channel's may be opened anew."""
        self.maybe_accepted = maybe_accepted
        """No answer came, or one that does not tell: the message may be there."""
        self.retry_after = retry_after
        """Seconds the other side asked us to wait."""


class Channel(Protocol):
    """Where messages go: Discord. Every method raises ``Refused``."""

    async def open_dm(self, user_id: str) -> str:
        """The DM channel with a user, made if there is none; asking again is harmless."""

    async def send(self, channel_id: str, text: str, *, nonce: str, mention: str | None) -> str:
        """Returns the message's id as soon as it is accepted. Within the channel's nonce window
        sending again returns the first message. ``mention`` is the one user it may notify."""

    async def find(
        self, channel_id: str, text: str, *, nonce: str, since: datetime, known: Collection[str]
    ) -> str | None:
        """Looks through our own messages there from ``since`` on for this one; None: it is not
        there. ``known`` are ids of other messages, which may have the same text. Raises Refused
        with ``permission`` where it may not look."""

    def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        """Our own messages there back to ``since``, newest first; stop when you have seen enough.
        Raises Refused with ``permission`` where it may not look (further)."""

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        """Gives our message this text; doing so again changes nothing. Notifies nobody. Raises
        Refused with ``deleted`` if it does not exist any more."""

    async def unarchive(self, thread_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as it stands in its channel. ``at`` is when it was accepted, in UTC."""

    id: str
    text: str
    at: datetime
