"""What a job decides: messages, each with all that is needed to send it exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from speakerbot.domain.delivery import MessageKey, SkipReason

ROLE = "role:"
"""What a mention of a role begins with; the role's id follows."""
DISCORDS_ROUTES = ("dm", "thread", "channel")


@dataclass(frozen=True, slots=True)
class Route:
    """One way to reach a recipient.

    ``dm``, ``thread`` and ``channel`` are Discord's: their target is a user id for ``dm``, else a
    channel id. Any other route is named like the channel it goes by; that channel says what its
    target is."""

    name: str
    target: str
    mention: str | None = None
    """Whom to mention, and so to notify, in front of the text: a user's id, or ``role:`` and a
    role's."""
    configured: bool = False
    """The target stands in our settings: a refusal there is an error of the configuration."""

    @property
    def channel(self) -> str:
        """The name of the channel it goes by."""
        return "discord" if self.name in DISCORDS_ROUTES else self.name


@dataclass(frozen=True, slots=True)
class ReaderTime:
    """A value for texts: an instant (UTC) that each reader sees in their own zone, where the
    channel can show it so. Our own text, so nothing in it is escaped."""

    at: datetime
    style: str
    """``F``: weekday, date and time; ``R``: how long until then."""
    plain: str
    """What other channels show; empty: nothing."""


@dataclass(frozen=True, slots=True)
class NodeFlag:
    """The Node bot's sent-flag that a message must also set, so that it does not send as well."""

    talk_id: str
    name: Literal["sentTminus1At", "sentDayOfAt"]
    seen: datetime | None
    """The flag's value as it was read."""
    counts: bool
    """``seen`` lies on this reminder's own day: somebody has sent it, unless the ledger knows that
    we set it for another message (see ``delivery.planning``)."""


NODE_FLAGS: Mapping[str, Literal["sentTminus1At", "sentDayOfAt"]] = {
    "reminder.day_before": "sentTminus1At",
    "reminder.day_of": "sentDayOfAt",
}
"""Which flag of the Node bot's a kind of message sets."""


@dataclass(frozen=True, slots=True)
class LookBack:
    """The Node bot may have posted it already, by the same account and without a marker: before the
    first attempt the channel is read back to ``since`` (UTC) for a text that begins so."""

    heading: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Edit:
    """The message stands in its channel, and only its text is to be brought up to date."""

    again: str | None = None
    """The occasion to post it under again should somebody have deleted it; None: not again."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one recipient. Instants are aware, in UTC.

    ``key`` is ``kind/subject/recipient/occasion`` and unique for ever: whatever makes it another
    message is in it, nothing else is. The text is rendered from ``template`` and ``values`` only
    when it is needed: most runs find everything sent and must not pay for a template engine.
    """

    kind: str
    subject: str
    recipient: str
    """``user:<discord id>``, ``person:<id>`` for who has no Discord id, or
    ``channel:<discord id>``."""
    occasion: str
    routes: tuple[Route, ...]
    template: str
    values: Mapping[str, Any]
    due_at: datetime
    expires_at: datetime
    reason: str
    """Why it is due, in words for people."""
    opt_out: str | None = None
    """The opt-out kind that covers it; None where it cannot be opted out of (a channel's post)."""
    waits_past_expiry: bool = True
    """Quiet hours beyond ``expires_at``: True sends it anyway, False drops it."""
    flag: NodeFlag | None = None
    follows: bool = False
    """Goes only once the message decided right before it has been sent: the parts of a long post
    stand in order."""
    look_back: LookBack | None = None
    edit: Edit | None = None
    note: str = ""
    """What the job wants to read again in the record of this message; stored with its claim."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return str(MessageKey(self.kind, self.subject, self.recipient, self.occasion))

    @property
    def subject_id(self) -> str:
        """Of ``talk:66f…`` the part after the colon; all of a subject without one."""
        return self.subject.rpartition(":")[2]

    def routes_from(self, name: str, target: str) -> tuple[Route, ...]:
        """The routes still to try once an attempt has reached this one; all if it is not among
        them."""
        for index, route in enumerate(self.routes):
            if (route.name, route.target) == (name, target):
                return self.routes[index:]
        return self.routes

    @property
    def person_id(self) -> str | None:
        """Our own id of an addressee who has no Discord id; None for everybody else."""
        kind, _, identifier = self.recipient.partition(":")
        return identifier if kind == "person" else None

    @property
    def user_id(self) -> str | None:
        """The Discord id of the addressee; None for a channel, and for who has no such id."""
        kind, _, identifier = self.recipient.partition(":")
        return identifier if kind == "user" else None


@dataclass(frozen=True, slots=True)
class Skip:
    """Something a job looked at and will not send."""

    reason: SkipReason
    subject: str


Decision = Message | Skip
