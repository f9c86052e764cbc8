"""One message through its routes: what to try, what each answer means, what stays unconfirmed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.circuit_breakers import Guard, RunStopped
from speakerbot.delivery.claims import Claim, ClaimLost, Revisions, found
from speakerbot.delivery.dm_channels import Destinations
from speakerbot.delivery.nonces import longest_send, nonce_of
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery
from speakerbot.delivery.transitions import Endings
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import LookBack, Route
from speakerbot.ports.channel import Channel, RefusalClass, Refused, Withheld


@dataclass(slots=True)
class Attempt:
    """Delivers claims one at a time; one instance serves all workers of a run."""

    channel: Channel
    destinations: Destinations
    pacer: Pacer
    posts: Posts
    recovery: Recovery
    endings: Endings
    swap: Callable[[Delivery, Delivery], Awaitable[bool]]
    revisions: Revisions
    guard: Guard
    clock: Clock
    lease: timedelta

    async def deliver(self, claim: Claim) -> Delivery:
        """The record of what happened. Raises RunStopped or ClaimLost: then nothing is known to
        have changed, and the claim is to be given back or forgotten."""
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

    def _ready(self, claim: Claim) -> Callable[[], None]:
        """Asked before each physical request, those that the channel repeats by itself too: a
        machine may have slept since it claimed."""

        def ready() -> None:
            self._check_time(claim)
            lease = claim.record.lease_until
            if lease is None or lease <= self.clock.real():
                raise _LeaseOver

        return ready

    async def _by_some_route(self, claim: Claim) -> Delivery:
        refusals: list[tuple[Route, Refused]] = []
        for route in claim.routes():
            refusal = self.guard.refused_channels.get(route.target)
            outcome = refusal or await self._try(claim, route)
            if isinstance(outcome, Delivery):
                return outcome
            if route.configured:
                self.guard.channel_refused(route, outcome)
            refusals.append((route, outcome))
            if settled := await self.recovery.settle(claim):
                return settled
        return self.endings.no_route_left(claim, refusals)

    async def _found(self, claim: Claim, look_back: LookBack) -> Delivery | None:
        """The record of what the Node bot has posted for us, None if it has not. Comes after any
        unconfirmed attempt of our own is settled: they look alike."""
        channel_id = claim.message.routes[0].target
        try:
            post = await self.posts.made_for_us(channel_id, look_back)
        except Refused as refusal:
            if refusal.why in (RefusalClass.BOT, RefusalClass.TOKEN):
                raise RunStopped(refusal.why, refusal.detail) from refusal
            return self.endings.retry_later(claim, refusal)
        if post is None:
            return None
        revision, now = self.revisions.next(), self.clock.real()
        return found(claim.record, post, revision=revision, now=now, channel_id=channel_id)

    async def _try(self, claim: Claim, route: Route) -> Delivery | Refused:
        """A record if this settles the message, the refusal if the next route may do better."""
        try:
            channel_id, message_id = await self._send(claim, route)
            return self.endings.sent(claim, channel_id, message_id)
        except Refused as refusal:
            match refusal.why:
                case RefusalClass.ALREADY_SENT:
                    return self.endings.sent(claim, "", "")
                case RefusalClass.SERVICE:
                    self.guard.service_fault(route.target, refusal)
                    return self.endings.retry_later(claim, refusal)
                case RefusalClass.NEW_DMS:
                    await self.destinations.rest(refusal)
                    return self.endings.retry_later(claim, refusal)
                case RefusalClass.REJECTED:
                    settled = await self.recovery.settle(claim)
                    return settled or self.endings.unsent(
                        claim, DeliveryState.UNDELIVERABLE, refusal.why, refusal.detail
                    )
                case RefusalClass.BOT | RefusalClass.TOKEN:
                    raise RunStopped(refusal.why, refusal.detail) from refusal
            return refusal

    async def _send(self, claim: Claim, route: Route) -> tuple[str, str]:
        """Channel and message id; opens a DM or a thread once where that is what it takes."""
        channel_id = await self.destinations.find(route)
        try:
            return channel_id, await self._request(claim, route, channel_id)
        except Refused as refusal:
            if refusal.why == RefusalClass.ARCHIVED:
                await self.pacer.slot()
                await self.channel.unarchive(channel_id)
            elif refusal.gone and self.destinations.forget(route):
                channel_id = await self.destinations.find(route)
            else:
                raise
        return channel_id, await self._request(claim, route, channel_id)

    async def _request(self, claim: Claim, route: Route, channel_id: str) -> str:
        await self.pacer.slot()
        self._check_time(claim)
        await self._note(claim, route)
        try:
            return await self.channel.send(
                channel_id,
                claim.record.text,
                nonce=claim.record.nonce,
                mention=route.mention,
                ready=self._ready(claim),
            )
        except _LeaseOver as over:
            raise ClaimLost from over

    async def _note(self, claim: Claim, route: Route) -> None:
        """Makes sure that the store holds a claim that covers this very request: a run that takes
        over from us must know where to look, and for what. Usually it already does."""
        now, record = self.clock.real(), claim.record
        same_route = (record.route, record.target) == (route.name, route.target)
        # Unconfirmed, the text that may already be there is the one to send again.
        again = claim.unconfirmed_since and same_route
        text = record.text if again else route.full_text(claim.text)
        covered = record.lease_until is not None and record.lease_until - now >= longest_send(
            self.lease
        )
        if same_route and covered and text == record.text:
            return
        noted = record._replace(
            revision=self.revisions.next(),
            updated_at=now,
            route=route.name,
            target=route.target,
            text=text,
            nonce=record.nonce if same_route else nonce_of(record.key, route),
            lease_until=now + self.lease,
            unconfirmed_since=record.unconfirmed_since if same_route else now,
        )
        if not await self.swap(record, noted):
            raise ClaimLost
        claim.record = noted


class _TooLate(Withheld):
    """The message's time is over."""


class _LeaseOver(Withheld):
    """The claim may be another run's by now."""
