"""One message through its routes: what to try, what each answer means, when nobody knows."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from speakerbot.clock import Clock
from speakerbot.delivery.claims import Claim, Revisions, sent, unsent
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.guard import Guard
from speakerbot.delivery.ledger import MAX_ATTEMPTS, Delivery, State
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.refusals import ClaimLost, Misconfigured, Refused, RunStopped
from speakerbot.messages import Route
from speakerbot.ports import Channel

NONCE_WINDOW = timedelta(minutes=2)
"""Discord keeps nonces for "a few minutes": within this, sending again cannot make a second one."""
LONGEST_SEND = timedelta(seconds=60)
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(minutes=30)


def nonce_of(key: str, route: Route) -> str:
    """24 characters that are the same for every attempt at this message by this route."""
    digest = hashlib.sha256(f"{key}|{route.name}|{route.target}".encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many tries: 30 s doubling up to 30 min, with jitter."""
    longest = min(LAST_RETRY, FIRST_RETRY * int(2 ** (attempts - 1)))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


def longest_send(lease: timedelta) -> timedelta:
    """How long one request may take: a lease of that length always covers it."""
    return min(LONGEST_SEND, lease / 2)


@dataclass(slots=True)
class Attempt:
    """Delivers claims one at a time; one instance serves all workers of a run."""

    channel: Channel
    destinations: Destinations
    pacer: Pacer
    swap: Callable[[Delivery, Delivery], Awaitable[bool]]
    revisions: Revisions
    guard: Guard
    clock: Clock
    lease: timedelta

    async def deliver(self, claim: Claim) -> Delivery:
        """The record of what happened. Raises RunStopped, Misconfigured or ClaimLost: then nothing
        is known to have changed, and the claim is to be given back or forgotten."""
        expired = self.clock.decision() >= claim.message.expires_at
        look_first = claim.doubt and (expired or self._nonce_is_stale(claim.doubt))
        if look_first and (settled := await self._settle_doubt(claim)):
            return settled
        if expired:
            return self._unsent(claim, "expired", "expired", "its time was over before it could go")
        refusals: list[tuple[Route, Refused]] = []
        for route in claim.routes():
            refusal = self.guard.refused_channels.get(route.target)
            outcome = refusal or await self._try(claim, route)
            if isinstance(outcome, Delivery):
                return outcome
            if route.configured:
                self.guard.channel_refused(route, outcome)
            refusals.append((route, outcome))
            if claim.doubt and (settled := await self._settle_doubt(claim)):
                return settled
        return self._no_route_left(claim, refusals)

    def _nonce_is_stale(self, since: datetime) -> bool:
        return not timedelta() <= self.clock.real() - since <= NONCE_WINDOW

    async def _try(self, claim: Claim, route: Route) -> Delivery | Refused:
        """A record if this settles the message, the refusal if the next route may do better."""
        try:
            channel_id, message_id = await self._send(claim, route)
            return self._sent(claim, channel_id, message_id)
        except Refused as refusal:
            match refusal.why:
                case "already_sent":
                    return self._sent(claim, "", "")
                case "transient" | "new_dms":
                    return self._retry_later(claim, refusal)
                case "rejected":
                    return self._unsent(claim, "undeliverable", "rejected", refusal.detail)
                case "bot" | "token" | "unreachable":
                    raise RunStopped(refusal.why, refusal.detail) from refusal
            return refusal

    async def _send(self, claim: Claim, route: Route) -> tuple[str, str]:
        """Channel and message id; opens a DM or wakes a thread once where that is what it takes."""
        channel_id = await self.destinations.find(route)
        try:
            return channel_id, await self._request(claim, route, channel_id)
        except Refused as refusal:
            if refusal.why == "archived":
                await self.channel.unarchive(channel_id)
            elif refusal.gone and self.destinations.forget(route):
                channel_id = await self.destinations.find(route)
            else:
                raise
        return channel_id, await self._request(claim, route, channel_id)

    async def _request(self, claim: Claim, route: Route, channel_id: str) -> str:
        await self.pacer.slot()
        if claim.doubt and self._nonce_is_stale(claim.doubt):
            raise Refused("transient", "the wait outlasted the nonce", maybe_accepted=True)
        await self._note(claim, route)
        return await self.channel.send(
            channel_id,
            claim.record.text,
            nonce=nonce_of(claim.message.key, route),
            mention=route.mention,
        )

    async def _note(self, claim: Claim, route: Route) -> None:
        """Makes sure that the store holds a claim that covers this very request: a run that takes
        over from us must know where to look, and for what. Usually it already does."""
        now, record = self.clock.real(), claim.record
        same_route = (record.route, record.target) == (route.name, route.target)
        # In doubt, the text that may already be there is the one to send again.
        text = record.text if claim.doubt and same_route else route.full_text(claim.text)
        covered = record.lease_until is not None and record.lease_until - now >= longest_send(
            self.lease
        )
        if same_route and covered and text == record.text:
            return
        noted = replace(
            record,
            revision=self.revisions.next(),
            updated_at=now,
            route=route.name,
            target=route.target,
            text=text,
            lease_until=now + self.lease,
            doubt_since=record.doubt_since if same_route else now,
        )
        if not await self.swap(record, noted):
            raise ClaimLost
        claim.record = noted

    async def _settle_doubt(self, claim: Claim) -> Delivery | None:
        """Looks whether an earlier attempt arrived: the final record, or None if it did not."""
        record = claim.record
        route = next(
            (
                r
                for r in claim.message.routes
                if (r.name, r.target) == (record.route, record.target)
            ),
            Route("dm" if record.route == "dm" else "channel", record.target),
        )
        try:
            channel_id = await self.destinations.find(route)
            await self.pacer.slot()
            found = await self.channel.find(
                channel_id,
                record.text,
                nonce=nonce_of(record.key, Route(route.name, record.target)),
                since=claim.doubt or record.created_at,
            )
        except Refused as refusal:
            if refusal.why in ("bot", "token", "unreachable"):
                raise RunStopped(refusal.why, refusal.detail) from refusal
            if refusal.why in ("transient", "new_dms"):
                return self._retry_later(claim, refusal)
            return self._unsent(
                claim,
                "unknown",
                "unknown",
                f"may have arrived, and no way to look: {refusal.detail}",
            )
        if found:
            return self._sent(claim, channel_id, found)
        claim.doubt = None
        return None

    def _sent(self, claim: Claim, channel_id: str, message_id: str) -> Delivery:
        return sent(
            claim.record,
            revision=self.revisions.next(),
            now=self.clock.real(),
            channel_id=channel_id,
            message_id=message_id,
        )

    def _retry_later(self, claim: Claim, refusal: Refused) -> Delivery:
        record, now = claim.record, self.clock.real()
        doubt = claim.doubt or (record.doubt_since if refusal.maybe_accepted else None)
        wait = max(backoff(record.attempts), timedelta(seconds=refusal.retry_after))
        state: State = "failed"
        if record.attempts >= MAX_ATTEMPTS:
            state = "unknown" if doubt else "undeliverable"
        return self._unsent(
            claim, state, refusal.why, refusal.detail, retry_at=now + wait, doubt=doubt
        )

    def _no_route_left(self, claim: Claim, refusals: list[tuple[Route, Refused]]) -> Delivery:
        detail = "; ".join(f"{route.name}: {refusal.detail}" for route, refusal in refusals)
        if any(route.configured for route, _ in refusals):
            raise Misconfigured(detail)
        mendable = any(refusal.why == "permission" for _, refusal in refusals)
        if mendable and claim.record.attempts < MAX_ATTEMPTS:
            retry_at = self.clock.real() + backoff(claim.record.attempts)
            return self._unsent(claim, "failed", "permission", detail, retry_at=retry_at)
        return self._unsent(
            claim, "undeliverable", "recipient", detail or "there is no route to try"
        )

    def _unsent(
        self,
        claim: Claim,
        state: State,
        error_class: str,
        error: str,
        *,
        retry_at: datetime | None = None,
        doubt: datetime | None = None,
    ) -> Delivery:
        return unsent(
            claim.record,
            state,
            revision=self.revisions.next(),
            now=self.clock.real(),
            error_class=error_class,
            error=error,
            retry_at=retry_at,
            doubt=doubt,
        )
