"""Why a message was not accepted, in the engine's terms. Channels raise these; the engine decides
what follows."""

from __future__ import annotations

from typing import Literal

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


class RunStopped(Exception):
    """The run must send nothing more (SIGTERM, a refused token, …): claims are given back."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class Misconfigured(Exception):
    """Only a channel of our settings was left to try, and it refuses us. Nothing is counted against
    the message: once the setting is mended, the next run sends it."""


class ClaimLost(Exception):
    """Another run took the claim over while this one waited."""
