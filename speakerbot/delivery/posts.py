"""Posts in channels that need more than sending: one that may stand there already, made by the
Node bot with our account, and one whose text is brought up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from speakerbot.clock import Clock
from speakerbot.delivery.channels import OpenChannel, OpenChannels
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.claims import Claim, Revisions
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.recovery import NotNow
from speakerbot.delivery.transitions import backoff
from speakerbot.domain.delivery import MAX_ATTEMPTS, Delivery, DeliveryState
from speakerbot.domain.message import LookBack, Route
from speakerbot.domain.run import StopReason
from speakerbot.ports.channel import Posted, Receipt, RefusalClass, Refused


@dataclass(slots=True)
class Posts:
    """One per run; serves all of its workers."""

    channels: OpenChannels
    recorded: Callable[[str], Awaitable[set[str]]]
    """Ids of the latest messages to a recipient that the ledger knows."""
    revisions: Revisions
    clock: Clock

    async def made_for_us(
        self, channel: OpenChannel, route: Route, look: LookBack
    ) -> Posted | None:
        """The Node bot's own post; nothing marks it but that the ledger does not know it. Raises
        Refused where no one can tell now; a channel that cannot be read holds none."""
        known = await self.recorded(f"channel:{route.target}")
        try:
            async for post in channel.channel.posts(route.target, since=look.since):
                if post.text.startswith(look.heading) and post.id not in known:
                    return post
        except Refused as refusal:
            if refusal.why not in (RefusalClass.TARGET, RefusalClass.RECIPIENT):
                refusal.maybe_accepted = False  # reading leaves nothing behind
                raise
        return None  # if we may not even write there, sending will say so

    async def edit(self, claim: Claim) -> Delivery:
        """The record with the text that the post shows from now on; where the edit was refused,
        with the reason, the old text and when to try again. Raises NotNow.

        Needs no claim: the same edit twice is one, and after a crash the ledger's text is the old
        one, so that the next run edits again."""
        record, now = claim.record, self.clock.real()
        kept = record._replace(revision=self.revisions.next(), updated_at=now)
        route = claim.message.routes[0]
        channel = await self.channels.of(route)
        if channel is None or channel.guard.stopped:
            raise NotNow
        try:
            await self._edit(claim, channel)
        except ChannelStopped as stopped:
            channel.halt(stopped)
            raise NotNow from stopped
        except Refused as refusal:
            if refusal.why in (RefusalClass.BOT, RefusalClass.TOKEN):
                channel.halt(ChannelStopped(StopReason(refusal.why), refusal.detail))
                raise NotNow from refusal
            if refusal.why in (RefusalClass.TARGET, RefusalClass.RECIPIENT):
                channel.guard.target_refused(route, refusal)
            over = refusal.why in (RefusalClass.DELETED, RefusalClass.NOT_OURS)
            failures = MAX_ATTEMPTS if over else record.edit_failures + 1
            return kept._replace(
                error_class=refusal.why,
                error=refusal.detail[:300],
                edit_failures=failures,
                retry_at=None if failures >= MAX_ATTEMPTS else now + backoff(failures),
            )
        return kept._replace(
            text=claim.text,
            note=claim.message.note,
            error_class="",
            error="",
            edit_failures=0,
            retry_at=None,
        )

    async def _edit(self, claim: Claim, channel: OpenChannel) -> None:
        receipt = Receipt(claim.record.channel_id, claim.record.message_id)
        if not receipt.message_id:
            raise Refused(RefusalClass.DELETED, "the ledger does not say which message it is")
        if refusal := channel.guard.refused_targets.get(receipt.channel_id):
            raise refusal
        await channel.channel.edit(receipt, claim.text)


def posted_again(claim: Claim, after: Delivery | None) -> MessagePlan | None:
    """What to do about a post that an edit found deleted: post it again, once."""
    edit = claim.message.edit
    if (
        edit is None
        or edit.again is None
        or after is None
        or after.error_class != RefusalClass.DELETED
    ):
        return None
    reason = "the post was deleted"
    message = replace(claim.message, occasion=edit.again, edit=None, reason=reason)
    return MessagePlan(message, DeliveryState.PLANNED, reason)
