"""One record per message key: the truth about what was sent, and the state it can move to.

A record only ever changes by compare-and-swap on its ``revision`` (``ports.Ledger.swap``), so of
any number of processes exactly one wins each step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from speakerbot.clock import LONGEST_WAIT


class DeliveryState(StrEnum):
    """What there is to say about a message. The ledger stores those from ``CLAIMED`` on."""

    PLANNED = "planned"
    """It will be claimed and sent now, or a new try of it will."""
    HELD_BACK = "held_back"
    """It is due and waits: for quiet hours, another run, its turn; or they have opted out."""
    ALREADY_SENT = "already_sent"
    """It was sent before this run, by an earlier one or by the Node bot."""
    CLAIMED = "claimed"
    """A run has begun to send it. Once that claim's lease is over it is unconfirmed whether it
    arrived, and the next run finds out."""
    SENT = "sent"
    """The channel accepted it."""
    FAILED = "failed"
    """The last try failed; it is tried again until its tries or its time are over."""
    UNDELIVERABLE = "undeliverable"
    """Every route refused it for good, or its tries are used up."""
    EXPIRED = "expired"
    """Its time was over before it could go."""
    UNKNOWN = "unknown"
    """It may have arrived, and there is no way to find out: never sent again by itself."""


class SkipReason(StrEnum):
    """Why something is not sent, as ``skipped`` counts it."""

    COMPLETED = "completed"
    """The talk is marked as completed."""
    OVERTAKEN = "overtaken"
    """A nearer reminder of the same talk has come."""
    FIRST_SNAPSHOT = "first_snapshot"
    """The first look at talks: there is nothing to compare them with."""
    DECLINED = "declined"
    """The speaker has said that they can't make it."""
    UNREAD = "unread"
    """Whether they have answered could not be read this time."""
    NO_ORGANISERS_CHANNEL = "no_organisers_channel"
    """``DISCORD_LOGS_CHANNEL_ID`` is not set."""
    TALK_COMING = "talk_coming"
    """A talk is coming, so no one has to be asked to speak."""
    ASKED_RECENTLY = "asked_recently"
    """The last prompt is not long enough ago."""
    WEEKLY_MODE_IS_POST = "weekly_mode_is_post"
    """Posts are not edited."""
    NOTHING_POSTED = "nothing_posted"
    """There is no post to edit."""
    DELETED_TWICE = "deleted_twice"
    """Somebody deleted the post, and the one that replaced it."""
    EDIT_GIVEN_UP = "edit_given_up"
    """Editing was refused too often."""
    OPTED_OUT = "opted_out"
    """The person does not want it."""
    QUIET_HOURS = "quiet_hours"
    """The person's quiet hours."""
    EXPIRED = "expired"
    """Its time is over."""
    IN_PROGRESS = "in_progress"
    """Another run is sending it."""
    RETRY_LATER = "retry_later"
    """Its last try failed, and the next one is still to come."""
    IN_ORDER = "in_order"
    """The message before it comes first."""
    CHANGED_MEANWHILE = "changed_meanwhile"
    """What it is about changed after it was decided."""
    NEW_DM_PACE = "new_dm_pace"
    """Its DM channel was not opened in time: those are opened slowly."""
    NODE_BOT_MINUTE = "node_bot_minute"
    """The Node bot sends its own at this minute."""
    GIVEN_BACK = "given_back"
    """The run, or its channel, stopped before it was sent."""
    PAST_LIMIT = "limit"
    """``--limit`` leaves it out."""
    NOT_THEM = "only"
    """``--only`` leaves it out."""


FINAL = frozenset(
    {
        DeliveryState.SENT,
        DeliveryState.UNDELIVERABLE,
        DeliveryState.EXPIRED,
        DeliveryState.UNKNOWN,
    }
)
"""States that no run leaves."""
UNSETTLED = (DeliveryState.CLAIMED, DeliveryState.FAILED)
"""Stored states that a run may go on from."""
MAX_ATTEMPTS = 8
UNRENDERED = "config"
"""The class of failures of messages whose text cannot be made."""
NO_CONTENT = "content"
"""The class of failures of messages whose source of content failed: a later run asks again."""
PERSONAL = ("user:", "person:")
"""How a recipient begins that is one person."""


KEY = r"([^/]+)/(.+?)/((?:user|channel|person):[^/]+)/(.+)"


class MessageKey(NamedTuple):
    """``kind/subject/recipient/occasion``: what makes a message this one, and nothing else."""

    kind: str
    subject: str
    recipient: str
    occasion: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> MessageKey | None:
        """None where the text is not a key."""
        found = re.fullmatch(KEY, text, re.DOTALL)
        return cls(*found.groups()) if found else None

    @classmethod
    def of(cls, key: str, kind: str, recipient: str) -> MessageKey:
        """A key of which kind and recipient are known; a subject may hold slashes itself."""
        subject, _, occasion = key.removeprefix(f"{kind}/").partition(f"/{recipient}/")
        return cls(kind, subject, recipient, occasion)


class Delivery(NamedTuple):
    """The ledger's record of one message. Instants are aware, in UTC, real (not decision) time
    but for ``due_at``, ``expires_at`` and ``flag_at``, which the job decided."""

    key: str
    kind: str
    recipient: str
    state: DeliveryState
    revision: str
    """Changes with every write and is never used twice: what compare-and-swap compares."""
    run_id: str
    due_at: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    route: str = ""
    """Name of the route tried last; a retry goes on there."""
    target: str = ""
    """The route's target: a user id for ``dm``, else a channel id."""
    text: str = ""
    """As it was sent, mention included: what read-back looks for."""
    attempts: int = 0
    """Tries so far; 0 in a record that says sent: see ``found``."""
    lease_until: datetime | None = None
    unconfirmed_since: datetime | None = None
    """A request begun at or after this instant may have been accepted without our knowing."""
    retry_at: datetime | None = None
    error_class: str = ""
    error: str = ""
    message_id: str = ""
    channel_id: str = ""
    sent_at: datetime | None = None
    flag_at: datetime | None = None
    """The time this delivery wrote, or was about to write, into the Node bot's flag."""
    flag_was: datetime | None = None
    """The flag's value before that, put back if the message is refused."""
    bot: str = ""
    """The bot that tried it: another one cannot see its direct messages, nor repeat its nonce."""
    nonce: str = ""
    """The one it was sent with: a repetition uses it again."""
    service_faults: int = 0
    """Faults of the service in a row, which are not the message's: how long to back off."""
    edit_failures: int = 0
    """Refused edits of a post in a row."""
    note: str = ""
    """``Message.note`` as of the last claim or edit: for the job that made the message."""

    @property
    def subject(self) -> str:
        """The second part of the key."""
        return MessageKey.of(self.key, self.kind, self.recipient).subject

    @property
    def found(self) -> bool:
        """It stood there before we tried: the Node bot had posted it."""
        return self.state == DeliveryState.SENT and self.attempts == 0

    def unconfirmed(self, now: datetime) -> bool:
        """Its claim's lease is over, or a failed attempt may have arrived: an answer is missing."""
        if self.state == DeliveryState.CLAIMED:
            return self.lease_until is None or self.lease_until <= now
        return self.state == DeliveryState.FAILED and self.unconfirmed_since is not None


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """One step of one record: from exactly ``before`` to ``after``.

    ``before`` None creates it (loses if the key exists); ``after`` None deletes it. Both carry
    the same key. Loses if the stored revision is not ``before.revision``.
    """

    before: Delivery | None
    after: Delivery | None

    @property
    def key(self) -> str:
        record = self.before or self.after
        assert record is not None, "a change changes something"  # noqa: S101
        return record.key


def standing(record: Delivery | None, now: datetime) -> DeliveryState:
    """What a run may do about a message, given its record: only what is ``PLANNED`` may be claimed;
    ``FAILED`` waits for its next try, ``CLAIMED`` is in the hands of a live run. ``now`` is the
    real time."""
    if record is None:
        return DeliveryState.PLANNED
    if record.state == DeliveryState.CLAIMED:
        return DeliveryState.PLANNED if record.unconfirmed(now) else DeliveryState.CLAIMED
    if record.state == DeliveryState.FAILED:
        if record.attempts >= MAX_ATTEMPTS:
            return DeliveryState.UNDELIVERABLE
        waits = record.retry_at is not None and record.retry_at > now
        return DeliveryState.FAILED if waits else DeliveryState.PLANNED
    return record.state


def may_be_closed(record: Delivery, now: datetime) -> bool:
    """Whether a run may settle what an earlier one left, its time being over; ``now`` is the real
    time."""
    return standing(record, now) in (DeliveryState.PLANNED, DeliveryState.UNDELIVERABLE)


def within_reason(record: Delivery, now: datetime, lease: timedelta) -> Delivery:
    """The record with no instant further ahead than any can be: one that is was written by a
    machine whose clock is wrong, and would block its message for days. The same where all is well.
    ``now`` is the real time; ``lease`` the longest that this process knows of."""
    last = now + max(LONGEST_WAIT, lease)
    lease_until, retry_at = record.lease_until, record.retry_at
    if (lease_until is None or lease_until <= last) and (retry_at is None or retry_at <= last):
        return record
    return record._replace(
        lease_until=min(lease_until, last) if lease_until else None,
        retry_at=min(retry_at, last) if retry_at else None,
    )


def claimed(record: Delivery, before: Delivery | None) -> Delivery:
    """``record``, freshly claimed, with what must survive from the record it replaces."""
    if before is None:
        return record
    reached = before if before.route else record  # a person's retry begins at the first route
    return record._replace(
        created_at=before.created_at,
        attempts=before.attempts + 1,
        route=reached.route,
        target=reached.target,
        text=reached.text,
        nonce=reached.nonce,
        service_faults=before.service_faults,
        edit_failures=before.edit_failures,
        unconfirmed_since=before.unconfirmed_since or record.unconfirmed_since,
        flag_was=before.flag_was if before.flag_at == record.flag_was else record.flag_was,
    )
