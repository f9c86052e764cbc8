"""One message through its routes: what to try, what each answer means, what stays unconfirmed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.channels import OpenChannel, OpenChannels
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.claims import Claim, ClaimLost, Revisions, found, longest_send
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import NotNow, Recovery
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import LookBack, Route
from speakerbot.domain.run import StopReason
from speakerbot.errors import TemplateError
from speakerbot.ports.channel import Outgoing, Ready, Receipt, RefusalClass, Refused, Withheld
from speakerbot.templates import Templates


@dataclass(slots=True)
class Attempt:
    """Delivers claims one at a time; one instance serves all workers of a run."""

    channels: OpenChannels
    templates: Templates
    posts: Posts
    recovery: Recovery
    endings: Endings
    swap: Callable[[Delivery, Delivery], Awaitable[bool]]
    revisions: Revisions
    clock: Clock
    lease: timedelta

    async def deliver(self, claim: Claim) -> Delivery:
        """The record of what happened. Raises NotNow or ClaimLost: then nothing is known to have
        changed, and the claim is to be given back or forgotten."""
        try:
            self._check_time(claim)
            if settled := await self.recovery.settle(claim):
                return settled
            look_back = claim.message.look_back
            if look_back and (found := await self._found(claim, look_back)):
                return found
            return await self._by_some_route(claim)
        except _TooLate:
            late = "its time was over before it could go"
            settled = await self.recovery.settle(claim)
            return settled or self.endings.unsent(claim, DeliveryState.EXPIRED, "expired", late)

    def _check_time(self, claim: Claim) -> None:
        if self.clock.decision() >= claim.message.expires_at:
            raise _TooLate

    async def _by_some_route(self, claim: Claim) -> Delivery:
        refusals: list[tuple[Route, Refused]] = []
        stopped = False
        for route in claim.routes():
            channel = await self.channels.of(route)
            if channel is None:
                outcome: Delivery | Refused | None = _not_set_up(route)
            else:
                outcome = await self._try(claim, route, channel)
            if isinstance(outcome, Delivery):
                return outcome
            if outcome is None:
                self._check_others_may(channel)
                stopped = True
                continue
            if route.configured and channel:
                channel.guard.target_refused(route, outcome)
            refusals.append((route, outcome))
            if settled := await self.recovery.settle(claim):
                return settled
        if stopped:
            raise NotNow
        return self.endings.no_route_left(claim, refusals)

    def _check_others_may(self, channel: OpenChannel | None) -> None:
        """Where one channel has stopped, another one may do better: unless it is over for all, or
        the message only has to wait until the service works again. Raises NotNow."""
        stopped = channel.guard.stopped if channel else None
        if self.channels.stop.is_set() or stopped is None or not stopped.needs_a_person:
            raise NotNow

    async def _found(self, claim: Claim, look_back: LookBack) -> Delivery | None:
        """The record of what the Node bot has posted for us, None if it has not. Comes after any
        unconfirmed attempt of our own is settled: they look alike."""
        route = claim.message.routes[0]
        channel = await self.channels.of(route)
        if channel is None or channel.guard.stopped:
            raise NotNow
        try:
            post = await self.posts.made_for_us(channel, route, look_back)
        except ChannelStopped as stopped:
            channel.halt(stopped)
            raise NotNow from stopped
        except Refused as refusal:
            if refusal.why in (RefusalClass.BOT, RefusalClass.TOKEN):
                channel.halt(ChannelStopped(StopReason(refusal.why), refusal.detail))
                raise NotNow from refusal
            return self.endings.retry_later(claim, refusal)
        if post is None:
            return None
        revision, now = self.revisions.next(), self.clock.real()
        return found(claim.record, post, revision=revision, now=now, channel_id=route.target)

    async def _try(
        self, claim: Claim, route: Route, channel: OpenChannel
    ) -> Delivery | Refused | None:
        """A record if this settles the message, the refusal if the next route may do better; None
        if its channel has stopped."""
        if channel.guard.stopped:
            return None
        if refusal := channel.guard.refused_targets.get(route.target):
            return refusal
        try:
            wanted = self._record_by(claim, route, channel)
            outgoing = Outgoing(wanted.key, wanted.recipient, route, wanted.text, wanted.nonce)
            receipt = await channel.channel.send(outgoing, self._ready(claim, wanted))
            return self.endings.sent(claim, receipt)
        except TemplateError as error:
            return Refused(RefusalClass.TARGET, str(error))
        except ChannelStopped as stopped:
            channel.halt(stopped)
            return None
        except Refused as refusal:
            return await self._refused(claim, route, channel, refusal)

    async def _refused(
        self, claim: Claim, route: Route, channel: OpenChannel, refusal: Refused
    ) -> Delivery | Refused | None:
        match refusal.why:
            case RefusalClass.ALREADY_SENT:
                return self.endings.sent(claim, Receipt("", ""))
            case RefusalClass.SERVICE:
                channel.guard.service_fault(route.target, refusal)
                able = channel.access.capabilities
                if refusal.maybe_accepted and not (able.looks_back or able.idempotent_for):
                    return self.endings.unknown(claim, refusal.detail)
                return self.endings.retry_later(claim, refusal)
            case RefusalClass.REJECTED:
                settled = await self.recovery.settle(claim)
                return settled or self.endings.unsent(
                    claim, DeliveryState.UNDELIVERABLE, refusal.why, refusal.detail
                )
            case RefusalClass.BOT | RefusalClass.TOKEN:
                channel.halt(ChannelStopped(StopReason(refusal.why), refusal.detail))
                return None
        return refusal

    def _record_by(self, claim: Claim, route: Route, channel: OpenChannel) -> Delivery:
        """The claim's record as it must stand in the store when a request by this route leaves: a
        run that takes over from us must know where to look, and for what. Raises TemplateError."""
        record, access = claim.record, channel.access
        same_route = (record.route, record.target) == (route.name, route.target)
        if same_route and claim.unconfirmed_since:
            return record  # the text that may already be there is the one to send again
        first = claim.message.routes[0]
        text = claim.text
        if route.channel != first.channel:
            text = self.templates.of(claim.message, route.channel)
        text = access.capabilities.addressed(text, route.mention)
        if same_route:
            return record._replace(text=text)
        return record._replace(
            route=route.name,
            target=route.target,
            text=text,
            bot=access.sender,
            nonce=access.nonce(record.key, route),
            unconfirmed_since=self.clock.real(),
        )

    def _ready(self, claim: Claim, wanted: Delivery) -> Ready:
        """Asked before each physical request, those that the channel repeats by itself too: a
        machine may have slept since it claimed. Makes sure that the store holds a claim that covers
        this very request; usually it already does."""

        async def ready() -> None:
            self._check_time(claim)
            held, now = claim.record, self.clock.real()
            left = held.lease_until - now if held.lease_until else timedelta()
            same = (held.route, held.target, held.text) == (
                wanted.route,
                wanted.target,
                wanted.text,
            )
            if same and left >= longest_send(self.lease):
                return
            noted = wanted._replace(
                revision=self.revisions.next(), updated_at=now, lease_until=now + self.lease
            )
            if not await self.swap(held, noted):
                raise ClaimLost
            claim.record = noted

        return ready


def _not_set_up(route: Route) -> Refused:
    return Refused(RefusalClass.TARGET, f"the settings have no channel {route.channel!r}")


class _TooLate(Withheld):
    """The message's time is over."""
