"""What a job asks of a service beside sending messages, as data: to read something before it
decides, and to change something afterwards. The channel that a request names carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

T_co = TypeVar("T_co", covariant=True)


class ServiceRequest(Generic[T_co]):
    """One thing that is asked; ``T_co`` is what comes back. Equal requests are one request."""

    channel: ClassVar[str] = "discord"
    """The name of the channel that carries it out."""
    changes: ClassVar[bool] = False
    """It changes something at the service. Then a run may die with it done and not known to be: so
    doing it twice must change nothing, or the next run must look before it asks again."""

    setting: ClassVar[str] = ""
    """The setting that names its target: then a refusal there is an error of the configuration."""

    @property
    def target(self) -> str:
        """The id of what it is about. Requests with one target go one after another, in order."""
        raise NotImplementedError

    def assumed(self) -> T_co | None:
        """What comes back of a change if all goes well, for a preview."""
        return None


class NoResponse(NamedTuple):
    """Nothing came back: what was to be read is unknown, what was to be done may not be."""

    detail: str
    """Why, for people."""
    passing: bool = False
    """A fault of the service, or no time left: a later run may do better."""
    rejected: bool = False
    """Refused for what it says: asked again as it is, it would be refused again."""


NOT_ASKED = NoResponse("the service was not asked")
"""In a dry run, in a preview, and wherever else no channel is opened."""

Responses = Mapping[ServiceRequest[Any], Any]
"""What came back of each request that was made: its ``T_co``, or NoResponse."""


class Reactions(NamedTuple):
    """Which of the emoji asked about stand under a message."""

    ours: frozenset[str]
    theirs: frozenset[str]
    """Those of the one user asked about; others do not count."""


@dataclass(frozen=True, slots=True)
class ReadReactions(ServiceRequest[Reactions]):
    """Which of ``emoji`` we and one user have put under one of our messages."""

    channel_id: str
    message_id: str
    user_id: str
    emoji: tuple[str, ...]
    direct: bool
    """Only the bot and that user can see it: a second reaction is theirs."""

    @property
    def target(self) -> str:
        return self.channel_id


@dataclass(frozen=True, slots=True)
class PutReaction(ServiceRequest[None]):
    """Our own reaction under a message; putting it again changes nothing."""

    changes: ClassVar[bool] = True

    channel_id: str
    message_id: str
    emoji: str

    @property
    def target(self) -> str:
        return self.channel_id
